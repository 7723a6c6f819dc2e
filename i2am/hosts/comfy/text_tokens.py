"""The tokens of one of ComfyUI's text encoders: what each stands for, and where its output is in a conditioning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ...geometry.sequence import in_windows
from ...geometry.words import SPECIAL, UNKNOWN, Word, eyes, style_of, words_of

MARKED = re.compile(r"<\|[^<>|]*\|>")
"""Special tokens in what a node gives a tokenizer."""
NO_NAMES = "the tokenizer of this text encoder does not say what its tokens stand for"
NO_PLACES = "the encoder has {} tokens, but {} are accounted for, so which token stands for which word cannot be proven"


@dataclass(frozen=True)
class Picture:
    """A picture as a vision encoder sees it.

    Attributes:
        tokens: that it became.
        grid: their rows and columns; (0, 0): unknown.
        window: the tokens come window by window, see `Word`; 0: row by row.
    """

    tokens: int
    grid: tuple[int, int] = (0, 0)
    window: int = 0

    @classmethod
    def of(cls, visual: Any, args: tuple[Any, ...], tokens: Tensor, merged: Tensor | None) -> Picture:
        """From a call of a vision encoder, (patches, grids) -> tokens, and what its last part, the merger, gave.

        Encoders of Qwen2.5-VL work in windows; whether a host puts the tokens back in order is seen by comparing the two.
        """
        count = tokens.shape[-2] if tokens.ndim > 1 else 0
        grids = next((a for a in args[1:] if isinstance(a, Tensor) and a.shape[-1] == 3), None)
        if grids is None or grids.numel() != 3:
            return cls(count)
        merge = int(getattr(visual, "spatial_merge_size", 2))
        _, high, wide = (int(n) for n in grids.flatten().tolist())
        rows, columns = high // merge, wide // merge
        if rows * columns != count:
            return cls(count)
        windows = hasattr(visual, "get_window_index")
        window = int(visual.window_size) // merge // int(visual.patch_size) if windows else max(rows, columns)
        order = in_windows(rows, columns, window)
        if order == tuple(range(count)):
            return cls(count, (rows, columns))
        if merged is None or merged.shape != tokens.shape:
            return cls(count)
        moved, put_back = torch.equal(tokens, merged), torch.equal(tokens, merged[list(order)])
        if moved == put_back:  # none of the two, or all tokens are the same
            return cls(count)
        return cls(count, (rows, columns), window if moved else 0)


@dataclass(frozen=True, eq=False)
class Encoded:
    """One call of an encoder.

    Attributes:
        sections: of tokens, numbers or what is set in for one; where texts are weighted, an empty one is the last.
        given: (sections, L, C), or (sections, layers, L, C): what came out.
        infos: of what was set in in the last section, as the host has it: type, index and size.
        width: of the encoder's embeddings; None: unknown.
        pictures: that its vision encoder saw meanwhile, in order.
    """

    sections: list[Any]
    given: Tensor
    infos: list[dict[str, Any]]
    width: int | None
    pictures: tuple[Picture, ...] = ()

    def made_of(self, tokens: Any) -> bool:
        """Whether these are the tokens, as the host's tokenizer gives them: sections of (token, weight)."""
        if not isinstance(tokens, Sequence) or not tokens or not len(tokens) <= len(self.sections) <= len(tokens) + 1:
            return False
        return all(
            len(own) == len(one) and all(_same(a[0], b) for a, b in zip(own, one, strict=True))
            for own, one in zip(tokens, self.sections)
        )

    def start_of(self, cond: Tensor) -> int | None:
        """Where the tokens of a conditioning, (1, T, C), begin among those of all sections; None: nowhere, or unclear."""
        given = self.given
        if given.ndim == 4:  # several layers, which the host puts side by side
            given = given.movedim(1, 2).flatten(2)
        if given.ndim != 3 or cond.shape[0] != 1 or given.shape[-1] != cond.shape[-1]:
            return None
        own = cond[0].detach().cpu()
        every = given.detach().to("cpu", own.dtype).flatten(0, 1)
        firsts = (every == own[0]).all(-1).nonzero()[:, 0].tolist() if len(own) else []
        fits = [i for i in firsts if len(every) - i >= len(own) and torch.equal(every[i : i + len(own)], own)]
        return fits[0] if len(fits) == 1 else None

    def names(self, tokenizer: Any) -> tuple[list[str], list[str], list[Word]] | str:
        """Of all tokens in order, strings and kinds, with the words of pictures; or why they are not known."""
        vocabulary = tokenizer.inv_vocab
        special = _special(tokenizer)
        strings: list[str] = []
        kinds: list[str] = []
        pictures: list[Word] = []
        length = self.given.shape[-2]
        for n, section in enumerate(self.sections):
            infos = list(self.infos) if len(self.sections) == 1 else None
            begin, fill = len(strings), _fill(section, tokenizer)
            for i, token in enumerate(section):
                if isinstance(token, Integral):
                    text = str(vocabulary.get(int(token), f"<{int(token)}>"))
                    known = int(token) in special or SPECIAL.fullmatch(text)
                    strings.append(text)
                    kinds.append("fill" if fill[i] else "special" if known else "word")
                    continue
                size = self._size(token, infos, len(strings) - begin)
                if size and not isinstance(token, Tensor) and token.get("type") == "image":
                    seen = self.pictures[len(pictures)] if len(pictures) < len(self.pictures) else Picture(size)
                    grid, window = (seen.grid, seen.window) if seen.tokens == size else ((0, 0), 0)
                    pictures.append(Word(eyes(len(pictures) + 1), len(strings), size, "vision", grid, window))
                strings += ["embedding"] * size
                kinds += ["special"] * size
            if len(strings) != (n + 1) * length:
                return NO_PLACES.format((n + 1) * length, len(strings))
        return strings, kinds, pictures

    def _size(self, token: Any, infos: list[dict[str, Any]] | None, at: int) -> int:
        """How many tokens are set in for one that is no number; 0: it is left out."""
        if infos is None:  # of several sections the host keeps the last one's alone
            own = isinstance(token, Tensor) and token.shape[-1] == self.width
            return token.numel() // token.shape[-1] if own else 0
        if infos and infos[0].get("index") == at:
            return int(infos.pop(0)["size"])
        return 0


