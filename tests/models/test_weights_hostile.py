"""Checkpoints made to hang, to fill the memory or to run something: read as data or refused, in seconds and little memory."""

from __future__ import annotations

import collections
import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import FOUR, bounded, legacy_bytes, legacy_storage, number, state, storage, tensor, text, zip_file
from safetensors.torch import load_file
from torch import Tensor
from weights_case import BOTH, assert_same, refusal, saved

from i2am.commands.cli import main
from i2am.errors import UnsafePickleError, WeightsFileError
from i2am.models.weights.file import read_weights

WEIGHT = {"w": torch.zeros(4)}


def read(path: Path) -> dict[str, Tensor]:
    with bounded():
        return read_weights(path)


def refused(path: Path) -> str:
    with bounded():
        said = refusal(path)
    assert "\n" not in said
    assert len(said.replace(str(path.parent), "")) < 330
    return said


def convert(path: Path, *options: str) -> int:
    with bounded():
        return main(["convert", str(path), str(path.with_name("out.safetensors")), "--force", *options])


# containers that hold each other


def grown(kind: type, depth: int = 60) -> object:
    inner: object = kind()
    for _ in range(depth):
        inner = {"a": inner, "b": inner} if kind is dict else kind((inner, inner))
    return inner


@BOTH
@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_containers_shared_sixty_deep_take_no_time(
    tmp_path: Path, zipped: bool, kind: type, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = saved(tmp_path / "a.ckpt", {"state_dict": WEIGHT, "x": grown(kind)}, zipped)
    assert_same(read(beside), WEIGHT)
    assert convert(beside) == 0
    assert f"left out: x ({kind.__name__} of 2)" in capsys.readouterr().out
    among = saved(tmp_path / "b.ckpt", {**WEIGHT, "x": {"inner": grown(kind)}}, zipped)
    assert_same(read(among), WEIGHT)
    odd = saved(tmp_path / "c.ckpt", {**WEIGHT, "x": {"inner": [grown(kind), torch.ones(1)]}}, zipped)
    assert "holds x (dict of 1) among its tensors" in refused(odd)


def test_many_entries_that_share_one_container_take_no_time(tmp_path: Path) -> None:
    shared = {str(i): i for i in range(20_000)}
    assert_same(read(saved(tmp_path / "a.ckpt", {**WEIGHT, **{f"x{i}": shared for i in range(20_000)}})), WEIGHT)


@BOTH
def test_containers_that_hold_themselves_are_met_once(tmp_path: Path, zipped: bool) -> None:
    inner: dict[str, object] = {"n": 1}
    inner["self"] = inner
    circle: list[object] = []
    circle.append({"again": circle})
    value = {**WEIGHT, "inner": inner, "circle": {"list": circle}}
    assert_same(read(saved(tmp_path / "a.ckpt", value, zipped)), WEIGHT)
    value["whole"] = value
    assert "holds whole (dict of 4) among its tensors" in refused(saved(tmp_path / "b.ckpt", value, zipped))
    nested: dict[str, object] = {}
    nested["state_dict"] = nested
    assert "holds no tensors" in refused(saved(tmp_path / "c.ckpt", nested, zipped))
    assert convert(tmp_path / "c.ckpt") == 2


@pytest.mark.parametrize(
    "nested", [b"]" * 100_000 + b"a" * 99_999, b"N" + b"\x85" * 100_000, b"}" * 9 + b"N" + b"\x85" * 100_000]
)
def test_nesting_100_000_deep_is_no_crash(tmp_path: Path, nested: bytes) -> None:
    path = zip_file(tmp_path / "a.ckpt", state(text("x"), nested))
    if nested.startswith(b"}"):
        refused(path)
    else:
        assert "among its tensors" in refused(path)
    as_key = zip_file(tmp_path / "b.ckpt", state(b"N" + b"\x85" * 100_000, number(1)))
    assert_same(read(as_key), WEIGHT)
    beside = b"\x80\x02}(" + text("state_dict") + state()[2:-1] + text("x") + nested.lstrip(b"}") + b"u."
    assert_same(read(zip_file(tmp_path / "c.ckpt", beside)), WEIGHT)


# sizes


@BOTH
@pytest.mark.parametrize("shape", [(10**6, 10**6), (2,) * 50, (2**31, 2**31)])
def test_one_number_repeated_over_terabytes_is_refused(tmp_path: Path, zipped: bool, shape: tuple[int, ...]) -> None:
    path = saved(tmp_path / "a.ckpt", {"w": torch.zeros(1).expand(shape)}, zipped)
    assert "its tensors would take" in refused(path)
    assert "GB, but it holds 0.0 MB of numbers" in refused(path)
    assert convert(path) == 2
    assert [x.name for x in tmp_path.iterdir()] == ["a.ckpt"]


def test_numbers_under_a_thousand_names_are_refused(tmp_path: Path) -> None:
    once = torch.zeros(1 << 18)
    path = saved(tmp_path / "a.ckpt", {str(i): once for i in range(1000)})
    assert "its tensors would take 1.0 GB, but it holds 1.0 MB" in refused(path)
    tied = saved(tmp_path / "b.ckpt", {"a": once, "b": once, "c": once.expand(3, 1 << 18)[1]})
    assert set(read(tied)) == {"a", "b", "c"}


MEASURES = {
    "storage of a trillion numbers": tensor(storage(count=10**12), size=number(10**12) + b"\x85"),
    "storage of minus one": tensor(storage(count=-1)),
    "more numbers than there are": tensor(storage(count=5), size=b"K\5\x85"),
    "storage that is not there": tensor(storage("7")),
    "storage elsewhere": tensor(storage("../data.pkl")),
    "behind the end": tensor(offset=b"K\1"),
    "far behind the end": tensor(offset=number(2**61)),
    "offset beyond 64 bits": tensor(offset=number(2**64)),
    "before the start": tensor(offset=number(-1)),
    "negative stride": tensor(stride=number(-1) + b"\x85"),
    "huge stride": tensor(stride=number(2**61) + b"\x85"),
    "sizes that overflow": tensor(size=number(2**40) + number(2**40) + b"\x86", stride=b"K\1K\1\x86"),
    "negative size": tensor(size=number(-4) + b"\x85"),
    "huge and empty": tensor(size=number(2**70) + b"K\0\x86", stride=b"K\1K\1\x86"),
    "true for one": tensor(size=b"\x88\x85"),
    "a float for a size": tensor(size=b"G" + bytes(8) + b"\x85"),
    "a list for a size": tensor(size=b"]"),
    "ten thousand dimensions": tensor(size=b"(" + b"K\1" * 10_000 + b"t", stride=b"(" + b"K\1" * 10_000 + b"t"),
    "sizes without strides": tensor(stride=b")"),
    "tensor of a tensor": tensor(tensor()),
    "tensor of text": tensor(text("x")),
    "too few arguments": tensor(size=b"", stride=b"", rest=b""),
    "too many arguments": tensor(rest=b"\x89NNNNNN"),
}


@pytest.mark.parametrize("case", MEASURES)
def test_measures_that_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    assert "damaged" in refused(zip_file(tmp_path / "a.ckpt", state(weight=MEASURES[case])))
    legacy = MEASURES[case].replace(b"tQ", b"NtQ")
    (tmp_path / "b.ckpt").write_bytes(legacy_bytes(state(weight=legacy)))
    assert "damaged" in refused(tmp_path / "b.ckpt")


def test_numbers_that_no_weight_uses_are_not_looked_for(tmp_path: Path) -> None:
    """What lies around a state dict is never made, so its measures cost nothing."""
    trillion = tensor(storage("1", 10**12), size=number(10**12) + b"\x85")
    around = b"\x80\x02}(" + text("state_dict") + state()[2:-1] + text("x") + trillion + b"u."
    assert_same(read(zip_file(tmp_path / "a.ckpt", around)), WEIGHT)


def test_a_whole_number_of_a_million_digits_is_refused(tmp_path: Path) -> None:
    long = b"\x8b" + (400_000).to_bytes(4, "little") + b"\1" * 400_000
    for pickled in (state(text("x"), long), state(long, tensor()), state(text("x"), b"I" + b"9" * 10**6 + b"\n")):
        refused(zip_file(tmp_path / "a.ckpt", pickled))
    assert_same(read(saved(tmp_path / "b.ckpt", {**WEIGHT, "seed": 1 << 900})), WEIGHT)


def test_keys_of_one_hash_take_no_time(tmp_path: Path) -> None:
    many = b"}(" + b"".join(number(i * (2**61 - 1)) + b"N" for i in range(1, 60_000)) + b"u"
    assert_same(read(zip_file(tmp_path / "a.ckpt", state(text("x"), many))), WEIGHT)


def test_a_mapping_copied_over_and_over_is_refused(tmp_path: Path) -> None:
    many = b"}(" + b"".join(number(i) + b"N" for i in range(50_000)) + b"uq\1"
    copies = b"ccollections\nOrderedDict\nq\2" + b"h\2h\1\x85R" * 50_000
    assert "more than 4,000,000 steps" in refused(zip_file(tmp_path / "a.ckpt", b"\x80\x02" + many + copies + b"."))


@pytest.mark.parametrize("more", [b"N0" * 2_500_000, b"2" * 5_000_000])
def test_a_pickle_of_millions_of_steps_is_refused(tmp_path: Path, more: bytes) -> None:
    assert "more than 4,000,000 steps" in refused(zip_file(tmp_path / "a.ckpt", b"\x80\x02N" + more + b"."))


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x8d" + (1 << 62).to_bytes(8, "little") + b"x.",
        b"X\xff\xff\xff\xffx.",
        b"\x8b\xff\xff\xff\x7fx.",
        b"\x96" + (1 << 62).to_bytes(8, "little") + b"x.",
        b"N" + b"r\xff\xff\xff\x7f.",
        b"Np-1\n.",
        b"\x95" + (1 << 62).to_bytes(8, "little") + b"N.",
        b"V" + b"x" * 200_000 + b"\n.",
        b"h\5.",
        b"0.",
        b"t.",
        b"R.",
        b"NNR.",
        b"\x97.",
        b"]N\x89s.",
        b"NNa.",
        b"}b.",
        tensor() + b"}b.",
        b"(NNNd.",
    ],
)
def test_broken_pickles_are_refused(tmp_path: Path, pickled: bytes) -> None:
    assert "damaged" in refused(zip_file(tmp_path / "a.ckpt", pickled))


