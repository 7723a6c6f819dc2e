"""`i2am convert`: what it makes of checkpoint files, and what it tells of a pickle."""

from __future__ import annotations

import argparse
import os
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from weights_case import BOTH, Callback, Evil, Holder, assert_same, saved, tensors

from i2am.commands.cli import main
from i2am.errors import WeightsFileError
from i2am.models.weights.file import read_weights
from i2am.models.weights.pickles import pickled_names


def converting(source: Path, *options: str) -> tuple[int, Path]:
    out = source.with_name("out.safetensors")
    return main(["convert", str(source), str(out), *options]), out


@BOTH
def test_convert_keeps_every_bit(tmp_path: Path, zipped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "epoch": 3, "callbacks": {"a": 1}}, zipped)
    status, out = converting(source)
    assert status == 0
    assert_same(load_file(out), tensors())
    assert_same(read_weights(out), tensors())
    said = capsys.readouterr().out
    assert f"7 tensors, 0.0 MB ({out.stat().st_size} bytes)" in said
    assert "left out: epoch (int), callbacks (dict of 1)" in said
    assert "unpickl" not in said
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert not list(tmp_path.glob("*.part"))


@BOTH
def test_convert_asks_before_it_unpickles(
    tmp_path: Path, zipped: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    source = saved(tmp_path / "a.ckpt", {"state_dict": Evil(marker)}, zipped)
    evil = f"{os.mkdir.__module__}.mkdir"
    for answer in (None, "no\n", "y\n", "\n", ""):
        terminal = types.SimpleNamespace(isatty=lambda a=answer: a is not None, readline=lambda a=answer: a)
        monkeypatch.setattr(sys, "stdin", terminal)
        status, _ = converting(source)
        said = capsys.readouterr()
        assert status == 2
        assert f"    {evil}\n" in said.out
        assert "can run any program with your rights" in said.out
        assert evil in said.err
        assert ("no terminal" if answer is None else "the answer was not yes") in said.err
        assert said.err.count("\n") == 1
        assert not marker.exists()
        assert sorted(x.name for x in tmp_path.iterdir()) == ["a.ckpt"]


def test_convert_without_a_terminal_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "a.ckpt", Evil(tmp_path / "marker"))
    with open(os.devnull) as nothing:
        for stdin in (nothing, None):
            monkeypatch.setattr(sys, "stdin", stdin)
            assert converting(source)[0] == 2
            assert "give --yes if you trust the file" in capsys.readouterr().err
    assert [x.name for x in tmp_path.iterdir()] == ["a.ckpt"]


@BOTH
@pytest.mark.parametrize("protocol", range(2, 6))
def test_convert_with_consent_keeps_every_bit(
    tmp_path: Path, zipped: bool, protocol: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "a.ckpt", Holder(tensors(), argparse.Namespace(a=1)), zipped, pickle_protocol=protocol)
    status, out = converting(source, "--yes")
    assert status == 0
    assert_same(load_file(out), tensors())
    said = capsys.readouterr().out
    assert "    argparse.Namespace\n" in said
    assert f"    {Holder.__module__}.Holder\n" in said
    assert "left out: options (Namespace)" in said
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True, readline=lambda: "yes\n"))
    out.unlink()
    assert converting(source) == (0, out)
    assert_same(load_file(out), tensors())


@BOTH
@pytest.mark.parametrize("protocol", range(2, 6))
def test_convert_asks_nothing_where_the_state_dict_can_be_read_as_data(
    tmp_path: Path, zipped: bool, protocol: int, capsys: pytest.CaptureFixture[str]
) -> None:
    value = {"state_dict": tensors(), "hyper_parameters": argparse.Namespace(a=1), "callbacks": {Callback: Callback()}}
    status, out = converting(saved(tmp_path / "a.ckpt", value, zipped, pickle_protocol=protocol))
    assert status == 0
    assert_same(load_file(out), tensors())
    said = capsys.readouterr().out
    assert "unpickl" not in said
    assert "left out: hyper_parameters (argparse.Namespace), callbacks (dict of 1)" in said
    assert f"named there, neither imported nor run: argparse.Namespace, {Callback.__module__}.Callback" in said