def words_at(
    encoded: Encoded, tokenizer: Any, name: str, key: str, text: str | None, start: int, count: int
) -> tuple[tuple[Word, ...], str, tuple[str, ...]]:
    """The words of ``count`` tokens of an encoder from ``start`` on; or why they are not known; and whose letters it lacks.

    Args:
        encoded: its call.
        tokenizer: of the CLIP, which holds one for each encoder.
        name: of the encoder among the CLIP's modules.
        key: of its tokens.
        text: what was made into tokens; None: unknown.
        start, count: which of its tokens.
    """
    own = _tokenizer(tokenizer, name, key)
    if own is None:
        return (), NO_NAMES, ()
    found = encoded.names(own)
    if isinstance(found, str):
        return (), found, ()
    strings, kinds, pictures = found
    inside = [word for word in pictures if start <= word.start and word.stop <= start + count]
    strings, kinds = strings[start : start + count], kinds[start : start + count]
    words = words_of(
        strings, kinds=kinds, style=style_of(own.inv_vocab.values()), prompt=None if text is None else _prompts(text)
    )
    taken = [replace(word, start=word.start - start) for word in inside]
    held = {token for word in taken for token in range(word.start, word.stop)}
    every = sorted((*(w for w in words if w.start not in held), *taken), key=lambda word: word.start)
    unknown = [w.name for w in every if w.kind == "word" and not UNKNOWN.isdisjoint(strings[w.start : w.stop])]
    return tuple(every), "", tuple(dict.fromkeys(unknown))


def _prompts(text: str) -> tuple[str, ...]:
    """How a prompt may stand among the tokens: as it was written, and without the weights that some tokenizers take out."""
    from comfy.sd1_clip import escape_important, token_weights, unescape_important

    written = MARKED.split(text)[-1]  # before it stand pictures, in nodes that take several
    escaped = escape_important(written)
    bare = "".join(part for part, _ in token_weights(escaped, 1.0))
    return tuple(dict.fromkeys((written, unescape_important(escaped), unescape_important(bare))))


def _tokenizer(tokenizer: Any, name: str, key: str) -> Any:
    """The one of an encoder among those that a CLIP's tokenizer holds; None: there is none that names its tokens."""
    held = {own: value for own, value in vars(tokenizer).items() if hasattr(value, "inv_vocab")}
    if hasattr(tokenizer, "inv_vocab"):
        return tokenizer
    for wanted in (name, key, f"clip_{key}"):
        if wanted in held:
            return held[wanted]
    return next(iter(held.values())) if len(held) == 1 else None


def _special(tokenizer: Any) -> set[int]:
    """The numbers of tokens that are no part of a text."""
    inner = tokenizer.tokenizer
    found = {getattr(tokenizer, f"{which}_token", None) for which in ("start", "end", "pad")}
    found |= set(getattr(inner, "all_special_ids", ()) or ())
    found |= set(getattr(inner, "added_tokens_decoder", {}) or {})
    return {int(token) for token in found if isinstance(token, Integral)}


def _fill(section: Sequence[Any], tokenizer: Any) -> list[bool]:
    """Which tokens of a section fill it up: those at its end or beginning; of CLIP's the first at the end ends the text."""
    pad = getattr(tokenizer, "pad_token", None)
    plain = [int(token) if isinstance(token, Integral) else None for token in section]
    first = len(plain)
    while pad is not None and first and plain[first - 1] == pad:
        first -= 1
    first += pad is not None and pad == getattr(tokenizer, "end_token", None)
    last = 0
    while pad is not None and getattr(tokenizer, "pad_left", False) and last < first and plain[last] == pad:
        last += 1
    return [i >= first or i < last for i in range(len(plain))]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Integral) and isinstance(b, Integral):
        return int(a) == int(b)
    return a is b
