"""Checkpoint files, real and wrong ones: what is read and what is refused."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from weights_case import BOTH, Callback, Evil, assert_same, refusal, saved, tensors

from i2am.commands.cli import main
from i2am.errors import UnsafePickleError, WeightsFileError
from i2am.models.weights.file import read_weights


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
    for value, name in ((argparse.Namespace(a=1), "argparse.Namespace"), (Callback(), f"{Callback.__module__}.Callback")):
        path = saved(tmp_path / "a.ckpt", value if name == "argparse.Namespace" else {"state_dict": value}, zipped)
        with pytest.raises(UnsafePickleError, match="could run any program"):
            read_weights(path)
        assert f"it names {name}," in refusal(path)
        assert f'i2am convert "{path}" "{tmp_path / "a.safetensors"}"' in refusal(path)


@BOTH
@pytest.mark.parametrize("protocol", range(2, 6))
def test_an_evil_pickle_is_not_run(tmp_path: Path, zipped: bool, protocol: int) -> None:
    marker = tmp_path / "marker"
    path = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "x": Evil(marker)}, zipped, pickle_protocol=protocol)
    with pytest.raises(UnsafePickleError) as caught:
        read_weights(path)
    assert f"{os.mkdir.__module__}.mkdir" in str(caught.value)
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
        assert "cut off" in text or "no mark of it" in text, size


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_damaged_pickle_is_never_a_traceback(tmp_path: Path, zipped: bool) -> None:
    """Whatever byte is wrong, the file is read or refused in the project's own words, and nothing of it is run."""
    marker = tmp_path / "marker"
    path = saved(tmp_path / "a.ckpt", {"state_dict": tensors(), "x": Evil(marker)}, zipped)
    content = path.read_bytes()
    refused: list[str] = []
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read_weights(path)
        except WeightsFileError as error:
            refused.append(str(error))
    assert len(refused) > len(content) // 30
    assert not any("\n" in text for text in refused)
    assert not marker.exists()