# what would be run


def call(how: str) -> bytes:
    """Push a call of ``os.mkdir`` with the marker's path, which ``{}`` stands for, made in one of pickle's ways."""
    module = os.mkdir.__module__
    name = f"{module}\nmkdir\n".encode()
    return {
        "reduce": b"c" + name + b"X{}\x85R",
        "inst": b"(X{}i" + name,
        "obj": b"(c" + name + b"X{}o",
        "by memo": text("mkdir") + b"q\0070" + text(module) + b"h\7\x93X{}\x85R",
        "by getattr": b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n"
        + text("os")
        + b"\x85R"
        + text("mkdir")
        + b"tRX{}\x85R",
        "by partial": b"cfunctools\npartial\nc" + name + b"X{}\x86R)R",
        "by map": b"c__builtin__\nlist\nc__builtin__\nmap\nc" + name + b"(X{}l\x86R\x85R",
        "by a state": b"ctypes\nSimpleNamespace\n)R}" + text("x") + b"c" + name + b"X{}\x85Rsb",
        "as a key": b"}c" + name + b"X{}\x85RNs",
        "as numbers": tensor(b"c" + name + b"X{}\x85R"),
        "as a hook": tensor(rest=b"\x89c" + name + b"X{}\x85R"),
    }[how]


CALLS = (
    *("reduce", "inst", "obj", "by memo", "by getattr", "by partial", "by map"),
    *("by a state", "as a key", "as numbers", "as a hook"),
)


