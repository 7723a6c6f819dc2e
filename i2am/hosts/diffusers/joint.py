"""Joint-attention transformers in diffusers: text, generated picture and references attend to each other in one sequence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout
from ...geometry.sequence import Sequence
from ...interventions.removal import hidden
from ..attention import Attention
from .attended import Attended, Instead, mask_by_rows
from .compiled import inside, refuse_compiled, without_adapter
from .cutting import Cutting
from .families.family import Family
from .families.flux import Flux
from .families.flux2 import Flux2
from .families.flux3 import Flux3
from .families.krea2 import Krea2
from .families.qwen_image import QwenImage
from .families.qwen_image21 import QwenImage21
from .families.z_image import ZImage
from .network import Evaluation, Given, JointTokens, Network, Observe
from .remedies import backend_of, remedy_for
from .stitched import SINGLE, Stitched
from .watching import Call, watch_attention

FAMILIES: tuple[type[Family], ...] = (Flux, Flux2, Flux3, QwenImage, QwenImage21, Krea2, ZImage)
"""A new family is one file in `families`, and one entry here."""
NAMES = ("attn", "attention")
"""What blocks call their attention, the first that there is."""


class Joint:
    """A transformer of one of the `FAMILIES`, or of a class that is derived from it.

    Args:
        module: the transformer.
        family: its family.
        factor: pixels per latent cell, along each side, of the pipeline's autoencoder; None: there is no pipeline.
    """

    takes: ClassVar[str] = f"a diffusers transformer with joint attention ({', '.join(f.takes for f in FAMILIES)})"

    def __init__(self, module: nn.Module, family: Family, factor: int | None) -> None:
        self.module, self._family = module, family
        self._pixels = None if factor is None else family.patch * factor
        self._signature = inspect.signature(type(module).forward)
        self._first: tuple[float, list[Tensor]] | None = None
        self._now: tuple[float, Tensor | None] = 0.0, None

    @classmethod
    def of(cls, model: Any) -> Network | None:
        """See `Network`.

        Raises:
            RecordingError: the transformer is compiled or wrapped, so that its layers cannot be watched.
        """
        transformer = without_adapter(getattr(model, "transformer", model))
        if not isinstance(transformer, nn.Module):
            return None
        names = {kind.__name__ for kind in type(inside(transformer)).__mro__}
        family = next((family for family in FAMILIES if family.network in names), None)
        if family is None:
            return None
        refuse_compiled(transformer, "pipeline.transformer")
        factor = getattr(model, "vae_scale_factor", None)
        return cls(transformer, family(), None if factor is None else int(factor))

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any], stitched: Stitched = SINGLE) -> Given:
        """See `Network`.

        Raises:
            LayoutError: the arguments do not say what the tokens are, or say it wrongly, or ``stitched`` does not fit them.
        """
        given = self._signature.bind(self.module, *args, **kwargs).arguments
        said = stitched.told(self._family.read(given, self._pixels))
        time = given["timestep"] if said.time is None else said.time
        now = float(time.flatten()[0]) if isinstance(time, Tensor) else float(time)
        self._now = now, said.references
        pixels = self._pixels or self._family.patch * self._family.factor
        picture = said.grid[0] * pixels, said.grid[1] * pixels
        return Given(said.generated, now, said.grid, given, JointTokens(said.sequence, picture, said.notes, said.rows))

    def _prove(self) -> None:
        """References stay as they are from step to step; what changes is a picture that is generated.

        Raises:
            LayoutError: the tokens that are taken for the references changed.
        """
        (time, references), self._now = self._now, (0.0, None)
        if references is None:  # kept from an earlier step, or seen in another layer of this evaluation
            return
        if self._first is None or time == self._first[0]:
            self._first = time, [*([] if self._first is None else self._first[1]), references.detach()]
        elif not any(known.shape == references.shape and torch.equal(known, references) for known in self._first[1]):
            raise LayoutError(
                "the tokens that are taken for the references changed from step to step, so they are no references: this "
                "pipeline has another order of pictures, or generates several at once, which is not recorded"
            )

    def layout(self, _given: Given) -> Layout | None:
        """See `Network`: each call has its own, `Given.joint`."""
        return None

    def watch(self, observe: Observe, stack: ExitStack, cutting: Callable[[], Cutting | None] = lambda: None) -> None:
        """See `Network`."""
        blocks = {f"{name}.{i}": b for name in self._family.blocks for i, b in enumerate(getattr(self.module, name, ()))}
        found = {layer: _attention_of(block) for layer, block in blocks.items()}
        modules = {attn: partial(self._pass_on, observe, layer) for layer, attn in found.items() if isinstance(attn, nn.Module)}
        if not found or len(modules) < len(found):
            without = next((f"{layer!r}, {type(blocks[layer]).__name__}," for layer, attn in found.items() if attn is None), "")
            raise RecordingError(
                f"this {type(self.module).__name__} has no attention that can be watched: expected blocks in "
                f"{' and '.join(self._family.blocks)} with a module `{'` or `'.join(NAMES)}`"
                f"{f', but {without} has none' if without else ''}; "
                f"record diffusers' own {self._family.network} (quantised ones of other makers, such as Nunchaku's, compute "
                f"attention in kernels of their own)"
            )
        layer_of = {attn: layer for layer, attn in found.items()}

        def cuts(module: nn.Module, _given: Any) -> Instead | None:
            now, layer = cutting(), layer_of[module]
            if now is None or not now.wants(layer):
                return None
            return lambda _number, function, given: now.attend(layer, 0, _no_grid, function, given)

        watch_attention(modules, stack, cuts)

    def _pass_on(self, observe: Observe, layer: str, call: Call) -> None:
        observe(layer, partial(self._attentions, layer, call))

    def _attentions(self, layer: str, call: Call, evaluation: Evaluation) -> Iterator[Attention]:
        """The attention of a block's generated tokens, branch by branch."""
        self._prove()
        attended = self._joint(layer, call, next(iter(evaluation.sequences.values())), evaluation.batch)
        mask = mask_by_rows(layer, attended, evaluation.batch)
        for branch, rows in evaluation.rows.items():
            own = mask if mask is None or len(mask) == 1 else mask[rows]
            cut, sequence = evaluation.cutting, evaluation.sequences[branch]
            left = None if cut is None else cut.seen(layer, 0, branch, attended.q, sequence.keys, _no_grid)
            yield Attention.joint(
                layer,
                sequence,
                branch,
                attended.q[rows],
                attended.k[rows],
                None,
                scale=attended.scale,
                mask=hidden(own, left),
            )

    def _joint(self, layer: str, call: Call, sequence: Sequence, batch: int) -> Attended:
        """The one attention of a call that has the sequence's queries and keys; a block may attend elsewhere as well."""
        found = call.attentions(batch)
        if not found:
            raise RecordingError(self._unseen(layer, call))
        queries = sum(b - a for a, b in sequence.queries) or sequence.keys
        fits = [a for a in found if a.q.ndim == 4 and (len(a.q), a.q.shape[2], a.k.shape[2]) == (batch, queries, sequence.keys)]
        if len(fits) != 1 or fits[0].causal:
            seen = ", ".join(f"{a.q.shape[-2]} x {a.k.shape[-2]}{' (causal)' * a.causal}" for a in found)
            raise LayoutError(
                f"layer {layer!r} attends with queries x keys {seen} over {len(found[0].q)} rows, expected {queries} x "
                f"{sequence.keys} once over {batch}: {sequence}; something changes the tokens (as merging or dropping some, or "
                f"context parallelism does): switch it off to record"
            )
        return fits[0]

    def _unseen(self, layer: str, call: Call) -> str:
        processor = getattr(call.module, "processor", call.module)
        if getattr(self.module, "is_cache_enabled", False):
            return (
                f"layer {layer!r} gave what it had kept, without attention: a cache skips it; call "
                f"transformer.disable_cache() to record"
            )
        return (
            f"no attention was seen in a call of layer {layer!r}: its processor {type(processor).__name__} uses a kernel that "
            f"cannot be watched (attention backend {backend_of(call.module)!r}); {remedy_for(call.module)}, or leave the layer "
            f"out with `layers`"
        )


def _attention_of(block: nn.Module) -> nn.Module | None:
    return next((found for name in NAMES if (found := getattr(block, name, None)) is not None), None)


def _no_grid() -> tuple[int, int]:
    """A joint call's grids are those of its sequence."""
    return 0, 0
