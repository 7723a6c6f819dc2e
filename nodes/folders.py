"""The host's input and output folders: names for new files, and the maps files that lie there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import folder_paths

from ..i2am.errors import I2AMError
from ..i2am.maps.file import is_maps_file
from ..i2am.models.tryon.folder import PARTS, is_folder
from ..i2am.outputs.names import check_prefix, inside

SUFFIX = ".safetensors"
_OUTPUT = " [output]"  # the host's own mark of names in its output folder
_FOLDER = " [diffusers]"


def new_file(prefix: str, suffix: str) -> tuple[Path, str]:
    """Where the next file of a prefix goes in the output folder, and its name relative to it.

    Raises:
        I2AMError: the prefix leads out of the output folder, or its own folder cannot be made there.
    """
    prefix, output = check_prefix(prefix), folder_paths.get_output_directory()
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output)
    except OSError as error:  # read-only, or a file where a folder should be
        raise I2AMError(
            f"the folder of {prefix!r} cannot be made in the output folder ({error}); give another prefix"
        ) from error
    file = f"{name}_{counter:05}_{suffix}"
    return Path(folder) / file, "/".join(part for part in (subfolder.replace(os.sep, "/"), file) if part)


def saved_in(name: str) -> dict[str, str]:
    """By what the host's interface asks for a file of the output folder, given its name relative to it."""
    subfolder, _, file = name.rpartition("/")
    return {"filename": file, "subfolder": subfolder, "type": "output"}


def maps_files() -> list[str]:
    """Maps files in the input and output folders, by the names that `maps_path` takes."""
    places = ((folder_paths.get_input_directory(), ""), (folder_paths.get_output_directory(), _OUTPUT))
    return [name + mark for folder, mark in places for name in sorted(_found(folder))]


def maps_path(name: str) -> Path:
    """The path of a maps file by its name.

    Raises:
        I2AMError: it is no name, it leads out of the folder, or there is no such file.
    """
    output = isinstance(name, str) and name.endswith(_OUTPUT)
    folder = folder_paths.get_output_directory() if output else folder_paths.get_input_directory()
    path = inside(folder, name[: -len(_OUTPUT)] if output else name)
    if not path.is_file():
        where = "output" if output else "input"
        raise I2AMError(f"there is no file {name!r} in the {where} folder; press R to read the list anew, or save maps first")
    return path


def content_hash(path: Path) -> str:
    """A hash of a file's content: neither time nor size tell that it was replaced."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def weights_names() -> list[str]:
    """Checkpoints, and folders in diffusers' layout that hold an image encoder, by the names that `weights_path` takes."""
    folders = {
        found.parent.relative_to(base).as_posix()
        for base in map(Path, folder_paths.get_folder_paths("diffusers"))
        for pattern in (f"*/{PARTS[-1]}", f"*/*/{PARTS[-1]}")
        for found in base.glob(pattern)
        if is_folder(found.parent)
    }
    return [*folder_paths.get_filename_list("checkpoints"), *(name + _FOLDER for name in sorted(folders))]


def weights_path(name: str) -> Path:
    """The path of a checkpoint or folder by its name.

    Raises:
        I2AMError: the name leads out of its folder, or there is no such folder.
    """
    if not name.endswith(_FOLDER):
        return Path(folder_paths.get_full_path_or_raise("checkpoints", name))
    for base in folder_paths.get_folder_paths("diffusers"):
        path = inside(base, name[: -len(_FOLDER)])
        if path.is_dir():
            return path
    raise I2AMError(f"there is no folder {name!r} in models/diffusers; press R to read the list anew")


def _found(folder: str) -> Iterator[str]:
    for at, _, files in os.walk(folder):
        for file in files:
            path = Path(at, file)
            if file.endswith(SUFFIX) and not path.is_symlink() and _is_ours(str(path), *version(path)):
                yield path.relative_to(folder).as_posix()


def version(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced."""
    about = path.stat()
    return about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino


@lru_cache(maxsize=4096)
def _is_ours(path: str, *_changed: int) -> bool:
    """Remembered until the file changes: the host asks for the list whenever the interface loads."""
    return is_maps_file(path)
