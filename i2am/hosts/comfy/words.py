"""The words of a prompt as they travel beside ComfyUI's conditioning, and whether they are still those of its tokens.

Nodes between a text encoder and a sampler copy what stands in a conditioning's options, but may change its tokens: join two
texts, mix or scale them, set them to 0. So the words carry a name for the exact numbers that they were proven on, and are
taken only where these are what the model gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import LayoutError, shown
from ...geometry.words import Word, check_words, moved
from ...models.marked import Marked
from ..registry import fingerprint

KEY, FORMAT = "i2am_words", 1
NAMED = 8
"""Words that are named where not all of their letters are known."""

CHANGED = (
    "a node behind its text encoder mixed, scaled or cleared its tokens (Conditioning Average, Multiply or Zero Out), so "
    "which token stands for which word cannot be proven"
)
MARKED = "the tokens of a picture are marked among those of the words"
OTHERS = "the model gets other text tokens than the conditioning holds, so which token stands for which word cannot be proven"
STRANGE = "they were written by another version of this pack; use one version of it"


def carried_words(context: Tensor, words: Sequence[Word], unknown: Sequence[str] = ()) -> dict[str, Any]:
    """What a conditioning with the tokens ``context``, (B, T, C), says of its words, as one entry of its options.

    ``unknown`` are the names of those of which the text encoder knows not all letters.
    """
    plain = [
        {"name": w.name, "start": w.start, "tokens": w.tokens, "kind": w.kind, "grid": list(w.grid), "window": w.window}
        for w in words
    ]
    own = {"format": FORMAT, "of": fingerprint(context), "count": context.shape[1], "words": plain, "why": ""}
    return {KEY: own | ({"unknown": list(unknown)} if unknown else {})}


def carried_reason(why: str) -> dict[str, Any]:
    """The same where the words could not be found out: why not, as a part of a sentence."""
    return {KEY: {"format": FORMAT, "of": "", "count": 0, "words": [], "why": why}}


def words_in(entry: dict[str, Any], marks: Sequence[Marked] = ()) -> tuple[tuple[Word, ...], str]:
    """The words of the text that a model gets, counted from its first token; and why they are not known where some are carried.

    Args:
        entry: the host's own copy of one conditioning, with its ``model_conds``.
        marks: of pictures among its tokens.
    """
    said = entry.get(KEY)
    if not isinstance(said, dict):
        return (), ""
    if said.get("format") != FORMAT:
        return (), STRANGE
    if said["why"]:
        return (), str(said["why"])
    try:
        words = check_words(
            Word(w["name"], w["start"], w["tokens"], w["kind"], (w["grid"][0], w["grid"][1]), w["window"])
            for w in said["words"]
        )
    except (LayoutError, KeyError, TypeError):
        return (), STRANGE
    if any(mark.start < said["count"] for mark in marks):
        return (), MARKED
    return _placed(words, said["of"], said["count"], entry.get("cross_attn"), entry["model_conds"].get("c_crossattn"))


def unknown_in(entry: dict[str, Any], branch: str) -> str:
    """What is said of the words of a conditioning whose text encoder lacks some of their letters; nothing if there are none."""
    said = entry.get(KEY)
    names = said.get("unknown") if isinstance(said, dict) else None
    if not names:
        return ""
    listed = ", ".join(map(str, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return (
        f"the text encoder of {branch} has no token for some letters of {shown(listed, 200)}: it reads each such place as the "
        f"same unknown letter, so these words tell the model less than they say, or nothing"
    )


def _placed(words: tuple[Word, ...], of: str, count: int, raw: Any, used: Any) -> tuple[tuple[Word, ...], str]:
    """The words in the text that the model gets, ``used``, if they are those of the conditioning's first tokens, ``raw``.

    What nodes put behind these (a second text, a picture of Redux) has no names.
    """
    if not isinstance(raw, Tensor) or fingerprint(raw[:, :count]) != of:
        return (), CHANGED
    before = None if used is None else _before(raw, used.cond)
    if before is None:
        return (), OTHERS
    after = used.cond.shape[1] - before - raw.shape[1]
    filled = (Word("fill", before + raw.shape[1], after, "fill"),) if after else ()
    return (*moved(words, before), *filled), ""


def _before(raw: Tensor, taken: Tensor) -> int | None:
    """How many tokens of fill stand before a conditioning's own tokens in what the model takes, (B, T, C); None: unknown.

    A host fills a text up with zeros, in front (FLUX.2) or behind.
    """
    more = taken.shape[1] - raw.shape[1]
    if more < 0 or raw.shape[0] != taken.shape[0] or raw.shape[2:] != taken.shape[2:]:
        return None
    own, whole = raw.detach().cpu().float(), taken.detach().cpu().float()
    for before in dict.fromkeys((0, more)):
        inside = whole[:, before : before + own.shape[1]]
        if torch.equal(inside, own) and not whole[:, :before].any() and not whole[:, before + own.shape[1] :].any():
            return before
    return None
