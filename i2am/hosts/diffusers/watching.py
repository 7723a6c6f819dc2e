"""Hooks that watch a network's modules run, in the thread that set them, and leave every module as it is."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from ...errors import RecordingError
from .attended import Attended, Instead, Watch
from .remedies import remedy_for

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an attention module: what it was called with, and what it attended to."""

    module: Any
    kwargs: Mapping[str, Any]
    watch: Watch

    def attentions(self, rows: int) -> list[Attended]:
        """The softmax attentions that were computed, in order, over ``rows`` of a batch."""
        return self.watch.attentions(rows, int(getattr(self.module, "heads", 1)))


def watch_calls(
    module: nn.Module, begin: Callable[[tuple[Any, ...], dict[str, Any]], None], stack: ExitStack, *, anywhere: bool = False
) -> None:
    """Call ``begin`` with the arguments of every call of a module, until the stack closes; ``anywhere``: in all threads."""
    of = _held(module, begin, stack, anywhere)

    def before(called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        then = of(called)
        if then is not None:
            then(args, kwargs)

    stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)


Cuts = Callable[[nn.Module, Mapping[str, Any]], "Instead | None"]
"""Takes an attention module that is about to be called, with its keyword arguments; None: nothing of it is cut."""


def watch_attention(
    modules: Mapping[nn.Module, Callable[[Call], None]], stack: ExitStack, cuts: Cuts = lambda _module, _given: None
) -> None:
    """Call a module's function after every call of it, for attention modules that do not contain each other.

    Args:
        modules: the modules with their functions.
        stack: they are watched until it closes.
        cuts: what is cut of a call.
    """
    running: list[Call] = []

    def leave() -> None:
        while running:  # an interrupt passes hooks by
            running.pop().watch.__exit__(None, None, None)

    stack.callback(leave)
    for module, done in modules.items():
        of = _held(module, (done, cuts), stack)

        def before(called: nn.Module, _args: Any, kwargs: dict[str, Any], of: _Of[_Acting] = of) -> None:
            acting = of(called)
            if acting is not None:
                if running:
                    leave()
                call = Call(called, kwargs, Watch(acting[1](called, kwargs)))
                call.watch.__enter__()
                running.append(call)

        def after(called: nn.Module, _args: Any, output: Any, of: _Of[_Acting] = of) -> None:
            acting = of(called)
            if acting is not None and running:
                call = running.pop()
                call.watch.__exit__(None, None, None)
                if output is not None:  # else the call failed
                    _check_cut(call)
                    acting[0](call)

        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(after, always_call=True).remove)


def _check_cut(call: Call) -> None:
    if call.watch.is_uncut:
        processor = type(getattr(call.module, "processor", call.module)).__name__
        raise RecordingError(
            f"nothing can be cut of an attention computed by {processor}, which does not call scaled_dot_product_attention; "
            f"{remedy_for(call.module)}, or leave the layer out"
        )


_Of = Callable[[nn.Module], "T | None"]
_Acting = tuple[Callable[[Call], None], Cuts]


def _held(module: nn.Module, then: T, stack: ExitStack, anywhere: bool = False) -> _Of[T]:
    """Gives ``then`` for calls of this very module in this thread (or ``anywhere``), until the stack closes; else None.

    A copy of a module that is made meanwhile has its hooks: it is not watched, and its hooks hold nothing of the recording.
    """
    own, thread, held = weakref.ref(module), threading.get_ident(), [then]
    stack.callback(held.clear)

    def of(called: nn.Module) -> T | None:
        if held and called is own() and (anywhere or threading.get_ident() == thread):
            return held[0]
        return None

    return of


@dataclass
class Grids:
    """The (rows, columns) of what each module was last called with, by its path, where that was a picture (B, C, h, w)."""

    seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def of(self, path: str) -> tuple[int, int] | None:
        """That of the innermost module around a path, itself included; None: none was called with a picture."""
        parts = path.split(".")
        for end in range(len(parts), 0, -1):
            found = self.seen.get(".".join(parts[:end]))
            if found is not None:
                return found
        return None


def watch_grids(network: nn.Module, paths: list[str], stack: ExitStack) -> Grids:
    """Note the grids of the modules around the attentions at these paths, until the stack closes."""
    grids = Grids()
    # an attention and the block that it is part of take sequences
    around = {".".join(parts[:end]) for parts in (path.split(".") for path in paths) for end in range(1, len(parts) - 1)}
    for path, module in network.named_modules():
        if path not in around or isinstance(module, nn.ModuleList):
            continue

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any], path: str = path) -> None:
            picture = args[0] if args else kwargs.get("hidden_states")
            if isinstance(picture, Tensor) and picture.ndim == 4:
                grids.seen[path] = (picture.shape[-2], picture.shape[-1])

        watch_calls(module, begin, stack)
    return grids