@BOTH
@pytest.mark.parametrize("how", CALLS)
def test_nothing_is_run_however_it_is_called(tmp_path: Path, zipped: bool, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    payload = call(how).replace(b"X{}", text(str(marker)))
    weight = tensor() if zipped else tensor(legacy_storage())
    pickled = b"\x80\x02}(" + text("state_dict") + state(weight=weight)[2:-1] + text("x") + payload + b"u."
    path = tmp_path / "a.ckpt"
    if zipped:
        zip_file(path, pickled)
    else:
        path.write_bytes(legacy_bytes(pickled.replace(storage(), legacy_storage())))
    monkeypatch.setattr(sys, "stdin", None)
    with bounded(), pytest.raises(UnsafePickleError, match="could run any program"):
        read_weights(path)
    assert convert(path, "--yes") == 0
    assert_same(load_file(tmp_path / "out.safetensors"), WEIGHT)
    assert not marker.exists()
    if how not in ("as numbers", "as a hook"):
        pickle.loads(b"\x80\x02" + payload + b".")  # the trap does work
        assert marker.exists()


def test_what_a_pickle_would_change_stays_as_it_is(tmp_path: Path) -> None:
    """States and items for functions and classes, which Python would set on the real ones."""
    rebuild = torch._utils._rebuild_tensor_v2
    before = dict(vars(rebuild)), rebuild.__code__, dict(vars(collections.OrderedDict))
    changes = [
        b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("broken") + number(1) + b"sb",
        b"ctorch._utils\n_rebuild_tensor_v2\nN}" + text("__code__") + number(1) + b"s\x86b",
        b"ccollections\nOrderedDict\n}" + text("broken") + number(1) + b"sb",
        b"csys\nmodules\n" + text("torch") + b"Ns",
    ]
    for change in changes:
        path = zip_file(tmp_path / "a.ckpt", state(text("x"), b"}" + text("inner") + change + b"s"))
        try:
            assert_same(read(path), WEIGHT)
        except UnsafePickleError:
            assert b"csys" in change
    assert (dict(vars(rebuild)), rebuild.__code__, dict(vars(collections.OrderedDict))) == before
    assert sys.modules["torch"] is torch


@pytest.mark.parametrize(
    "reference", [b"X\1\0\0\0xQ", b"NQ", number(3) + b"Q", b"(" + text("module") + b"NNNtQ", b"P1\n", b"(tQ"]
)
def test_references_to_something_else_are_refused(tmp_path: Path, reference: bytes) -> None:
    said = refused(zip_file(tmp_path / "a.ckpt", state(text("x"), reference)))
    assert "something other than its own numbers" in said or "PERSID" in said


# what is not run, and need not be


class _Lightning:
    """Stands for a class that is not there where the file is read."""


@BOTH
@pytest.mark.parametrize("protocol", range(1, 6))
def test_what_lightning_leaves_beside_its_state_dict_is_not_imported(
    tmp_path: Path, zipped: bool, protocol: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_Lightning, "__module__", "no_such_lightning")
    module = type(sys)("no_such_lightning")
    module._Lightning = _Lightning
    monkeypatch.setitem(sys.modules, "no_such_lightning", module)
    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2).half()}
    value = {
        "state_dict": collections.OrderedDict(weights),
        "callbacks": {_Lightning: {"best_model_score": torch.tensor(0.5), "best_model_path": "x.ckpt"}},
        "hyper_parameters": _Lightning(),
        "lr": np.float64(1e-5),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"betas": (0.9, 0.999)}]}],
        "path": Path("somewhere"),
        "sets": {frozenset({1}), b"bytes", 1.5},
    }
    path = saved(tmp_path / "a.ckpt", value, zipped, pickle_protocol=protocol)
    monkeypatch.delitem(sys.modules, "no_such_lightning")
    with caplog.at_level("INFO", "i2am"):
        assert_same(read(path), weights)
    assert "no_such_lightning" not in sys.modules
    assert "also names no_such_lightning._Lightning" in caplog.text
    assert "none was imported or run" in caplog.text


def test_a_weight_of_a_kind_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", {**WEIGHT, "odd": torch.ones(2).to_sparse()})
    assert "holds the tensor odd of an unusual kind (torch._utils._rebuild_sparse_tensor)" in refused(path)
    path = saved(tmp_path / "b.ckpt", {**WEIGHT, "odd": np.ones(2)})
    assert re.search(r"holds odd \(numpy\.\w+\.multiarray\._reconstruct\) among its tensors", refused(path))


def test_an_object_that_holds_the_state_dict_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", {"state_dict": torch.nn.Linear(2, 2)})
    assert "it names torch.nn.modules.linear.Linear, and unpickling that could run any program" in refused(path)


def test_four_numbers_are_read(tmp_path: Path) -> None:
    """The hand-made files above fail for what is wrong in them, not for how they are made."""
    assert_same(read(zip_file(tmp_path / "a.ckpt", state(), {"0": FOUR})), WEIGHT)
    (tmp_path / "b.ckpt").write_bytes(legacy_bytes(state(weight=tensor(legacy_storage()))))
    assert_same(read(tmp_path / "b.ckpt"), WEIGHT)
    with pytest.raises(WeightsFileError):
        read(tmp_path / "none.ckpt")
