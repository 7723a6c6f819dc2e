"""A CLIP whose every encoding says which words its tokens stand for; the tokens stay the same to the last bit.

The host's text encoders drop a template's beginning, join pieces of 77 tokens, put several layers side by side, and set a
vision encoder's tokens in where a picture is. Nothing of that is assumed: while a text is encoded, hooks see which tokens each
encoder gets and gives, and words are carried only where the conditioning's own numbers are found among what one of them gave,
at one place alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...errors import I2AMError
from .text_tokens import Encoded, Picture, words_at
from .words import KEY, carried_reason, carried_words

REMEMBERED = 16
"""Texts of which a CLIP knows that it made tokens of them."""
UNSEEN = "the text encoder's tokens were not seen: it is none of those that ComfyUI itself builds"
ELSEWHERE = (
    "the tokens of the encoder are not found in the conditioning, which holds those of several, or others than they gave, so "
    "which token stands for which word cannot be proven"
)


def watch_text(clip: Any) -> Any:
    """A clone of a CLIP that carries the words of each text that it encodes, and so do its own clones.

    Raises:
        I2AMError: it is no CLIP.
    """
    needed = ("clone", "tokenize", "encode_from_tokens", "encode_from_tokens_scheduled", "cond_stage_model", "tokenizer")
    lacking = next((name for name in needed if not hasattr(clip, name)), None)
    if clip is None:
        raise I2AMError(
            "this CLIP is None: the checkpoint holds no text encoder; load one with CLIPLoader or DualCLIPLoader instead"
        )
    if lacking is not None:
        raise I2AMError(
            f"clip got a {type(clip).__name__} without {lacking}, which is no CLIP of ComfyUI; connect the CLIP of a loader"
        )
    return _as_watched(clip.clone())


def _as_watched(clip: Any) -> Any:
    """The same CLIP, of its own class and watching."""
    kind: Any = type(clip)
    if getattr(kind, "i2am_watches_text", False):
        return clip
    out: Any = object.__new__(_watching(kind))
    out.__dict__.update(clip.__dict__)
    out.__dict__["i2am_texts"] = []
    return out


@cache
def _watching(kind: type) -> type:
    """A class of CLIPs that watch, derived from the host's."""

    class WatchedText(kind):  # type: ignore[misc, valid-type]
        """See `watch_text`."""

        i2am_watches_text = True

        def clone(self, *args: Any, **kwargs: Any) -> Any:
            """Also of the clone that LoRA loaders make: the host's own drops what it does not know."""
            return _as_watched(super().clone(*args, **kwargs))

        def tokenize(self, text: str, *args: Any, **kwargs: Any) -> Any:
            """Remember what the tokens were made of."""
            tokens = super().tokenize(text, *args, **kwargs)
            held = self.__dict__["i2am_texts"]
            held += [(own, text) for own in (tokens.values() if isinstance(tokens, dict) else [tokens])]
            del held[:-REMEMBERED]
            return tokens

        def encode_from_tokens(self, tokens: Any, return_pooled: Any = False, return_dict: bool = False, **kwargs: Any) -> Any:
            """Carry the words where the encoding is a dictionary."""
            with _seen(self.cond_stage_model) as seen:
                out = super().encode_from_tokens(tokens, return_pooled=return_pooled, return_dict=return_dict, **kwargs)
            if return_dict:
                out |= _said(out["cond"], tokens, self, seen)
            return out

        def encode_from_tokens_scheduled(self, tokens: Any, *args: Any, **kwargs: Any) -> Any:
            """Carry the words with each of several encodings, as scheduled LoRAs have them."""
            with _seen(self.cond_stage_model) as seen:
                out = super().encode_from_tokens_scheduled(tokens, *args, **kwargs)
            return [[cond, options if KEY in options else options | _said(cond, tokens, self, seen)] for cond, options in out]

    return WatchedText


@dataclass(eq=False)
class _Calls:
    """What the encoders of a CLIP got and gave.

    Attributes:
        done: by encoder's name, in order.
        pictures: what vision encoders saw since the last encoding ended.
    """

    done: list[tuple[str, Encoded]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    embedded: dict[str, Any] = field(default_factory=dict)


@contextmanager
def _seen(model: Any) -> Iterator[_Calls]:
    """What the encoders of a host's text model get and give meanwhile."""
    from comfy.sd1_clip import SDClipModel

    calls = _Calls()
    with ExitStack() as stack:
        for path, module in model.named_modules():
            if isinstance(module, SDClipModel):
                name = path.rpartition(".")[2]
                inner = module.transformer
                stack.enter_context(_hook(inner.register_forward_pre_hook(_embedding(calls), with_kwargs=True)))
                stack.enter_context(_hook(module.register_forward_hook(_encoding(calls, name))))
                visual = getattr(inner, "visual", None)
                if isinstance(visual, torch.nn.Module):
                    _watch_eyes(visual, calls, stack)
        yield calls


@contextmanager
def _hook(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _embedding(calls: _Calls) -> Callable[..., None]:
    def before(_module: Any, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        embeds = kwargs.get("embeds")
        calls.embedded = {"infos": list(kwargs.get("embeds_info") or ()), "width": None if embeds is None else embeds.shape[-1]}

    return before


def _encoding(calls: _Calls, name: str) -> Callable[..., None]:
    def after(_module: Any, args: tuple[Any, ...], out: Any) -> None:
        sections = args[0] if args else None
        given = out[0] if isinstance(out, tuple) else out
        if isinstance(sections, Sequence) and isinstance(given, Tensor):
            about = calls.embedded
            pictures, calls.pictures, calls.embedded = tuple(calls.pictures), [], {}
            calls.done.append((name, Encoded(list(sections), given, about.get("infos", []), about.get("width"), pictures)))

    return after


def _watch_eyes(visual: torch.nn.Module, calls: _Calls, stack: ExitStack) -> None:
    """Watch a vision encoder, and in which order its last part's tokens come out of it."""
    merged: list[Tensor] = []

    def after_merger(_module: Any, _args: Any, out: Any) -> None:
        merged.append(out)

    def after(_module: Any, args: tuple[Any, ...], out: Any) -> None:
        tokens = out[0] if isinstance(out, tuple) else out
        last = merged[-1] if merged else None
        merged.clear()
        calls.pictures.append(Picture.of(visual, args, tokens, last))

    merger = getattr(visual, "merger", None)
    if isinstance(merger, torch.nn.Module):
        stack.enter_context(_hook(merger.register_forward_hook(after_merger)))
    stack.enter_context(_hook(visual.register_forward_hook(after)))


def _said(cond: Any, tokens: Any, clip: Any, seen: _Calls) -> dict[str, Any]:
    """What the conditioning of an encoding carries: the words, or why there are none."""
    if not isinstance(cond, Tensor) or cond.ndim != 3 or not seen.done:
        return carried_reason(UNSEEN)
    given: Mapping[str, Any] = tokens if isinstance(tokens, dict) else {"": tokens}
    found = [(name, one, start) for name, one in seen.done if (start := one.start_of(cond)) is not None]
    if len({name for name, _, _ in found}) != 1:
        return carried_reason(ELSEWHERE)
    name, encoded, start = found[0]
    key = next((key for key, own in given.items() if encoded.made_of(own)), None)
    text = None if key is None else next((text for own, text in clip.__dict__["i2am_texts"] if own is given[key]), None)
    words, why, unknown = words_at(encoded, clip.tokenizer, name, key or "", text, start, cond.shape[1])
    return carried_reason(why) if why else carried_words(cond, words, unknown)