@BOTH
def test_convert_runs_nothing_to_take_tensors_that_lie_beside_a_trap(
    tmp_path: Path, zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    source = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "x": Evil(marker)}, zipped)
    status, out = converting(source, "--yes")
    assert status == 0
    assert_same(load_file(out), tensors())
    assert f"names what runs programs ({os.mkdir.__module__}.mkdir): load the new file only" in capsys.readouterr().out
    assert not marker.exists()


def test_convert_does_without_the_packages_that_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("no_such_lightning")
    for name, base in (("Checkpoint", object), ("Config", dict), ("Stages", list)):
        setattr(module, name, type(name, (base,), {"__module__": "no_such_lightning"}))
    monkeypatch.setitem(sys.modules, "no_such_lightning", module)
    config, stages = module.Config(a=1), module.Stages([1, 2])
    config.x = 1
    around = {"callbacks": {module.Checkpoint: {"best": 1}}, "config": config, "stages": stages}
    sources = [
        saved(tmp_path / "a.ckpt", {"state_dict": tensors(), **around}),
        saved(tmp_path / "b.ckpt", Holder(tensors(), argparse.Namespace(**around))),
    ]
    monkeypatch.delitem(sys.modules, "no_such_lightning")
    for source, options, told in zip(sources, ((), ("--yes",)), ("neither imported nor run:", "not installed here, left out:")):
        status, out = converting(source, *options, "--force")
        assert status == 0
        assert_same(load_file(out), tensors())
        assert f"{told} no_such_lightning.Checkpoint" in capsys.readouterr().out


def test_convert_takes_the_state_dict_of_a_whole_module(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    status, out = converting(saved(tmp_path / "a.pt", module), "--yes")
    assert status == 0
    assert_same(load_file(out), dict(module.state_dict()))


def test_what_the_files_own_code_raises_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    source = saved(tmp_path / "a.ckpt", Evil(tmp_path / "there"))
    assert converting(source, "--yes")[0] == 2
    assert "could not be unpickled (FileExistsError" in capsys.readouterr().err


def test_tensors_that_share_memory_or_are_not_contiguous(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    shared = {
        "all": base,
        "again": base,
        "row": base[1],
        "turned": base.t(),
        "every": base[:, ::2],
        "wide": base[:1].expand(3, 6),
    }
    for name, value in (("safe.ckpt", shared), ("unsafe.ckpt", Holder(shared))):
        status, out = converting(saved(tmp_path / name, value), "--yes", "--force")
        assert status == 0
        assert_same(load_file(out), shared)


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(tmp_path / "a.ckpt", tensors())
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    assert converting(source)[0] == 2
    assert "exists; give another OUT, or --force to replace it" in capsys.readouterr().err
    assert (tmp_path / "out.safetensors").read_bytes() == b"mine"
    status, out = converting(source, "--force")
    assert status == 0
    assert_same(load_file(out), tensors())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sparse = {"a": torch.ones(2), "b": torch.ones(2).to_sparse(), "c": torch.ones(2)}
    source = saved(tmp_path / "a.ckpt", sparse)
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    assert converting(source, "--force")[0] == 2
    assert "the tensor b of an unusual kind (torch._utils._rebuild_sparse_tensor)" in capsys.readouterr().err
    saved(source, Holder(sparse))
    assert converting(source, "--force", "--yes")[0] == 2
    assert "the tensor b (torch.float32, torch.sparse_coo, cpu) has no place" in capsys.readouterr().err
    saved(source, {"__metadata__": torch.ones(2)})
    assert converting(source, "--force")[0] == 2
    assert "could not be written" in capsys.readouterr().err
    assert (tmp_path / "out.safetensors").read_bytes() == b"mine"
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a.ckpt", "out.safetensors"]


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("a.ckpt", "expected a name that ends in .safetensors"),
        ("none/b.safetensors", "there is no folder"),
        ("a.safetensors", "are the same file"),
        ("folder.safetensors", "a folder; give the name of a file"),
    ],
)
def test_a_wrong_out_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, expected: str) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / out), "--force"]) == 2
    assert expected in capsys.readouterr().err


