"""MiniMax H3: text, keyframes, references, sound and video in one packed sequence.

What is more than one frame, the generated video or a reference video, is a strip here: its frames one below the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...errors import LayoutError
from ...geometry.sequence import Sequence, Span, other, text
from .packed import SHAPES

if TYPE_CHECKING:
    from .joint_sequence import Given

PAYLOAD = "minimax_payload"
"""Name of the argument of a call that holds its keyframes and references."""
CHANNELS = 2
"""Of sound, each of which has a token for each of its frames."""
REMARK = (
    "Each image of these maps is a frame of the latent: the first of every five stands for one frame of the video, the others "
    "for four each. A reference video is one reference, with its frames one below the other. The model's text encoder saw the "
    "references too: what comes by way of its vision tokens is their own share, and not in the maps of the references."
)


@dataclass(frozen=True)
class Packed:
    """What a call has beside its text, its pictures and its video.

    Attributes:
        order: before the generated sound, in order: None for the next picture, or the number of tokens of a sound.
        sound: tokens of the generated sound.
        seen: for each token of the text, whether it is the vision encoder's; empty: none is.
    """

    order: tuple[int | None, ...]
    sound: int
    seen: tuple[bool, ...]

    @classmethod
    def of(cls, _network: Any, given: Mapping[str, Any]) -> Packed:
        """From the arguments of a call."""
        payload = given.get(PAYLOAD) or {}
        shapes: Any = given.get(SHAPES) or ()
        order: list[int | None] = []
        for keyframe in payload.get("keyframes") or ():
            order += [None] if keyframe.get("latent") is not None else []
            order += _sound(keyframe)
        for block in payload.get("refs") or ():
            order += _sound(block)
            order += [None] if block["kind"] != "audio" else []
        tags = payload.get("text_token_tags")
        seen = () if tags is None else tuple(tag == 0 for tag in tags.flatten().tolist())
        return cls(tuple(order), CHANNELS * int(shapes[1][-1]) if len(shapes) > 1 else 0, seen)


def _sound(block: Mapping[str, Any]) -> list[int]:
    latent = block.get("audio_latent")
    return [] if latent is None or not latent.shape[-1] else [CHANNELS * int(latent.shape[-1])]


def strips(payload: Mapping[str, Any]) -> list[Tensor]:
    """The latents of the keyframes and the references, (B, C, 1, frames * h, w), in order."""
    blocks = (block for name in ("keyframes", "refs") for block in payload.get(name) or ())
    latents: list[Tensor] = [block["latent"] for block in blocks if block.get("latent") is not None]
    return [latent.flatten(2, 3).unsqueeze(2) for latent in latents]


def packed(given: Given) -> Sequence:
    """[text and vision tokens, keyframes, references, sound, generated]; some of the pictures have sound beside them.

    Raises:
        LayoutError: a reference is not made of whole tokens, at which the network itself would fail.
    """
    for i, shape in enumerate(given.references, 1):
        if shape[-2] % given.patch or shape[-1] % given.patch:
            side = given.patch * given.factor
            raise LayoutError(
                f"reference latent {i} is {' x '.join(map(str, shape))} (batch, channels, 1, rows of all frames, columns), but "
                f"this model takes only multiples of {given.patch} rows and columns; encode pictures of multiples of {side} "
                f"pixels, as MiniMax H3 Reference to Video does"
            )
    beside: Packed = given.beside
    pictures = iter(given.pictures)
    between = [next(pictures) if sound is None else other(sound, "sound of references") for sound in beside.order]
    made = [other(beside.sound, "sound")] if beside.sound else []
    return Sequence.of(*_text(given.words, beside.seen), *between, *made, given.generated)


def _text(words: int, seen: tuple[bool, ...]) -> list[Span]:
    """The text, in which a stretch of vision tokens is a span of its own."""
    if len(seen) != words or not any(seen):
        return [text(words)] if words else []
    found, start = [], 0
    for i in range(1, words + 1):
        if i == words or seen[i] != seen[start]:
            found.append(other(i - start, "vision tokens") if seen[start] else text(i - start))
            start = i
    return found
