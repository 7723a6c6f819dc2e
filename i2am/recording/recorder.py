"""Recorder: takes every attention call of a run, reduces it at once and returns one `AttributionMaps`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import RecordingError
from ..geometry.layout import Layout, TokenGrid
from ..geometry.resample import Size, area
from ..geometry.shapes import check_shape
from ..maps.facts import LayerInfo, RunInfo
from ..maps.value import AttributionMaps
from .call_maps import CallMaps
from .complete import Slot, complete
from .planning import Planning
from .reduce import CHUNK_BYTES, reduce_attention
from .scratch import Scratch
from .sums import Sums

BUDGET = 300_000_000


class Recorder:
    """Collects the calls of one run.

    A host calls `observe` for every attention call and `end_step` when a step's evaluations are over; of several
    evaluations in a step (multi-evaluation samplers) the last one counts. `finish` returns the maps.

    Args:
        layout: what the keys are, for all layers or by layer name.
        steps: T, the number of steps of the whole schedule.
        images: images in the batch.
        branches: which halves of classifier-free guidance are kept.
        layers: names or globs of the layers to record; None: all.
        pairwise: None, "mean" (over heads) or "heads".
        groups: time groups of the pairwise maps.
        budget: bytes that the recording may take (see `budget.plan`). While it runs, one step's maps, which
            take no more than that, and the chunks being processed come on top.
        inpaint_mask: (h, w) or (images, h, w), 1 = repainted, for eq. 17.
        generated_size: (H, W) of the generated picture in pixels.
        null_branches: branches whose reference tokens stand for "no reference".
        chunk_bytes: see `reduce_attention`.
    """

    def __init__(
        self,
        layout: Layout | Callable[[str], Layout],
        *,
        steps: int,
        images: int = 1,
        branches: Sequence[str] = ("cond",),
        layers: str | Sequence[str] | None = None,
        pairwise: str | None = "mean",
        groups: int = 5,
        budget: int = BUDGET,
        inpaint_mask: Tensor | None = None,
        generated_size: tuple[int, int] = (0, 0),
        null_branches: Sequence[str] = ("uncond",),
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        for name, value in {"steps": steps, "images": images, "groups": groups, "budget": budget}.items():
            if value < 1:
                raise RecordingError(f"{name} must be at least 1, got {value}")
        if pairwise not in (None, "mean", "heads"):
            raise RecordingError(f"pairwise must be None, 'mean' or 'heads', got {pairwise!r}")
        if not branches:
            raise RecordingError("at least one branch must be recorded: 'cond', 'uncond' or both")
        self._layout_of: Callable[[str], Layout] = (lambda _name: layout) if isinstance(layout, Layout) else layout
        self.steps, self.images, self.branches = steps, images, tuple(branches)
        self._patterns = None if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
        self._chunk, self._generated_size = chunk_bytes, generated_size
        self._mask = _checked_mask(inpaint_mask, images, generated_size)
        self._null = tuple(b for b in null_branches if b in self.branches)
        self._planning = Planning(steps, groups, pairwise, len(self.branches) * images, budget, self._mask is not None)
        self._layers: dict[str, LayerInfo] = {}
        self._weights: dict[tuple[int, int], Tensor] = {}
        self._scratch = Scratch()
        self._staged: dict[Slot, list[CallMaps]] = {}
        self._seen: dict[Slot, set[int]] = {}
        self._evaluations: dict[int, dict[Slot, int]] = {}
        self._sums = Sums()
        self._finished = False

    def wants(self, layer: str) -> bool:
        """Whether a layer is to be recorded."""
        return self._patterns is None or any(fnmatch.fnmatchcase(layer, p) for p in self._patterns)

    def observe(
        self,
        layer: str,
        grid: tuple[int, int],
        step: int,
        branch: str,
        q: Tensor,
        k: Tensor,
        v: Tensor | None,
        *,
        scale: float,
        mask: Tensor | None = None,
        output: Tensor | None = None,
        middle: bool = False,
        softmax: int = 0,
    ) -> None:
        """Reduce one branch's rows of one call: q (images, H, N, d), k and v (images, Hk, S, d).

        ``output`` is the call's output, (images, H, N, dv), if the host has it; see `reduce_attention`.
        ``softmax`` is the number of the call in its layer; see `Reference.softmax`.

        Raises:
            LayoutError: the call does not match the layout or the grid.
            RecordingError: the step is outside of the schedule, or the batch does not have ``images`` rows.
        """
        if self._finished:
            raise RecordingError("this recorder has finished; make a new one for another run")
        if not (self.wants(layer) and branch in self.branches):
            return
        self._check_call(layer, step, branch, q)
        layout = self._layout_of(layer)
        part = layout.part(softmax)
        part.check(layer, k.shape[2])
        info = LayerInfo(
            layer,
            TokenGrid(*grid, picture=self._generated_size),
            q.shape[1],
            middle,
            layout.key_count,
            layout.references,
            layout.beside,
            layout.official,
        )
        self._register(info)
        with torch.no_grad():
            self._staged[layer, branch, softmax] = reduce_attention(
                q,
                k,
                v,
                layout=part,
                scale=scale,
                queries=info.grid.placed,
                mask=mask,
                query_weights=self._query_weights(grid),
                pairwise=self._planning.pairwise_of(layer),
                output=output,
                scratch=self._scratch,
                chunk_bytes=self._chunk,
            )
        counts = self._evaluations.setdefault(step, {})
        counts[layer, branch, softmax] = counts.get((layer, branch, softmax), 0) + 1

    def _check_call(self, layer: str, step: int, branch: str, q: Tensor) -> None:
        if not 0 <= step < self.steps:
            raise RecordingError(
                f"step {step} is outside of the schedule's {self.steps} steps; set `steps` to the run's number"
            )
        if q.shape[0] != self.images:
            raise RecordingError(
                f"layer {layer!r} was called with {q.shape[0]} rows for branch {branch!r}, expected one for each of "
                f"{self.images} images; set `images` and the order of branches to match the run"
            )

    def _register(self, info: LayerInfo) -> None:
        """Add a layer to the plan when it is first seen, and refuse one that changes."""
        known = self._layers.setdefault(info.name, info)
        if known != info:
            raise RecordingError(
                f"layer {info.name!r} changed within the run from {known.grid.rows} x {known.grid.columns} tokens and "
                f"{known.heads} heads to {info.grid.rows} x {info.grid.columns} and {info.heads}; one recording holds one size "
                f"of picture, so switch off what resizes it meanwhile (Deep Shrink, Kohya's hires fix), or leave the layer out "
                f"with `layers`"
            )
        if not self._planning.knows(info.name):
            self._planning.take_in(info, late=bool(self._seen))  # an adapter may start late
            self._coarsen_staged()

    def _coarsen_staged(self) -> None:
        """Coarsen or drop the staged pairwise maps that the plan no longer has room for."""
        for (layer, _, _), calls in self._staged.items():
            wanted = self._planning.pairwise_of(layer)
            for call in calls:
                if call.pairwise is None:
                    continue
                if wanted is None:
                    call.pairwise = None
                elif wanted == "mean" and call.pairwise.shape[1] > 1:
                    call.pairwise = call.pairwise.mean(1, keepdim=True)

    def _query_weights(self, grid: tuple[int, int]) -> Tensor | None:
        if self._mask is None:
            return None
        if grid not in self._weights:
            self._weights[grid] = area(self._mask, grid).flatten(1)
        return self._weights[grid]

    def end_step(self, step: int) -> None:
        """Add the step's last evaluation to the sums.

        Raises:
            RecordingError: the step ended before.
        """
        for layer, branch, softmax in list(self._staged):
            calls = self._staged.pop((layer, branch, softmax))  # freed before the next one's sums are made
            seen = self._seen.setdefault((layer, branch, softmax), set())
            if step in seen:
                raise RecordingError(f"step {step} of layer {layer!r} ended twice; a second run needs a new recorder")
            seen.add(step)
            # sums must outlive the run's inference mode, and be writable outside of it
            with torch.inference_mode(False), torch.no_grad():
                for reference, call in zip(self._layout_of(layer).indices(softmax), calls, strict=True):
                    self._sums.add((layer, branch, reference), call, step, self._planning.plan)

    def abandon(self) -> None:
        """Drop everything: the run was interrupted or failed."""
        self._finished = True
        self._scratch = Scratch()
        self._staged.clear()
        self._sums.clear()

    def finish(
        self, run: RunInfo | None = None, thumbnails: dict[str, Tensor] | None = None, notes: Sequence[str] = ()
    ) -> AttributionMaps:
        """The maps of all steps that ended; ``notes`` are the host's own remarks for the reader.

        Raises:
            RecordingError: nothing was recorded, or nothing in all steps.
        """
        if self._finished:
            raise RecordingError("this recorder has finished already, or its run failed; make a new one for another run")
        if not self._seen:
            raise RecordingError(
                "nothing was recorded: no cross-attention call of a wanted layer and branch was seen; check that the run "
                "uses this model, and `layers` and `branches`"
            )
        self._finished, self._scratch = True, Scratch()
        never = [b for b in self.branches if not any(branch == b for _, branch, _ in self._seen)]
        if never:
            raise RecordingError(
                f"branch {never[0]!r} was never evaluated, so there are no maps; without guidance (cfg 1) a run has "
                f"only 'cond': record the branches that it has, or set another cfg"
            )
        found, plan = complete(self._seen), self._planning.plan
        layers = {name: info for name, info in self._layers.items() if name in found.layers}
        branches = tuple(b for b in self.branches if b in found.branches)
        references = next(iter(layers.values())).references
        self._sums.keep({(n, b, i) for n, b, softmax in found.slots for i in self._layout_of(n).indices(softmax)})
        evaluations = tuple(max(self._evaluations.get(s, {0: 0}).values()) for s in range(self.steps))
        return AttributionMaps(
            self._sums.means(plan, layers, found.steps),
            self._mask,
            thumbnails,
            layers=tuple(layers.values()),
            references=references,
            branches=branches,
            images=self.images,
            run=replace(run or RunInfo(steps=self.steps), steps=self.steps, evaluations=evaluations),
            bins=plan.bins,
            groups=plan.groups,
            recorded=tuple(sorted(set().union(*found.steps.values()))),
            active=tuple(tuple(sorted(found.steps.get(r.softmax, ()))) for r in references),
            generated_size=self._generated_size,
            notes=(*notes, *found.notes, *plan.notes),
            null_branches=tuple(b for b in self._null if b in branches),
        )


def _checked_mask(mask: Tensor | None, images: int, size: Size) -> Tensor | None:
    if mask is None:
        return None
    mask = torch.as_tensor(mask).float()
    mask = mask[None] if mask.ndim == 2 else mask[:, 0] if mask.ndim == 4 else mask
    if mask.ndim != 3 or len(mask) not in (1, images):
        raise RecordingError(
            f"the inpainting mask given to the recording has the shape {tuple(mask.shape)}, but the run makes {images} "
            f"image(s); give one mask, (h, w), or one per image, ({images}, h, w)"
        )
    if not bool((mask > 0).flatten(1).any(1).all()):
        raise RecordingError(
            "the inpainting mask given to the recording is empty: no pixel is 1 (1 = repainted); give another mask, or none"
        )
    check_shape("inpainting mask", (mask.shape[1], mask.shape[2]), size, "generated image")
    return mask.cpu()
