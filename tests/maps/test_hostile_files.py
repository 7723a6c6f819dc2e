"""Maps files from strangers: each is either read as it says, or refused in one short sentence, at once and in little memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from filled_maps import assert_equal
from hostile_files import bounded
from hostile_maps import Parts, agrees, changed, check_sentence, good, loaded, parts_of, places
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from i2am.errors import I2AMError, MapsFileError
from i2am.levels.heat import shown
from i2am.levels.marginal import LEVELS
from i2am.maps.bounds import MOST_TEXT
from i2am.maps.file import check_maps_file, is_maps_file
from i2am.maps.value import AttributionMaps

NAME = "r2g|down.0|cond|0"
GRID = ("layers", 0, "grid")


def put(*place: Any, to: Any) -> Callable[[Parts], None]:
    """A value of the description replaced."""

    def change(parts: Parts) -> None:
        parts.about = changed(parts.about, place, lambda inside, key: inside.__setitem__(key, to))

    return change


def one_head(parts: Parts, heads: int) -> None:
    """All layers of so many heads, whose maps are kept as their mean: 3 KB may say a thousand million."""
    for layer in parts.about["layers"]:
        layer["heads"] = heads
    for name, tensor in parts.tensors.items():
        if "|" in name and not name.startswith("thumbnail"):
            parts.tensors[name] = tensor[:, :, :1].clone()


def nested(deep: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(deep):
        value = [value]
    return value


def text(old: str, new: str) -> Callable[[Parts], None]:
    """A piece of the description's text replaced, by what `json.dumps` would not write."""

    def change(parts: Parts) -> None:
        whole = json.dumps(parts.about)
        assert old in whole
        parts.about = whole.replace(old, new, 1)

    return change


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Parts], None]:
    def of(parts: Parts) -> None:
        parts.tensors[name] = change(parts.tensors[name])

    return of


def filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(t: torch.Tensor) -> torch.Tensor:
        t = t.clone()
        t.view(-1)[-1] = value
        return t

    return change


def more(name: str, value: torch.Tensor) -> Callable[[Parts], None]:
    return lambda parts: parts.tensors.update({name: value})


def again(parts: Parts, name: str) -> None:
    parts.tensors[name] = parts.tensors[NAME].clone()


def many_tensors(parts: Parts) -> None:
    parts.tensors |= {f"{NAME}{i}": torch.zeros(1) for i in range(20_000)}


