"""What a file is by its first bytes, and what to do with one that holds no weights."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from ...errors import WeightsFileError
from ...errors import shown as escaped

PICKLED = (".ckpt", ".pt", ".pth", ".bin")
ENDINGS = (".safetensors", *PICKLED)
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2", ".tmp")
"""What programs put behind the name of a file that they are still downloading."""
AGAIN = "download or copy it again"
LEGACY_MARK = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch.save pickled first before it wrote zip files
LEGACY_TEXT = b"L119547037146038801333356L\n."  # the same by pickle's protocols 0 and 1
OTHERS = {b"GGUF": "a GGUF file", b"\x1f\x8b": "a gzip archive", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive"}
MAX_NAME = 200
"""Characters of a name that is shown."""
MAX_HEADER = 100 << 20
"""Bytes of a safetensors file's header."""


def kind_of(path: Path) -> str:
    """What a weights file is by its first bytes: ``safetensors``, ``zip`` or ``legacy`` (torch < 1.6).

    Raises:
        WeightsFileError: it is none of these, or its name says otherwise.
    """
    _check_name(path)
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise WeightsFileError(f"{path} is empty (0 bytes); {AGAIN}")
    if head[:4] == b"PK\x03\x04":
        kind = "zip"
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") < MAX_HEADER:
        kind = "safetensors"  # asked before pickles: the length in front of its header may begin with their mark
    elif head.startswith((b"\x80", LEGACY_TEXT)):
        _check_pickle(path, head)
        kind = "legacy"
    else:
        raise WeightsFileError(f"{path} is {_foreign(head, path)}")
    if (kind == "safetensors") != (path.suffix.lower() == ".safetensors"):
        what, ending = ("a safetensors file", ".safetensors") if kind == "safetensors" else ("a file of torch.save", ".ckpt")
        raise WeightsFileError(f"{path} is {what}, but its name ends in '{path.suffix}'; rename it to {path.stem}{ending}")
    return kind


def _check_name(path: Path) -> None:
    if path.is_dir():
        raise WeightsFileError(f"{path} is a folder; give one weights file ({', '.join(ENDINGS)})")
    if not path.is_file():
        raise WeightsFileError(f"there is no file {path}; check its name and folder")
    if path.suffix.lower() in UNFINISHED or path.with_name(path.name + ".aria2").exists():
        raise WeightsFileError(f"{path} is a download that has not finished; let it finish, or download it again")
    if path.suffix.lower() not in ENDINGS:
        raise WeightsFileError(f"{path} ends in '{path.suffix}'; expected one of {', '.join(ENDINGS)}")


def check_contents(path: Path, names: Sequence[str]) -> None:
    """Refuse a zip file that torch.save did not write, by what it holds.

    Raises:
        WeightsFileError: it is something else.
    """
    if any(name.endswith("/constants.pkl") for name in names):
        raise WeightsFileError(
            f"{path} is a TorchScript program, expected a state dict; load it with torch.jit.load and save its state_dict()"
        )
    if not any(name.casefold().endswith("/data.pkl") for name in names):
        seen = ", ".join(map(shown, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise WeightsFileError(
            f"{path} is a zip archive of something else ({seen or 'nothing'}), expected one of torch.save; if the weights are "
            f"in it, unpack it and give that file"
        )


def _check_pickle(path: Path, head: bytes) -> None:
    if LEGACY_MARK not in head[:32] and not head.startswith(LEGACY_TEXT):
        raise WeightsFileError(
            f"{path} is a Python pickle that torch.save did not write (no mark of it); ask for a safetensors file"
        )
    if tarfile.is_tarfile(path):  # torch < 2.6 unpickles these without care, weights_only or not (CVE-2025-32434)
        raise WeightsFileError(f"{path} is a tar file posing as one of torch.save; do not use it")


def _foreign(head: bytes, path: Path) -> str:
    """What a file that is no weights file looks like, and what to do."""
    size, start = path.stat().st_size, head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in OTHERS.items():
        if head.startswith(magic):
            return f"{what}, expected one of {', '.join(ENDINGS)}; unpack or convert it to one of these first"
    if start.startswith(b"version https://git-lfs"):
        return f"a git-lfs pointer ({size} bytes of text), not the weights; run `git lfs pull` or download the file itself"
    if start[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"a web page ({size} bytes), not weights; download the file itself (the site may want you to log in first)"
    if not head.strip(b"\0"):
        return f"not filled yet: it begins with {len(head)} zeros, as a download does that stopped early; {AGAIN}"
    if all(c >= 32 or c in b"\t\n\r\f" for c in head) and "\ufffd" not in head[:4000].decode("utf-8", "replace")[:-1]:
        line = start.splitlines()[0] if start else b""
        return f"text ({size} bytes, '{shown(line.decode('utf-8', 'replace'))[:60]}'), not weights; {AGAIN}"
    return f"no weights file (it begins with the bytes {head[:8].hex(' ')}); choose another, or {AGAIN}"


def shown(text: object) -> str:
    r"""A name out of a file we do not trust, short and on one line; see `errors.shown`.

    >>> shown("os\n    harmless")
    'os\\n    harmless'
    """
    return escaped(str(text)[: MAX_NAME + 1].replace("\n", "\\n").replace("\t", "\\t"), MAX_NAME)


def told(error: BaseException) -> str:
    """An error of another library on one short line."""
    return shown(f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": "))
