"""The schema of a maps file's description: types, bounds and lengths, checked before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from ..geometry.layout import Rect, Reference, TokenGrid
from ..geometry.words import Word, check_words
from .bounds import (
    DEEPEST,
    MOST_CELLS,
    MOST_HEADS,
    MOST_NOTES,
    MOST_PIECES,
    MOST_PIXELS,
    MOST_PLAIN,
    MOST_SIDE,
    MOST_STEPS,
    MOST_STRETCH,
    MOST_TEXT,
    MOST_TOKENS,
    MOST_WORDS,
)
from .facts import Facts, LayerInfo, RunInfo

_Item = TypeVar("_Item")
_Few = Annotated[list[_Item], Field(max_length=1024), FailFast()]
_PerStep = Annotated[list[_Item], Field(max_length=2 * MOST_STEPS), FailFast()]  # some hosts give one more than the steps
_Name = Annotated[str, Field(max_length=256)]
_Words = Annotated[str, Field(max_length=1000)]
_Step = Annotated[int, Field(ge=0, le=MOST_STEPS)]
_Range = Annotated[list[_Step], Field(min_length=2, max_length=2)]
_Side = Annotated[int, Field(ge=0, le=MOST_SIDE)]
_Size = Annotated[list[_Side], Field(min_length=2, max_length=2)]
_Cells = Annotated[int, Field(ge=0, le=MOST_CELLS)]
_Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
_Held = Annotated[float, Field(gt=0, le=1)]
_BranchKeys = Annotated[tuple[_Name, _Tokens], Field(strict=False)]  # JSON has lists only


class _Part(BaseModel):
    """An object of the description: no unknown keys, nothing converted from another type."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        # pydantic's own check names every unknown key, which may be a million
        unknown = next((key for key in value if key not in cls.model_fields), None) if isinstance(value, dict) else None
        if unknown is not None:
            raise ValueError(f"unknown key {seen(unknown)}")
        return value


class _Grid(_Part):
    rows: _Cells
    columns: _Cells
    leading: _Tokens
    picture: _Size | None
    rect: Annotated[list[float], Field(min_length=4, max_length=4)] | None
    edge: Annotated[list[_Held], Field(min_length=2, max_length=2)] = [1.0, 1.0]

    @model_validator(mode="after")
    def _bounded(self) -> _Grid:
        if self.leading + self.rows * self.columns > MOST_TOKENS:
            raise ValueError(f"{self.rows} x {self.columns} and {self.leading} tokens, expected at most {MOST_TOKENS} in all")
        if self.picture is not None and math.prod(self.picture) > MOST_PIXELS:
            raise ValueError(f"a picture of {self.picture[1]} x {self.picture[0]}, expected at most {MOST_PIXELS} pixels")
        if self.rect is not None:
            width, height = self.rect[2] - self.rect[0], self.rect[3] - self.rect[1]
            if min(width, height) < 1e-4 or width * height > MOST_STRETCH or max(map(abs, self.rect)) > MOST_STRETCH:
                edges = ", ".join(f"{x:.3g}" for x in self.rect)
                raise ValueError(f"a rectangle ({edges}), expected one with an area, within {MOST_STRETCH} of its picture")
        return self

    def value(self) -> TokenGrid:
        """The library's own type."""
        picture = None if self.picture is None else (self.picture[0], self.picture[1])
        rect: Rect | None = None if self.rect is None else (self.rect[0], self.rect[1], self.rect[2], self.rect[3])
        return TokenGrid(self.rows, self.columns, self.leading, picture, rect, (self.edge[0], self.edge[1]))


class _Reference(_Part):
    grid: _Grid
    start: _Tokens
    name: _Name
    softmax: Annotated[int, Field(ge=0, le=1024)] = 0

    def value(self) -> Reference:
        """The library's own type."""
        return Reference(self.grid.value(), self.start, self.name, self.softmax)


class _Layer(_Part):
    name: _Name
    grid: _Grid
    heads: Annotated[int, Field(ge=1, le=MOST_HEADS)]
    references: _Few[_Reference]
    middle: bool = False
    keys: _Tokens = 0
    beside: bool = False
    official: Literal["", "always", "over time"] = ""
    branch_keys: Annotated[list[_BranchKeys], Field(max_length=8)] = []
    rest: Annotated[list[_Name], Field(max_length=64)] = []
    queries: _Tokens = 0
    cells: _Cells = 0
    words: Annotated[list[_BranchKeys], Field(max_length=8)] = []
    texts: Annotated[list[_Name], Field(max_length=64)] = []

    def value(self) -> LayerInfo:
        """The library's own type."""
        return LayerInfo(
            self.name,
            self.grid.value(),
            self.heads,
            self.middle,
            self.keys,
            tuple(x.value() for x in self.references),
            self.beside,
            self.official,
            tuple((branch, count) for branch, count in self.branch_keys),
            tuple(self.rest),
            self.queries,
            self.cells,
            tuple((branch, count) for branch, count in self.words),
            tuple(self.texts),
        )


class _Word(_Part):
    name: _Name
    start: _Tokens
    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]
    kind: Literal["word", "template", "special", "fill", "vision"] = "word"
    grid: Annotated[list[_Cells], Field(min_length=2, max_length=2)] = [0, 0]
    window: _Cells = 0

    def value(self) -> Word:
        """The library's own type."""
        return Word(self.name, self.start, self.tokens, self.kind, (self.grid[0], self.grid[1]), self.window)