CASES: dict[str, Callable[[Parts], None]] = {
    "a thousand million heads": lambda parts: one_head(parts, 10**9),
    "a thousand million steps": put("run", "steps", to=10**9),
    "steps and bins of a thousand million": lambda parts: parts.about.update(
        run={**parts.about["run"], "steps": 10**9}, bins=[[0, 10**9]], groups=[[0, 10**9]]
    ),
    "a thousand million images": put("images", to=10**9),
    "a generated picture of 30,000²": put("generated_size", to=[30_000, 30_000]),
    "a layer's picture of 30,000²": put(*GRID, "picture", to=[30_000, 30_000]),
    "a reference's picture of 30,000²": put("references", 0, "grid", "picture", to=[30_000, 30_000]),
    "a picture of a negative size": put("generated_size", to=[-64, 48]),
    "a rectangle far outside": put("layers", 0, "references", 0, "grid", "rect", to=[-1e5, -1e5, 1e5, 1e5]),
    "a rectangle without end": put(*GRID, "rect", to=[0, 0, 1e308, 1e308]),
    "a rectangle of NaN": put(*GRID, "rect", to=[0.0, 0.0, float("nan"), 1.0]),
    "a last row that holds nothing": put(*GRID, "edge", to=[0.0, 1.0]),
    "a last column that holds two": put(*GRID, "edge", to=[1.0, 2.0]),
    "a rectangle of no width": put(*GRID, "rect", to=[0.0, 0.0, 1e-300, 1.0]),
    "a grid as a line of tokens": put(*GRID, "rows", to=10**6),
    "a note of 100 KB": put("notes", to=["x" * 100_000]),
    "notes of 100 KB together": put("notes", to=["x" * 1000] * 100),
    "a million notes": put("notes", to=[""] * 10**6),
    "a hundred thousand notes": put("notes", to=[""] * 10**5),
    "a million keys": put("run", "extra", to={str(i): 0 for i in range(10**6)}),
    "a hundred thousand keys": put("run", "extra", to={str(i): 0 for i in range(10**5)}),
    "a hundred thousand unknown keys": lambda parts: parts.about.update({str(i): 0 for i in range(10**5)}),
    "a million layers": put("layers", to=[0] * 10**6),
    "half a million layers": put("layers", to=[0] * (MOST_TEXT // 4)),
    "a million wrong steps": put("recorded", to=["a"] * 10**6),
    "half a million wrong steps": put("recorded", to=[{}] * (MOST_TEXT // 5)),
    "half a million empty lists": put("run", "extra", to={"a": [[]] * (MOST_TEXT // 5)}),
    "a million keys of metadata": lambda parts: parts.metadata.update({str(i): "" for i in range(10**6)}),
    "twenty thousand tensors": many_tensors,
    "lists in lists": put("run", "extra", to={"a": nested(900)}),
    "lists in lists, without end": text('"ab12"', "[" * 10**6 + "]" * 10**6),
    "an integer of 5,000 digits": text('"seed": 9007199254740993', f'"seed": {"9" * 5000}'),
    "an integer of 4,000 digits": text('"seed": 9007199254740993', f'"seed": {"9" * 4000}'),
    "a version of 4,000 digits": text('"version": 5', f'"version": {"9" * 4000}'),
    "a number beyond floats": text('"cfg": 7.5', '"cfg": 1e999'),
    "NaN as a number": text('"cfg": 7.5', '"cfg": NaN'),
    "infinity in the noise levels": text("14.6146", "Infinity"),
    "NaN in the further facts": put("run", "extra", to={"a": float("nan")}),
    "half of a surrogate pair in a note": put("notes", to=["\ud800"]),
    "half of a surrogate pair in a key": put("run", "extra", to={"\udfff": 1}),
    "half of a surrogate pair in a name": put("references", 0, "name", to="\udc00"),
    "a name of 100,000 letters": put("references", 0, "name", to="x" * 100_000),
    "a name that is a number": put("layers", 0, "name", to=5),
    "true as a number": put("images", to=True),
    "a number as text": put("layers", 0, "heads", to="2"),
    "half a head": put("layers", 0, "heads", to=1.5),
    "no heads": put("layers", 0, "heads", to=0),
    "a note that is a number": put("notes", to=[5]),
    "branches that are a text": put("branches", to="cond"),
    "two branches of one name": put("branches", to=["cond", "cond"]),
    "a null branch that is none": put("null_branches", to=["third"]),
    "no recorded step": put("recorded", to=[]),
    "recorded steps in disorder": put("recorded", to=[2, 1]),
    "recorded steps twice": put("recorded", to=[1, 1, 2]),
    "a recorded step beyond the last": put("recorded", to=[1, 2, 3]),
    "no bins": put("bins", to=[]),
    "bins of no steps": put("bins", to=[[0, 0], [0, 3]]),
    "an official use that there is not": put("layers", 0, "official", to="sometimes"),
    "two layers of one name": lambda parts: parts.about["layers"].append(parts.about["layers"][0]),
    "another softmax than the run's": put("layers", 0, "references", 0, "softmax", to=1),
    "generated tokens without a place": put(*GRID, "leading", to=1),
    "a description of 3 MB": lambda parts: setattr(parts, "about", json.dumps(parts.about) + " " * 3_000_000),
    "maps in double precision": tensor(NAME, torch.Tensor.double),
    "maps in half precision": tensor(NAME, torch.Tensor.half),
    "maps of integers": tensor(NAME, torch.Tensor.int),
    "places that are no integers": tensor("peak_index|down.0|cond|0", torch.Tensor.float),
    "a map of no images": tensor(NAME, lambda t: t[:0].clone()),
    "a map with NaN": tensor(NAME, filled(float("nan"))),
    "a map with infinity": tensor("pairwise|down.0|cond|0", filled(float("-inf"))),
    "a map twice, with its reference as 00": lambda parts: again(parts, "r2g|down.0|cond|00"),
    "a map twice, with its reference as ٠": lambda parts: again(parts, "r2g|down.0|cond|٠"),
    "a mask with NaN": tensor("inpaint_mask", filled(float("nan"))),
    "a mask of bytes": tensor("inpaint_mask", torch.Tensor.byte),
    "a mask of one side": tensor("inpaint_mask", lambda t: t[0].clone()),
    "a mask of no pixels": tensor("inpaint_mask", lambda t: t[:, :0].clone()),
    "masks of more images": tensor("inpaint_mask", lambda t: t.repeat(3, 1, 1)),
    "a small picture of floats": tensor("thumbnail|person", torch.Tensor.float),
    "a small picture without colours": tensor("thumbnail|person", lambda t: t[..., 0].clone()),
    "a small picture with four colours": tensor("thumbnail|person", lambda t: torch.ones(2, 2, 4).byte()),
    "a small picture of no pixels": tensor("thumbnail|person", lambda t: t[:0].clone()),
    "a small picture with a long name": more("thumbnail|" + "x" * 10_000, torch.ones(2, 2, 3).byte()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_is_refused_in_one_short_sentence(tmp_path: Path, name: str) -> None:
    parts = good(tmp_path)
    CASES[name](parts)
    path = parts.write(tmp_path / "maps.safetensors")
    said = loaded(path)
    assert isinstance(said, str), "it was read"
    assert str(path) in said


@pytest.mark.parametrize("name", CASES)
def test_the_header_alone_tells_what_is_wrong_but_for_numbers_in_tensors(tmp_path: Path, name: str) -> None:
    parts = good(tmp_path)
    CASES[name](parts)
    path = parts.write(tmp_path / "maps.safetensors")
    values = ("a map with NaN", "a map with infinity", "a mask with NaN")
    with bounded(20, 200_000_000):
        if name in values:
            check_maps_file(path)
        else:
            with pytest.raises(MapsFileError) as caught:
                check_maps_file(path)
            check_sentence(str(caught.value), path)
        is_maps_file(path)  # only says what it may be, but must not fail


def test_a_tensor_with_nan_is_named(tmp_path: Path) -> None:
    parts = good(tmp_path)
    parts.tensors[NAME].view(-1)[3] = float("nan")
    said = loaded(parts.write(tmp_path / "maps.safetensors"))
    assert NAME in str(said)
    assert "NaN" in str(said)


def test_large_numbers_are_no_infinity(tmp_path: Path) -> None:
    parts = good(tmp_path)
    parts.tensors["norm|down.0|cond|0"][:] = 3e38  # together they are more than float32 has
    assert isinstance(loaded(parts.write(tmp_path / "maps.safetensors")), AttributionMaps)


def test_what_we_would_not_read_is_not_written(tmp_path: Path) -> None:
    maps = AttributionMaps.load(good(tmp_path).write(tmp_path / "maps.safetensors"))
    kept = (tmp_path / "maps.safetensors").read_bytes()
    maps._tensors["r2g", "down.0", "cond", 0].view(-1)[0] = float("inf")
    with pytest.raises(MapsFileError, match=r"was not written.*r2g\|down.0\|cond\|0.*infinity"):
        maps.save(tmp_path / "maps.safetensors")
    assert (tmp_path / "maps.safetensors").read_bytes() == kept
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.safetensors", "maps.safetensors"]


def test_loading_takes_the_files_size_and_a_little(tmp_path: Path) -> None:
    parts = good(tmp_path)
    parts.tensors["thumbnail|large"] = torch.zeros(4000, 8000, 3, dtype=torch.uint8)  # 96 MB
    path = parts.write(tmp_path / "maps.safetensors")
    with bounded(20, 2 * path.stat().st_size + 64_000_000):  # mapped, and read
        AttributionMaps.load(path)


def test_maps_do_not_change_with_their_file(tmp_path: Path) -> None:
    path = good(tmp_path).write(tmp_path / "maps.safetensors")
    maps = AttributionMaps.load(path)
    with path.open("r+b") as file:  # as a program does that writes into the file that is there
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert_equal(maps, AttributionMaps.load(tmp_path / "good.safetensors"))


def test_the_largest_that_is_read_can_be_looked_at_in_bounds(tmp_path: Path) -> None:
    """As many heads as may be, in maps that are kept for each of them, on a picture as large as may be."""
    parts = good(tmp_path)
    heads = 1024
    parts.about["layers"][0]["heads"] = heads
    for name, t in parts.tensors.items():
        if "|down.0|" in name:
            parts.tensors[name] = t[:, :, :1].repeat_interleave(heads, 2)
    parts.about["generated_size"] = parts.about["layers"][0]["grid"]["picture"] = [8192, 8192]
    maps = loaded(parts.write(tmp_path / "maps.safetensors"))
    assert isinstance(maps, AttributionMaps)
    with bounded(60, 500_000_000):
        heat = LEVELS["HLAM"](maps, "R2G")
        with pytest.raises(I2AMError, match=r"1024 map\(s\) on a picture of 8192 x 8192"):
            shown(heat)


# ------------------------------------------------------------------------------------------------ whole kinds at a time

ODD = st.sampled_from(
    [
        *(None, True, False, -1, 0, 1, 2, 3, 5, 1000, 10**5, 10**9, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e-320, 1e308),
        *(float("nan"), float("inf"), "", "cond", "x", "\x1b[31m", "\u202eevil", "\ud800", "a|b", "x" * 100_000, "é" * 500),
        *(
            [],
            [0],
            [0, 1],
            [1, 0],
            [0] * 4,
            [[0, 3]],
            [[0, 1], [1, 3]],
            ["cond"],
            [""],
            [None],
            {},
            {"a": 1},
            {"": {}},
            {"x": [[]]},
        ),
        *([0] * 30_000, {str(i): i for i in range(20_000)}, nested(40), nested(300)),
    ]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WAYS: dict[str, Callable[[Any, Any], None]] = {
    "gone": lambda inside, key: inside.pop(key) if len(inside) > 1 else None,
    "an empty one of its type": lambda inside, key: inside.__setitem__(
        key, type(inside[key])() if inside[key] is not None else 0
    ),
    "as text": lambda inside, key: inside.__setitem__(key, str(inside[key])),
    "in a list": lambda inside, key: inside.__setitem__(key, [inside[key]]),
    "negative": lambda inside, key: inside.__setitem__(key, -inside[key] if isinstance(inside[key], int | float) else -1),
    "ten times": lambda inside, key: inside.__setitem__(
        key, inside[key] * 10 if not isinstance(inside[key], dict | None) else []
    ),
    "twice in its list": lambda inside, key: inside.insert(key, inside[key]) if isinstance(inside, list) else None,
    "with another key": lambda inside, key: inside.update({"another": 1}) if isinstance(inside, dict) else None,
}
quick = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def original() -> Parts:
    with tempfile.TemporaryDirectory() as folder:
        return good(Path(folder))


def read_or_refused(parts: Parts) -> None:
    """Load it; what is read says what the file says, comes back from another file, and can be looked at."""
    with tempfile.TemporaryDirectory() as folder:
        path = parts.write(Path(folder, "maps.safetensors"))
        maps = loaded(path)
        if isinstance(maps, str):
            return
        again = maps.save(Path(folder, "again.safetensors"))
        assert_equal(maps, AttributionMaps.load(again))
        kept = parts_of(again)
        assert agrees(parts.about, kept.about)
        assert kept.tensors.keys() == parts.tensors.keys()
        assert all(torch.equal(t, kept.tensors[name]) for name, t in parts.tensors.items())
        with bounded(60, 600_000_000):
            for side in ("R2G", "G2R"):
                with suppress(I2AMError):
                    LEVELS["LLAM"](maps, side)


@quick
@given(data=st.data())
def test_any_description(original: Parts, data: st.DataObject) -> None:
    about = original.about
    for _ in range(data.draw(st.integers(1, 3), "changes")):
        place = data.draw(st.sampled_from(places(about)), "place")
        if data.draw(st.booleans(), "another value"):
            value = data.draw(ODD | PLAIN, "value")
            about = changed(about, place, lambda inside, key, value=value: inside.__setitem__(key, value))
        elif place:
            about = changed(about, place, WAYS[data.draw(st.sampled_from(sorted(WAYS)), "way")])
    read_or_refused(Parts(about, original.tensors))


@quick
@given(data=st.data())
def test_any_tensors(original: Parts, data: st.DataObject) -> None:
    tensors = dict(original.tensors)
    for _ in range(data.draw(st.integers(1, 3), "changes")):
        name = data.draw(st.sampled_from(sorted(tensors)), "name")
        t, way = tensors[name], data.draw(st.integers(0, 7), "way")
        if way == 0:
            del tensors[name]
        elif way == 1:
            tensors[data.draw(st.text(max_size=20) | st.sampled_from(sorted(tensors)), "another name")] = t.clone()
        elif way == 2:
            tensors[name] = t.to(
                data.draw(st.sampled_from([torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool]))
            )
        elif way == 3:
            tensors[name] = t.reshape(data.draw(st.sampled_from([(-1,), (1, *t.shape), (*t.shape[::-1],)]), "shape"))
        elif way == 4 and t.ndim:
            axis = data.draw(st.integers(0, t.ndim - 1), "axis")
            tensors[name] = t.narrow(axis, 0, data.draw(st.integers(0, t.shape[axis]), "kept")).clone()
        elif way == 5 and t.dtype == torch.float32 and t.numel():
            value = data.draw(st.sampled_from([float("nan"), float("inf"), -1.0, 3e38, 1e-45]), "value")
            tensors[name] = t.masked_fill(torch.arange(t.numel()).view(t.shape) == t.numel() // 2, value)
        elif way == 6:
            tensors[name] = torch.zeros(data.draw(st.sampled_from([(0,), (1,), (2, 3, 2, 24), (1, 1, 3), (0, 10**6)]), "size"))
    read_or_refused(Parts(original.about, tensors))


@quick
@given(data=st.data())
def test_any_bytes(original: Parts, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = original.write(Path(folder, "maps.safetensors"))
        whole = bytearray(path.read_bytes())
        header = 8 + int.from_bytes(whole[:8], "little")
        for _ in range(data.draw(st.integers(1, 4), "changes")):
            first, stop = data.draw(st.sampled_from([(0, 8), (8, header), (header, len(whole)), (header, len(whole))]), "part")
            whole[data.draw(st.integers(first, stop - 1), "place")] = data.draw(st.integers(0, 255), "byte")
        path.write_bytes(whole[: data.draw(st.sampled_from([len(whole)] * 3 + [len(whole) - 1, header, 8]), "kept")])
        loaded(path)
