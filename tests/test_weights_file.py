"""Checkpoint files, real and wrong ones: what is read, what is refused, and what `convert` makes of them."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from i2am.cli import main
from i2am.convert import COMPUTED, pickled_names
from i2am.errors import UnsafePickleError, WeightsFileError
from i2am.weights_file import read_weights

Tensors = dict[str, Tensor]
BOTH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Callback:
    """Stands for a training callback, which only unsafe pickle can bring back."""

    def __init__(self) -> None:
        self.best = 0.5


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def tensors() -> Tensors:
    torch.manual_seed(3)
    return {
        "unet.weight": torch.randn(4, 3),
        "unet.half": torch.randn(5).half(),
        "unet.bfloat": torch.randn(7).bfloat16(),
        "ema.steps": torch.tensor(7),
        "mask": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4),
        "turned": torch.randn(6, 2).t(),
    }


def saved(path: Path, value: object, zipped: bool = True, **kwargs: int) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped, **kwargs)
    return path


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype, name
        assert found[name].shape == x.shape, name
        assert torch.equal(found[name], x), name


def refusal(path: Path) -> str:
    with pytest.raises(WeightsFileError) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# reading


@BOTH
@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".pth", ".bin"])
def test_a_plain_state_dict_is_read(tmp_path: Path, zipped: bool, ending: str) -> None:
    assert_same(read_weights(saved(tmp_path / f"a{ending}", tensors(), zipped)), tensors())


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({n: x.contiguous() for n, x in tensors().items()}, tmp_path / "a.safetensors")
    assert_same(read_weights(str(tmp_path / "a.safetensors")), tensors())


def test_a_safetensors_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    """The length stands first, and its lowest byte may be 0x80, with which pickles begin."""
    for padding in range(256):
        path = tmp_path / "model.safetensors"
        save_file({"weight": torch.ones(2)}, path, {"padding": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    else:
        raise AssertionError("no header of such a length was made")
    assert torch.equal(read_weights(path)["weight"], torch.ones(2))


@BOTH
def test_what_lightning_writes_is_unwrapped(tmp_path: Path, zipped: bool) -> None:
    value = {"state_dict": collections.OrderedDict(tensors()), "epoch": 3, "callbacks": {}, "optimizer_states": [torch.ones(3)]}
    assert_same(read_weights(saved(tmp_path / "a.ckpt", value, zipped)), tensors())


def test_parameters_come_without_gradients(tmp_path: Path) -> None:
    found = read_weights(saved(tmp_path / "a.ckpt", dict(nn.Linear(2, 2).named_parameters())))
    assert not any(x.requires_grad for x in found.values())


def test_a_compressed_zip_is_not_mapped_from_the_disk(tmp_path: Path) -> None:
    plain = saved(tmp_path / "a.ckpt", tensors())
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(tmp_path / "b.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert_same(read_weights(tmp_path / "b.ckpt"), tensors())


def test_plain_entries_beside_the_tensors_are_dropped(tmp_path: Path) -> None:
    value = {**tensors(), "global_step": 5, "note": "x", "lr": 0.1, "config": {"a": [1, 2]}, "nothing": None}
    assert_same(read_weights(saved(tmp_path / "a.ckpt", value)), tensors())


@pytest.mark.parametrize(("odd", "described"), [([1, 2], "list of 2"), ({"deep": [torch.ones(2)]}, "dict of 1")])
def test_other_entries_are_refused(tmp_path: Path, odd: object, described: str) -> None:
    text = refusal(saved(tmp_path / "a.ckpt", {**tensors(), "odd": odd}))
    assert f"holds odd ({described}) among its tensors" in text


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    assert "holds one list of 2, expected a dict of tensors" in refusal(saved(tmp_path / "a.pt", [torch.ones(2), 1]))
    assert "holds no tensors at its top level" in refusal(saved(tmp_path / "b.pt", {"model": tensors(), "epoch": 1}))
    assert "model: dict of 7" in refusal(tmp_path / "b.pt")
    assert "(nothing)" in refusal(saved(tmp_path / "c.pt", {}))
    assert "under 3, expected a name" in refusal(saved(tmp_path / "d.pt", {3: torch.ones(2)}))


# refusing unsafe pickle


@BOTH
def test_unsafe_pickle_is_refused_with_what_it_names_and_what_to_do(tmp_path: Path, zipped: bool) -> None:
    for value, name in ((argparse.Namespace(a=1), "argparse.Namespace"), (Callback(), f"{__name__}.Callback")):
        path = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "hyper_parameters": value}, zipped)
        with pytest.raises(UnsafePickleError, match="could run any program"):
            read_weights(path)
        assert f"it names {name}," in refusal(path)
        assert f'i2am convert "{path}" "{tmp_path / "a.safetensors"}"' in refusal(path)


@BOTH
@pytest.mark.parametrize("protocol", [2, 4])
def test_an_evil_pickle_is_not_run(tmp_path: Path, zipped: bool, protocol: int) -> None:
    marker = tmp_path / "marker"
    path = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "x": Evil(marker)}, zipped, pickle_protocol=protocol)
    with pytest.raises(UnsafePickleError) as caught:
        read_weights(path)
    assert (f"{os.mkdir.__module__}.mkdir" if protocol == 2 else "pickle protocol 4") in str(caught.value)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the trap does work
    assert marker.exists()


def test_a_tar_that_begins_like_a_pickle_is_refused(tmp_path: Path) -> None:
    """Old versions of torch unpickle a tar's members whatever `weights_only` says."""
    info, path = tarfile.TarInfo("x"), tmp_path / "a.pt"
    info.size = 0
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[:14] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
    path.write_bytes(bytes(header) + bytes(1024))
    assert tarfile.is_tarfile(path)
    assert "is a tar file posing as one of torch.save" in refusal(path)