_Text = Annotated[tuple[_Name, Annotated[list[_Word], Field(max_length=MOST_PIECES), FailFast()]], Field(strict=False)]


class _Run(_Part):
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    timesteps: _PerStep[float] = []
    sigmas: _PerStep[float] = []
    evaluations: _PerStep[Annotated[int, Field(ge=0, le=10**6)]] = []
    seed: Annotated[int, Field(ge=-(2**64), le=2**64)] | None = None
    sampler: _Words = ""
    cfg: float | None = None
    model: _Words = ""
    host: _Words = ""
    extra: dict[str, Any] = {}
    default_layers: _Few[_Name] = []

    @field_validator("extra")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        _check_plain(value)
        return value

    def value(self) -> RunInfo:
        """The library's own type."""
        return RunInfo(
            self.steps,
            tuple(self.timesteps),
            tuple(self.sigmas),
            tuple(self.evaluations),
            self.seed,
            self.sampler,
            self.cfg,
            self.model,
            self.host,
            self.extra,
            tuple(self.default_layers),
        )


class _Description(_Part):
    format: str
    version: int
    layers: _Few[_Layer]
    references: _Few[_Reference]
    branches: Annotated[list[_Name], Field(min_length=1, max_length=8)]
    images: Annotated[int, Field(ge=1, le=4096)]
    run: _Run
    bins: _PerStep[_Range]
    groups: _PerStep[_Range]
    recorded: _PerStep[_Step]
    generated_size: _Size
    notes: _Few[str]
    null_branches: Annotated[list[_Name], Field(max_length=8)]
    active: _Few[_PerStep[_Step]] = []
    words: Annotated[list[_Text], Field(max_length=8)] = []
    word_layers: _Few[_Name] = []

    @field_validator("notes")
    @classmethod
    def _short(cls, notes: list[str]) -> list[str]:
        if sum(map(len, notes)) > MOST_NOTES:
            raise ValueError(f"{sum(map(len, notes))} characters of notes, expected at most {MOST_NOTES}")
        return notes


def parsed(text: str) -> Any:
    """The JSON value of a description.

    Raises:
        ValueError: it is too long, or not JSON.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"{len(text)} characters, expected at most {MOST_TEXT}")
    return from_json(text)


def facts_of(about: Mapping[str, Any]) -> Facts:
    """The facts in a description.

    Raises:
        ValueError: it does not follow the schema; names the first place that does not.
    """
    try:
        found = _Description.model_validate(about)
    except ValidationError as error:
        raise ValueError(_first(error)) from None
    return Facts(
        layers=tuple(x.value() for x in found.layers),
        references=tuple(x.value() for x in found.references),
        branches=tuple(found.branches),
        images=found.images,
        run=found.run.value(),
        bins=tuple((a, b) for a, b in found.bins),
        groups=tuple((a, b) for a, b in found.groups),
        recorded=tuple(found.recorded),
        generated_size=(found.generated_size[0], found.generated_size[1]),
        notes=tuple(found.notes),
        null_branches=tuple(found.null_branches),
        active=tuple(map(tuple, found.active)),
        words=tuple((branch, check_words(x.value() for x in own)) for branch, own in found.words),
        word_layers=tuple(found.word_layers),
    )


def _check_plain(value: object) -> None:
    """Refuse plain data with too many values, too deep, or with a text or number out of bounds."""
    for count, (one, deep) in enumerate(_walk(value)):
        if count > MOST_PLAIN or deep > DEEPEST:
            raise ValueError(f"more than {MOST_PLAIN} values or {DEEPEST} levels")
        if isinstance(one, str) and len(one) > MOST_WORDS:
            raise ValueError(f"a text of {len(one)} characters, expected at most {MOST_WORDS}")
        if isinstance(one, int | float) and not abs(one) <= 2**64:
            raise ValueError(f"{seen(one)}, expected a finite number of at most 64 bits")


def _walk(value: object, deep: int = 0) -> Iterator[tuple[object, int]]:
    """All values, keys included, with their depth."""
    yield value, deep
    inside = chain.from_iterable(value.items()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inside:
        yield from _walk(one, deep + 1)


def seen(value: object) -> str:
    """A value of a description in a few words.

    >>> seen(True), seen("a" * 99), seen(10**4000), seen([1, 2])
    ('True', "'aaaaaaaaaaaaaaaaaaaa…'", 'a number of 13288 bits', 'a list of 2')
    """
    if isinstance(value, bool | float) or value is None:
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 64 else f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(value if len(value) <= 20 else f"{value[:20]}…")
    return f"a list of {len(value)}" if isinstance(value, list) else "an object" if isinstance(value, dict) else "another type"


def _first(error: ValidationError) -> str:
    """The first place that is wrong, what is there, and what was expected."""
    found = error.errors(include_url=False)[0]
    place, kind, about = ".".join(map(str, found["loc"])), found["type"], found.get("ctx", {})
    expected = found["msg"].removeprefix("Input should be ")
    if kind == "missing":
        return f"{place} is missing"
    if kind == "value_error":
        return f"{place}: {about['error']}".removeprefix(": ")
    if kind == "model_type":
        expected = "an object"
    elif "max_length" in about:
        expected = f"a length of at most {about['max_length']}"
    elif "min_length" in about:
        expected = f"a length of at least {about['min_length']}"
    return f"{place} is {seen(found['input'])}, expected {expected}"
