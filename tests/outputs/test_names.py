"""No name of a file leads out of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2am.errors import I2AMError
from i2am.outputs.names import check_prefix, inside

PARTS = st.sampled_from(["..", ".", "", "a", "maps", "~", "/", "\\", "c:", "%year%", " ", "\0", "…"])


@pytest.mark.parametrize(
    "name",
    ["maps", "I2AM/maps", "I2AM\\maps", "%year%-%month%/shirt", "a.b/c d", "x..y", "console/auxiliary", "com10", ".hidden"],
)
def test_ordinary_prefixes_stay_as_they_are(name: str) -> None:
    assert check_prefix(name) == name.replace("\\", "/")


@pytest.mark.parametrize(
    "name", ["CON", "nul", "I2AM/COM1", "aux/scores", "Lpt9.old", "con .x", "I2AM\\PRN.csv", "com¹", "CONIN$"]
)
def test_names_that_windows_keeps_are_refused(name: str) -> None:
    with pytest.raises(I2AMError, match="is a name that Windows keeps for a device; give another"):
        check_prefix(name)


@pytest.mark.parametrize(("name", "sign"), [("scores.", "dot"), ("a./b", "dot"), ("a /b", "space"), ("I2AM/x...", "dot")])
def test_names_that_end_with_a_dot_or_a_space_are_refused(name: str, sign: str) -> None:
    with pytest.raises(I2AMError, match=f"which ends with a {sign}: Windows leaves it out"):
        check_prefix(name)


@pytest.mark.parametrize("sign", [*'<>:"|?*', "\t", "\x7f"])
def test_signs_that_file_names_cannot_have_everywhere_are_refused(sign: str) -> None:
    with pytest.raises(I2AMError, match="leave those out"):
        check_prefix(f"I2AM/a{sign}b")


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


@pytest.mark.parametrize("name", ["x" * 5000, "é" * 130, "a/" * 1200 + "b", "x\\" + "y" * 256, "\x1b[2J" * 200])
def test_names_that_no_file_could_have_are_refused_briefly(name: str) -> None:
    for check in (check_prefix, lambda text: inside("/base", text)):
        with pytest.raises(I2AMError, match=rf"has {len(name)} characters; give at most [0-9]+ bytes") as caught:
            check(name)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", [None, 5, 1.5, True, b"maps", ["maps"], {"maps": 1}, Path("maps")])
def test_what_is_no_text_is_no_name(name: Any) -> None:
    for check in (check_prefix, lambda text: inside("/base", text)):
        with pytest.raises(I2AMError, match=f"must be text, got a {type(name).__name__}"):
            check(name)


def test_half_of_a_surrogate_pair_is_no_name() -> None:
    with pytest.raises(I2AMError, match=r"prefix 'a\\ud800b' holds"):
        check_prefix("a\ud800b")
    with pytest.raises(I2AMError, match=r"'a\\ud800b' is not a file name"):
        inside("/base", "a\ud800b")


def test_long_names_that_files_can_have_are_taken() -> None:
    assert check_prefix("é" * 100) == "é" * 100
    assert inside("/base", "y" * 255) == Path("/base", "y" * 255)