# files that are no weights


def _zip_of(**entries: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7703807346\n"
WRONG = {
    "empty": (".ckpt", b"", "is empty (0 bytes)"),
    "empty safetensors": (".safetensors", b"", "is empty (0 bytes)"),
    "text": (".pt", b"weights come later\n", "is text (19 bytes, 'weights come later'), not weights"),
    "text of other countries": (".pt", "Gewichte später — é\n".encode() * 400, "is text ("),
    "json": (".safetensors", b'{"error": "log in"}', """'{"error": "log in"}'"""),
    "html": (
        ".ckpt",
        b"\n<!DOCTYPE html>\n<html>Sign in</html>",
        "is a web page (37 bytes), not weights; download the file itself",
    ),
    "html safetensors": (".safetensors", b"<html></html>", "is a web page"),
    "git-lfs": (".ckpt", LFS, f"is a git-lfs pointer ({len(LFS)} bytes of text), not the weights; run `git lfs pull`"),
    "git-lfs safetensors": (".safetensors", LFS, "is a git-lfs pointer"),
    "zip": (".ckpt", _zip_of(**{"a.txt": "x", "b/c.txt": "y"}), "a zip archive of something else (a.txt, b/c.txt)"),
    "gguf": (".bin", b"GGUF\3\0\0\0" + bytes(99), "is a GGUF file"),
    "bare pickle": (".pt", pickle.dumps({"a": 1}), "a Python pickle that torch.save did not write"),
    "noise": (".pth", bytes(range(1, 250)), "begins with the bytes 01 02 03"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_foreign_file_is_named_for_what_it_is(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    ending, content, expected = WRONG[case]
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    assert expected in refusal(path)
    assert main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 2
    assert "Traceback" not in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_missing_folder_and_unknown_ending(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "none.ckpt")
    (tmp_path / "unet").mkdir()
    assert "is a folder" in refusal(tmp_path / "unet")
    (tmp_path / "a.xyz").write_bytes(b"x")
    assert "ends in '.xyz'; expected one of .safetensors, .ckpt" in refusal(tmp_path / "a.xyz")


def test_a_wrong_ending_is_told(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a.ckpt")
    assert "is a safetensors file, but its name ends in '.ckpt'; rename it to a.safetensors" in refusal(tmp_path / "a.ckpt")
    saved(tmp_path / "b.safetensors", {"a": torch.ones(2)})
    assert "is a file of torch.save, but its name ends in '.safetensors'" in refusal(tmp_path / "b.safetensors")


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(_zip_of(**{"a/data.pkl": "x", "a/constants.pkl": "x"}))
    assert "is a TorchScript program" in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / ("a.safetensors" if kind == "safetensors" else "a.ckpt")
    if kind == "safetensors":
        save_file({n: x.contiguous() for n, x in tensors().items()}, whole)
    else:
        saved(whole, tensors(), kind == "zip")
    content = whole.read_bytes()
    for size in [*range(16, len(content), max(1, len(content) // 60)), len(content) - 1]:
        cut.write_bytes(content[:size])
        text = refusal(cut)
        if kind == "legacy" and "more than tensors" in text:  # cut within a name: the rest of the pickle tells
            with pytest.raises(WeightsFileError, match="cut off"):
                pickled_names(cut)
        else:
            assert "cut off" in text or "no mark of it" in text, size


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_damaged_pickle_is_never_a_traceback(tmp_path: Path, zipped: bool) -> None:
    path = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "hyper_parameters": argparse.Namespace(a=1)}, zipped)
    content = path.read_bytes()
    for place in range(40, 900, 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        refusal(path)
        with pytest.raises(WeightsFileError):
            pickled_names(path) and read_weights(path)


# convert


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
    source = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "x": Evil(marker)}, zipped)
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
    source = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "x": Evil(tmp_path / "marker")})
    with open(os.devnull) as nothing:
        for stdin in (nothing, None):
            monkeypatch.setattr(sys, "stdin", stdin)
            assert converting(source)[0] == 2
            assert "give --yes if you trust the file" in capsys.readouterr().err
    assert [x.name for x in tmp_path.iterdir()] == ["a.ckpt"]


@BOTH
@pytest.mark.parametrize("protocol", [2, 4])
def test_convert_with_consent_keeps_every_bit(
    tmp_path: Path, zipped: bool, protocol: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"state_dict": tensors(), "hyper_parameters": argparse.Namespace(a=1), "callbacks": {Callback: Callback()}}
    source = saved(tmp_path / "a.ckpt", value, zipped, pickle_protocol=protocol)
    status, out = converting(source, "--yes")
    assert status == 0
    assert_same(load_file(out), tensors())
    said = capsys.readouterr().out
    assert "    argparse.Namespace\n" in said
    assert f"    {__name__}.Callback\n" in said
    assert "left out: hyper_parameters (Namespace), callbacks (dict of 1)" in said
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True, readline=lambda: "yes\n"))
    out.unlink()
    assert converting(source) == (0, out)
    assert_same(load_file(out), tensors())


def test_convert_does_without_the_packages_that_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("no_such_lightning")
    for name, base in (("Checkpoint", object), ("Config", dict), ("Stages", list)):
        setattr(module, name, type(name, (base,), {"__module__": "no_such_lightning"}))
    monkeypatch.setitem(sys.modules, "no_such_lightning", module)
    config, stages = module.Config(a=1), module.Stages([1, 2])
    config.x = 1
    value = {"state_dict": tensors(), "callbacks": {module.Checkpoint: {"best": 1}}, "config": config, "stages": stages}
    source = saved(tmp_path / "a.ckpt", value)
    monkeypatch.delitem(sys.modules, "no_such_lightning")
    status, out = converting(source, "--yes")
    assert status == 0
    assert_same(load_file(out), tensors())
    assert "not installed here, left out: no_such_lightning.Checkpoint" in capsys.readouterr().out


def test_convert_takes_the_state_dict_of_a_whole_module(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    status, out = converting(saved(tmp_path / "a.pt", module), "--yes")
    assert status == 0
    assert_same(load_file(out), dict(module.state_dict()))


def test_what_the_files_own_code_raises_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    source = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "x": Evil(tmp_path / "there")})
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
    for name, value in (("safe.ckpt", shared), ("unsafe.ckpt", {"state_dict": shared, "x": Callback()})):
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
    source = saved(tmp_path / "a.ckpt", {"a": torch.ones(2), "b": torch.ones(2).to_sparse(), "c": torch.ones(2)})
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    assert converting(source, "--force")[0] == 2
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


# what a pickle names


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
        (b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x05shown0\x93.", [COMPUTED]),
        (b"\x80\x02\x82\x07.", ["extension 7 of copyreg"]),
    ],
)
def test_names_are_found_however_they_are_written(tmp_path: Path, pickled: bytes, expected: list[str]) -> None:
    assert pickled_names(_archive(tmp_path / "a.pt", pickled)) == expected


def test_names_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _archive(tmp_path / "a.pt", b"cos\x1b[2J\x1b[H\nsystem\n.")
    assert converting(source)[0] == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "os\\x1b[2J\\x1b[H.system" in said.out


def test_help_names_convert(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "convert" in capsys.readouterr().out
