"""The table of map kinds: what is kept of a run, over which tokens, and how it is shown. Everything else reads it.

A new kind is one row of `KINDS` here and its arithmetic in `recording.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

COMPARATIVE = "comparative, not causal"
ONE_HOP = "one hop, generated → text → reference in the same layer; what the text had read in layers before is not in it"
UNASKED = (
    "the route via text was not recorded: this model asks its text in calls of its own, has none, or the recording is older "
    "than the route; mass gives the direct way"
)

NO_NAMES = "the words of {} have no names"
"""Of a branch; what stands behind it says why."""
NO_WORDS = (
    "no maps of words were recorded: they are kept where they are asked for (detail 'pairwise and words' or 'marginals and "
    "words' on I²AM Record, word_maps=True in Python), of models with joint attention whose text asks in the same calls"
)


@dataclass(frozen=True)
class Shown:
    """A kind of map as readers see it.

    Attributes:
        side: its name.
        picture: the picture that it lies on, "generated" or "reference".
        sentence: what it says, for readers.
        title: the paper's name, or ours, where ``side`` does not say it.
        plain: what it shows, in a few plain words for captions.
        asked: what a reader has to give: "": nothing, it covers the whole run; "patch": a place; "mask": an object's mask.
        notes: what must be said wherever it is shown.
        scaled: whether it is scaled by presets that scale layers by their token counts.
        resize: how those presets resize it between grids: "bicubic" (clamped at 0) or "bilinear" (keeps each cell's weight).
        unit: how to read its values: "mean": as multiples of its mean; "share": as shares of 1.
        one_key: whether it is meaningful if the softmax has a single key.
        every_key: whether it is meaningful if the reference's tokens are all the keys of the call.
        rank: viewers open with the map of the lowest rank.
        lacking: why a recording may lack it; empty: it is older than the kind.
    """

    side: str
    picture: str
    sentence: str
    title: str = ""
    plain: str = ""
    asked: str = ""
    notes: tuple[str, ...] = ()
    scaled: bool = True
    resize: str = "bicubic"
    unit: str = "mean"
    one_key: bool = False
    every_key: bool = True
    rank: int = 9
    lacking: str = ""

    @property
    def named(self) -> str:
        """Its name in menus: in plain words, with the paper's beside them."""
        name = self.title or self.side
        return f"{self.plain} ({name})" if self.plain else name


@dataclass(frozen=True)
class Kind:
    """A kind of map as it is kept, for every layer, head, branch, reference and image.

    Attributes:
        name: what its tensors are stored under.
        along: its axes: "queries" (N,), "tokens" (S,), or "pairs" (N, S) of generated and reference tokens; "rest" (P, N) of
            the P parts of the keys that are no reference's, such as the text (`LayerInfo.rest`); "words" (T,) of text tokens
            (`LayerInfo.words`), or "words by queries" (T, N); "none": a number.
        per: "step": kept per range of steps; "group": per time group.
        merge: what is kept of a range of steps: "mean"; "largest": the maximum; "place": where that maximum lies.
        placed: whether it is also kept over the reference's placed tokens alone, as ``name`` + "_placed".
        optional: whether a recording may lack it. Kinds added later are optional, so that older files stay readable.
        dtype: the type of its tensors' values.
        each: "reference": it is kept for each reference; "call": once, under the first of them.
        by_head: whether it may be kept per head; else only of the mean over heads.
        calls: which calls have it: "any", "cross" (attention to references alone), or "joint" (references, text and picture).
        by_text: whether it takes the queries of the text, which a joint call may lack.
        together: whether it is kept as the mean over layers alone, under the layer name `facts.TOGETHER`.
        shown: the maps that readers see of it; empty: it only serves other maps.
    """

    name: str
    along: str
    per: str = "step"
    merge: str = "mean"
    placed: bool = False
    optional: bool = False
    dtype: str = "float32"
    each: str = "reference"
    by_head: bool = True
    calls: str = "any"
    by_text: bool = False
    together: bool = False
    shown: tuple[Shown, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether it is kept where pairwise maps are."""
        return self.along in ("pairs", "none")

    @property
    def of_all_layers(self) -> bool:
        """Whether it may be kept under the layer name `facts.TOGETHER`."""
        return self.paired or self.together

    @property
    def levels(self) -> bool:
        """Whether levels of aggregation are made from it."""
        return self.along in ("queries", "tokens")

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of its tensors."""
        return (self.name, f"{self.name}_placed") if self.placed else (self.name,)


_ROWS = (
    Kind(
        "pairwise",
        along="pairs",
        per="group",
        optional=True,
        shown=(
            Shown(
                "object",
                "generated",
                "Where the object on the reference went: which generated patches looked at the patches under its mask.",
                title="mirror of its mask",
                asked="mask",
                resize="bilinear",
                rank=0,
                plain="Where the object went",
            ),
            Shown(
                "SRAM",
                "reference",
                "Where the marked place of the generated picture looked.",
                asked="patch",
                resize="bilinear",
                plain="What it used",
            ),
            Shown(
                "mirror",
                "generated",
                "Which generated patches looked at the marked place of the reference.",
                title="mirror",
                asked="patch",
                resize="bilinear",
                plain="Where it went",
            ),
        ),
    ),
    Kind(
        "r2g",
        along="queries",
        placed=True,
        shown=(
            Shown(
                "R2G",
                "generated",
                "Where the reference's information went. It compares generated patches with each other, which the model "
                "never does: comparative, not causal.",
                notes=(COMPARATIVE,),
                one_key=True,
                rank=2,
                plain="Where it went",
            ),
        ),
    ),
    Kind(
        "balanced",
        along="queries",
        placed=True,
        shown=(
            Shown(
                "R2G-balanced",
                "generated",
                "Where the reference's information went: each token of the reference splits one vote among the patches "
                "that looked at it. What all keys have in common cannot change it.",
                rank=1,
                plain="Where it went, by votes",
            ),
        ),
    ),
    Kind(
        "mass",
        along="queries",
        placed=True,
        shown=(
            Shown(
                "mass",
                "generated",
                "Share of each generated patch's attention that goes to this reference, among all keys.",
                scaled=False,
                unit="share",
                every_key=False,
                rank=3,
                plain="How much was taken",
            ),
        ),
    ),
    Kind(
        "g2r",
        along="tokens",
        shown=(
            Shown(
                "G2R",
                "reference",
                "Which patches of the reference the generated picture looked at.",
                resize="bilinear",
                plain="What was used",
            ),
        ),
    ),
    Kind(
        "rest",
        along="rest",
        optional=True,
        each="call",
        calls="joint",
        shown=(
            Shown(
                "share",
                "generated",
                "How each generated patch's attention is split between the references, the text and the generated picture "
                "itself: the shares add up to 1.",
                scaled=False,
                resize="bilinear",
                unit="share",
                plain="How attention was split",
            ),
            Shown(
                "which reference",
                "generated",
                "How what each generated patch takes from references directly is split between them: adds up to 1.",
                title="share",
                scaled=False,
                resize="bilinear",
                unit="share",
                plain="Which reference was taken from",
            ),
            Shown(
                "routes",
                "generated",
                "By which way each generated patch takes from each reference, directly or via text, beside the text itself and "
                "the generated picture: adds up to 1.",
                notes=(ONE_HOP,),
                scaled=False,
                resize="bilinear",
                unit="share",
                lacking=UNASKED,
                plain="By which way it was taken",
            ),
        ),
    ),
    Kind(
        "via_text",
        along="queries",
        optional=True,
        calls="joint",
        by_text=True,
        shown=(
            Shown(
                "via text",
                "generated",
                "Share of each generated patch's attention that goes to this reference through the text: to text tokens, as "
                "far as these look at the reference.",
                notes=(ONE_HOP,),
                scaled=False,
                resize="bilinear",
                unit="share",
                lacking=UNASKED,
                plain="Where it went by way of the text",
            ),
        ),
    ),
    Kind(
        "g2r_via_text",
        along="tokens",
        per="group",
        by_head=False,
        optional=True,
        calls="joint",
        by_text=True,
        shown=(
            Shown(
                "G2R via text",
                "reference",
                "Which patches of the reference the generated picture reached through the text.",
                notes=(ONE_HOP,),
                resize="bilinear",
                lacking=UNASKED,
                plain="What was used by way of the text",
            ),
        ),
    ),
    Kind("words", along="words", per="group", by_head=False, optional=True, each="call", calls="joint", by_text=True),
    Kind("words_spread", along="words", per="group", by_head=False, optional=True, each="call", calls="joint", by_text=True),
    Kind("words_via_text", along="words", per="group", by_head=False, optional=True, calls="joint", by_text=True),
    Kind(
        "word_maps",
        along="words by queries",
        per="group",
        by_head=False,
        optional=True,
        each="call",
        calls="joint",
        by_text=True,
        together=True,
        shown=(
            Shown(
                "words",
                "generated",
                "What each generated patch's attention reads of each word of the prompt, beside the references, the rest of "
                "the text and the generated picture itself: the shares add up to 1.",
                scaled=False,
                resize="bilinear",
                unit="share",
                lacking=NO_WORDS,
                plain="Which words were read",
            ),
        ),
    ),
    Kind("g2r_masked", along="tokens", optional=True),
    Kind("g2r_error", along="tokens", per="group", by_head=False, optional=True, calls="joint"),
    Kind("spread", along="none", per="group", optional=True, calls="joint"),
    Kind("entropy", along="queries", per="group", optional=True, calls="cross"),
    Kind("norm", along="queries", per="group", optional=True, calls="cross"),
    Kind("peak_value", along="queries", per="group", merge="largest", optional=True, calls="cross"),
    Kind("peak_index", along="queries", per="group", merge="place", optional=True, calls="cross", dtype="int32"),
)
KINDS: dict[str, Kind] = {row.name: row for row in _ROWS}
"""By name, in the order in which menus list them."""


def tensor_kinds(per: str | None = None) -> dict[str, Kind]:
    """The kind of each tensor by the tensor's name; ``per`` "step" or "group" narrows them down."""
    return {name: kind for kind in KINDS.values() if per in (None, kind.per) for name in kind.tensors}


def level_sides(picture: str | None = None, calls: str | None = None) -> tuple[str, ...]:
    """The sides of one reference that levels of aggregation are made from (R2G, G2R and so on).

    All of them, or those on one ``picture``, or of one sort of ``calls`` (see `Kind`).

    >>> level_sides("reference"), level_sides(calls="joint")
    (('G2R', 'G2R via text'), ('via text', 'G2R via text'))
    """
    return tuple(
        shown.side
        for kind, shown in all_shown()
        if kind.levels and picture in (None, shown.picture) and calls in (None, kind.calls)
    )


def over_reference(side: str) -> bool:
    """Whether a side is made from A^r over the reference's tokens."""
    return shown_as(side)[0].along in ("tokens", "pairs")


def all_shown(each: str = "reference") -> Iterator[tuple[Kind, Shown]]:
    """Every map that is shown of each reference (or of each "call"), with its kind."""
    return ((kind, shown) for kind in KINDS.values() for shown in kind.shown if kind.each == each)


def shown_as(side: str) -> tuple[Kind, Shown]:
    """The kind that a side is made from, and how it is shown.

    Raises:
        KeyError: there is no such side.
    """
    return {shown.side: (kind, shown) for kind in KINDS.values() for shown in kind.shown}[side]
