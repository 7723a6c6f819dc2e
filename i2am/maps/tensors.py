"""Tensors written as a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: str | Path, about: Mapping[str, str] | None = None) -> None:
    """Write tensors to ``path``, with ``about`` as the file's metadata and the access rights of any new file.

    safetensors 0.8 renames a temporary file that only its owner may read, so that a shared output folder, or a server that
    runs as another user, could not read ours.

    Raises:
        SafetensorError, OSError: the file cannot be written.
    """
    path, rights = Path(path), None
    with suppress(OSError, ValueError):  # what is wrong with the path is said when it is written
        path.touch()
        rights = S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path, None if about is None else dict(about))
    if rights is not None:
        with suppress(OSError):  # some file systems know no rights
            path.chmod(rights)