def test_half_converts_floats_and_tells_what_overflows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "big": torch.tensor([1e6, 2.0, float("inf")]),
        "wide": torch.tensor([1e300, 1.0], dtype=torch.float64),
        "fine": torch.tensor([0.1, 65504.0]),
        "brain": torch.tensor([0.5], dtype=torch.bfloat16),
        "tiny": torch.tensor([0.5]).to(torch.float8_e5m2),
        "count": torch.tensor([100000]),
    }
    status, out = converting(saved(tmp_path / "a.ckpt", value), "--half")
    assert status == 0
    found = load_file(out)
    assert {n: x.dtype for n, x in found.items() if n != "count"} == dict.fromkeys(set(value) - {"count"}, torch.float16)
    assert torch.equal(found["count"], value["count"])
    assert torch.equal(found["fine"], value["fine"].half())
    assert found["brain"].item() == found["tiny"].item() == 0.5
    said = capsys.readouterr().out
    assert "big: 1 of 3 values are too large for float16 and became infinite" in said
    assert "wide: 1 of 2 values" in said
    assert said.count("too large") == 2


def _archive(path: Path, pickled: bytes) -> Path:
    """A file of torch.save with another pickle in it."""
    with zipfile.ZipFile(saved(path, {})) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in entries.items():
            new.writestr(name, pickled if name.endswith("/data.pkl") else content)
    return path


@pytest.mark.parametrize(
    ("pickled", "expected"),
    [
        (b"cos\nsystem\n.", ["os.system"]),
        (b"(S'x'\nios\nsystem\n.", ["os.system"]),
        (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93.", ["os.system"]),
        (b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x00\x93.", ["os.system"]),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x05shown0\x93.", ["os.system"]),
        (b"\x80\x04\x8c\x06system\x94\x8c\x02osp5\n0\x94h\x05h\x00\x93.", ["os.system"]),
        (b"\x80\x02c__builtin__\neval\n.", ["builtins.eval"]),
        (b"cos\\x2epath \nsystem\n.", ["os\\x2epath .system"]),
    ],
)
def test_names_are_found_however_they_are_written(tmp_path: Path, pickled: bytes, expected: list[str]) -> None:
    assert pickled_names(_archive(tmp_path / "a.pt", pickled)) == expected


@pytest.mark.parametrize(
    ("pickled", "expected"),
    [
        (b"\x80\x02\x82\x07.", "extension 7 of copyreg"),
        (b"\x80\x04cos\ngetcwd\n)R\x8c\x06system\x93.", "a name that is only made while unpickling"),
        (b"cos" + b"x" * 300 + b"\nsystem\n.", "by 309 characters"),
    ],
)
def test_names_that_cannot_be_told_are_never_asked_about(
    tmp_path: Path, pickled: bytes, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _archive(tmp_path / "a.pt", pickled)
    assert converting(source, "--yes")[0] == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert "names more than tensors" not in said.out
    with pytest.raises(WeightsFileError):
        pickled_names(source)


def test_more_names_than_a_person_can_judge_are_never_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _archive(tmp_path / "a.pt", b"".join(b"ca%d\nb\n0" % i for i in range(501)) + b"ca\nb\n.")
    assert converting(source, "--yes")[0] == 2
    assert "its pickle names 502 things beyond tensors, expected 1 to 500" in capsys.readouterr().err


def test_names_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _archive(tmp_path / "a.pt", b"cos\x1b[2J\x1b[H\nsystem\n.")
    assert converting(source)[0] == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "os\\x1b[2J\\x1b[H.system" in said.out


def test_a_name_takes_one_line_and_stays_legible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = b"system\n    harmless"
    source = _archive(tmp_path / "a.pt", b"\x80\x04\x8c\x02os\x8c" + bytes([len(name)]) + name + b"\x93.")
    assert converting(source)[0] == 2
    assert "    os.system\\n    harmless\n" in capsys.readouterr().out
    torch.save({"Grö\u202eße": 1, "x": torch.ones(1)}, tmp_path / "b.pt")
    assert converting(tmp_path / "b.pt")[0] == 0
    assert "left out: Grö\\u202eße (int)" in capsys.readouterr().out


def test_help_names_convert(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "convert" in capsys.readouterr().out
