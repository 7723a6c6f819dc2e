"""The kinds of data set that can be read: one file and one row here for each."""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetError
from .csv_folder import CSV_FOLDER, FILE
from .dress_code import CATEGORIES, DRESS_CODE
from .lists import has_lists
from .pairs import DataSet, Kind
from .viton_hd import VITON_HD

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        DRESS_CODE,
        VITON_HD,
        CSV_FOLDER,
    )
}
"""By name. Of a folder that fits several, the first is taken, but that whose only list is pairs.csv is a folder with a CSV."""
AUTO = "auto"


def open_data_set(folder: Path | str, kind: str = AUTO) -> DataSet:
    """A folder with a data set in it.

    Args:
        folder: the data set's own, as it unpacks.
        kind: a name in `KINDS`, or "auto": told by what lies in the folder.

    Raises:
        DatasetError: there is no such folder or kind, or the folder is of no kind that is known.
    """
    folder = Path(folder)
    if kind != AUTO and kind not in KINDS:
        raise DatasetError(f"there is no kind of data set {kind!r}; take {AUTO}, {', '.join(KINDS)}")
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}; give the folder of a data set")
    if kind != AUTO:
        return DataSet(folder, KINDS[kind])
    found = CSV_FOLDER if _has_csv_alone(folder) else next((known for known in KINDS.values() if known.fits(folder)), None)
    if found is None:
        raise DatasetError(_unknown(folder))
    return DataSet(folder, found)


def _has_csv_alone(folder: Path) -> bool:
    """Whether pairs.csv is the only list: then folders that are named as another kind's do not hide it."""
    return (folder / FILE).is_file() and not any(has_lists(path) for path in (folder, *(folder / name for name in CATEGORIES)))


def _unknown(folder: Path) -> str:
    inside = sorted(path.name for path in folder.iterdir())
    seen = ", ".join(inside[:6]) + ("…" if len(inside) > 6 else "")
    expected = "; ".join(f"{kind.title} has {kind.told_by}" for kind in KINDS.values())
    above = next((known for known in KINDS.values() if known.fits(folder.parent)), None)
    hint = f"; {folder.parent} looks like {above.title}: give that folder" if above is not None else ""
    return f"{folder} is no data set of a kind that is known ({expected}); it holds: {seen or 'nothing'}{hint}"
