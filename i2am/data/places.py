"""Where a data set's pictures lie: folders that have several names, and files that are found by their stem."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Place:
    """Where one picture of every pair lies.

    Attributes:
        folders: what its folder may be called, best name first.
        of: whose name its file bears: "person", "garment" or "pair".
        stems: what the file's stem may be, best first; "{}" stands for that name.
        ending: of the path that is told where there is none.
    """

    folders: tuple[str, ...]
    of: str = "person"
    stems: tuple[str, ...] = ("{}",)
    ending: str = ".jpg"

    def first(self, root: Path, names: Mapping[str, str]) -> Path:
        """The path that is looked for first."""
        return root / self.folders[0] / f"{self.stems[0].format(names[self.of])}{self.ending}"


class Finder:
    """Finds pictures below a folder; each of its folders is listed once.

    Args:
        root: holds the places' folders.
        places: by the pictures' names.
    """

    def __init__(self, root: Path, places: Mapping[str, Place]) -> None:
        self.root, self.places = root, places

    def find(self, names: Mapping[str, str]) -> tuple[dict[str, Path], dict[str, Path]]:
        """Where a pair's pictures lie, and of those that are not there the first path looked for.

        Args:
            names: what stands for "{}", by `Place.of`.
        """
        found, lacking = {}, {}
        for title, place in self.places.items():
            path = self._one(place, names[place.of])
            if path is None:
                lacking[title] = place.first(self.root, names)
            else:
                found[title] = path
        return found, lacking

    def _one(self, place: Place, name: str) -> Path | None:
        for title in place.folders:
            folder, index = self._indices[title]
            for pattern in place.stems:
                if (file := index.get(pattern.format(name))) is not None:
                    return folder / file
        return None

    @cached_property
    def _indices(self) -> dict[str, tuple[Path, dict[str, str]]]:
        folders = {title: self.root / title for place in self.places.values() for title in place.folders}
        return {title: (folder, by_stem(folder)) for title, folder in folders.items()}


def by_stem(folder: Path) -> dict[str, str]:
    """A folder's pictures, their files' names by those without ending; of several the one whose ending `ENDINGS` has first.

    A folder that is not there has none.
    """
    if not folder.is_dir():
        return {}
    found: list[tuple[int, str, str]] = []
    for file in os.listdir(folder):
        name, ending = os.path.splitext(file)
        if ending.lower() in ENDINGS:
            found.append((ENDINGS.index(ending.lower()), name, file))
    return {name: file for _, name, file in sorted(found, reverse=True)}
