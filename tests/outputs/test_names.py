"""No name of a file leads out of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2am.errors import I2AMError
from i2am.outputs.names import check_prefix, inside

PARTS = st.sampled_from(["..", ".", "", "a", "maps", "~", "/", "\\", "c:", "%year%", " ", "\0", "…"])


@pytest.mark.parametrize("name", ["maps", "I2AM/maps", "I2AM\\maps", "%year%-%month%/shirt", "a.b/c d", "x..y"])
def test_ordinary_prefixes_stay_as_they_are(name: str) -> None:
    assert check_prefix(name) == name.replace("\\", "/")


@given(st.lists(PARTS, min_size=1, max_size=6), st.sampled_from(["/", "\\", ""]))
def test_an_accepted_prefix_stays_inside(parts: list[str], separator: str) -> None:
    try:
        accepted = check_prefix(separator.join(parts))
    except I2AMError:
        return
    path = Path("/base", accepted).resolve()
    assert Path("/base") in path.parents
    assert "\0" not in accepted
    assert path.name not in ("", ".", "..")


@given(st.lists(PARTS, max_size=6), st.sampled_from(["/", "\\", ""]))
def test_an_accepted_name_stays_inside(parts: list[str], separator: str) -> None:
    try:
        path = inside("/base", separator.join(parts))
    except I2AMError:
        return
    assert Path("/base") in path.parents


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "own").symlink_to(tmp_path / "in" / "file")
    with pytest.raises(I2AMError, match="leads out of its folder"):
        inside(tmp_path / "in", "link")
    assert inside(tmp_path / "in", "own") == tmp_path / "in" / "file"
