"""Recorder: takes every attention call of a run, reduces it at once and leaves one `AttributionMaps`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import RecordingError
from ..geometry.layout import Layout, TokenGrid
from ..geometry.resample import Size, area
from ..geometry.shapes import check_shape
from ..maps.facts import Key, LayerInfo, RunInfo
from ..maps.value import AttributionMaps
from .budget import LayerCost, Plan, joined, plan
from .call_maps import CallMaps
from .reduce import CHUNK_BYTES, reduce_attention
from .scratch import Scratch

BUDGET = 300_000_000
PER_GROUP = ("entropy", "norm")
Slot = tuple[str, str, int]
"""(layer name, branch, softmax)"""


class Recorder:
    """Collects the calls of one run.

    A host calls `observe` for every attention call and `end_step` when a step's evaluations are over; the
    last evaluation of a step counts (multi-evaluation samplers). `finish` gives the maps.

    Args:
        layout: what the keys are, for all layers or by layer name.
        steps: T, the number of steps of the whole schedule.
        images: images in the batch.
        branches: which halves of classifier-free guidance are kept.
        layers: names or globs of the layers to record; None: all.
        pairwise: None, "mean" (over heads) or "heads".
        groups: time groups of the pairwise maps.
        budget: bytes that the recording may take (see `budget.plan`). While it runs, one step's maps, which take no more
            than that, and the chunks in work come on top.
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
                raise RecordingError(f"{name} is at least 1, got {value}")
        if pairwise not in (None, "mean", "heads"):
            raise RecordingError(f"pairwise is None, 'mean' or 'heads', got {pairwise!r}")
        if not branches:
            raise RecordingError("at least one branch must be recorded: 'cond', 'uncond' or both")
        self._layout_of: Callable[[str], Layout] = (lambda _name: layout) if isinstance(layout, Layout) else layout
        self.steps, self.images, self.branches = steps, images, tuple(branches)
        self._patterns = None if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
        self._pairwise, self._groups, self._budget, self._chunk = pairwise, groups, budget, chunk_bytes
        self._mask = _mask(inpaint_mask, images, generated_size)
        self._generated_size = generated_size
        self._null = tuple(b for b in null_branches if b in self.branches)
        self._layers: dict[str, LayerInfo] = {}
        self._weights: dict[tuple[int, int], Tensor] = {}
        self._scratch = Scratch()
        self._staged: dict[Slot, list[CallMaps]] = {}
        self._seen: dict[Slot, set[int]] = {}
        self._evaluations: dict[int, dict[Slot, int]] = {}
        self._costs: dict[str, LayerCost] = {}
        self._plan: Plan | None = None
        self._sums: dict[Key, Tensor] = {}
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

        ``output``, where the host has it, is what the call gave, (images, H, N, dv): see `reduce_attention`.
        ``softmax`` says which of the layer's calls it is, as `Reference.softmax` has it.

        Raises:
            LayoutError: the call does not match the layout or the grid.
            RecordingError: the step is outside of the schedule, or the batch is not ``images`` rows.
        """
        if self._finished:
            raise RecordingError("this recorder has finished; make a new one for another run")
        if not (self.wants(layer) and branch in self.branches):
            return
        if not 0 <= step < self.steps:
            raise RecordingError(
                f"step {step} is outside of the schedule's {self.steps} steps; set `steps` to the run's number"
            )
        if q.shape[0] != self.images:
            raise RecordingError(
                f"layer {layer!r} was called with {q.shape[0]} rows for branch {branch!r}, expected one for each of "
                f"{self.images} images; set `images` and the order of branches to what the run does"
            )
        layout = self._layout_of(layer)
        part = layout.part(softmax)
        part.check(layer, k.shape[2])
        rows, columns = grid
        info = LayerInfo(
            layer,
            TokenGrid(rows, columns, picture=self._generated_size),
            q.shape[1],
            middle,
            layout.key_count,
            layout.references,
            layout.beside,
            layout.official,
        )
        known = self._layers.setdefault(layer, info)
        if known != info:
            raise RecordingError(
                f"layer {layer!r} changed within the run from {known.grid.rows} x {known.grid.columns} tokens and "
                f"{known.heads} heads to {rows} x {columns} and {info.heads}; one recording holds one size of picture"
            )
        with torch.no_grad():
            self._staged[layer, branch, softmax] = reduce_attention(
                q,
                k,
                v,
                layout=part,
                scale=scale,
                queries=rows * columns,
                mask=mask,
                query_weights=self._query_weights(grid),
                pairwise=self._pairwise_of(layer),
                output=output,
                scratch=self._scratch,
                chunk_bytes=self._chunk,
            )
        counts = self._evaluations.setdefault(step, {})
        counts[layer, branch, softmax] = counts.get((layer, branch, softmax), 0) + 1

    def _pairwise_of(self, layer: str) -> str | None:
        """What is taken of a layer's pairs: as planned, or in the first step what the layers seen so far leave room for.

        More layers never make a plan finer, so what has no room yet will have none.
        """
        if layer not in self._costs:
            self._costs[layer] = self._cost(layer)
            if self._seen:  # an adapter may begin late
                assert self._plan is not None
                self._plan = joined(self._plan, list(self._costs.values()), layer, **self._room_there_is())
            else:
                self._plan = plan(list(self._costs.values()), steps=self.steps, groups=self._groups, **self._room_there_is())
                self._coarsen_staged(self._plan)
        assert self._plan is not None
        return self._plan.pairwise if layer in self._plan.pairwise_layers else None

    def _coarsen_staged(self, chosen: Plan) -> None:
        for (layer, _, _), calls in self._staged.items():
            for call in calls:
                if call.pairwise is None:
                    continue
                if layer not in chosen.pairwise_layers:
                    call.pairwise = None
                elif chosen.pairwise == "mean" and call.pairwise.shape[1] > 1:
                    call.pairwise = call.pairwise.mean(1, keepdim=True)

    def _query_weights(self, grid: tuple[int, int]) -> Tensor | None:
        if self._mask is None:
            return None
        if grid not in self._weights:
            self._weights[grid] = area(self._mask, grid).flatten(1)
        return self._weights[grid]

    def end_step(self, step: int) -> None:
        """Take the step's last evaluation into the sums."""
        if not self._staged:
            return
        assert self._plan is not None
        bin_ = next(i for i, (a, b) in enumerate(self._plan.bins) if a <= step < b)
        group = next(i for i, (a, b) in enumerate(self._plan.groups) if a <= step < b)
        for layer, branch, softmax in list(self._staged):
            calls = self._staged.pop((layer, branch, softmax))  # its room is free again before the next one's sums are made
            seen = self._seen.setdefault((layer, branch, softmax), set())
            if step in seen:
                raise RecordingError(f"step {step} of layer {layer!r} ended twice; a second run needs a new recorder")
            seen.add(step)
            # sums must outlive the run's inference mode, and be writable outside of it
            with torch.inference_mode(False), torch.no_grad():
                for reference, call in zip(self._layout_of(layer).indices(softmax), calls, strict=True):
                    self._add((layer, branch, reference), call, bin_, group)

    def _cost(self, layer: str) -> LayerCost:
        info = self._layers[layer]
        n, count = info.grid.placed, len(info.references)
        columns = sum(r.grid.tokens for r in info.references) * (1 if self._mask is None else 2)
        pairs = n * sum(r.grid.tokens for r in info.references if r.grid.placed)
        return LayerCost(layer, info.heads, 6 * n * count + columns, 4 * n * count, pairs)

    def _room_there_is(self) -> dict[str, Any]:
        return {"pairwise": self._pairwise, "copies": len(self.branches) * self.images, "budget": self._budget}

    def _room(self, key: Key, like: Tensor, slots: int) -> Tensor:
        """The sum that ``key`` is kept in: (images, slots, heads, ...), made at first use."""
        if key not in self._sums:
            shape = (like.shape[0], slots, *like.shape[1:])
            self._sums[key] = torch.zeros(shape, dtype=like.dtype)
        return self._sums[key]

    def _add(self, where: tuple[str, str, int], call: CallMaps, bin_: int, group: int) -> None:
        assert self._plan is not None
        layer, branch, reference = where
        bins, groups = len(self._plan.bins), len(self._plan.groups)

        def heads(t: Tensor) -> Tensor:
            t = t.cpu()
            return t if self._plan is None or self._plan.marginal_heads else t.mean(1, keepdim=True)

        marginals = {
            "r2g": call.r2g,
            "r2g_placed": call.r2g_placed,
            "balanced": call.balanced,
            "balanced_placed": call.balanced_placed,
            "mass": call.mass,
            "mass_placed": call.mass_placed,
            "g2r": call.g2r,
            "g2r_masked": call.g2r_masked,
        }
        for kind, value in marginals.items():
            if value is not None:
                kept = heads(value)
                self._room((kind, layer, branch, reference), kept, bins)[:, bin_] += kept
        for kind, value in (("entropy", call.entropy), ("norm", call.norm)):
            if value is not None:
                kept = heads(value)
                self._room((kind, layer, branch, reference), kept, groups)[:, group] += kept
        self._add_peak(where, call, group, groups)
        if call.pairwise is not None and layer in self._plan.pairwise_layers:
            pairs = call.pairwise.cpu()
            if self._plan.pairwise == "mean" and pairs.shape[1] > 1:
                pairs = pairs.mean(1, keepdim=True)
            self._room(("pairwise", layer, branch, reference), pairs, groups)[:, group] += pairs

    def _add_peak(self, where: tuple[str, str, int], call: CallMaps, group: int, groups: int) -> None:
        """Keep the largest single A^r of the group's steps, with its place."""
        assert self._plan is not None
        value, index = call.peak_value.cpu(), call.peak_index.cpu()
        if not self._plan.marginal_heads:
            value, head = value.max(1, keepdim=True)
            index = index.gather(1, head)
        best = self._room(("peak_value", *where), value, groups)
        place = self._room(("peak_index", *where), index, groups)
        higher = value > best[:, group]
        best[:, group] = torch.where(higher, value, best[:, group])
        place[:, group] = torch.where(higher, index, place[:, group])

    def abandon(self) -> None:
        """Drop everything: the run was interrupted or failed."""
        self._finished = True
        self._scratch = Scratch()
        self._staged.clear()
        self._sums.clear()

    def _steps_by_softmax(self) -> dict[int, set[int]]:
        """The steps in which each softmax was seen: the same in all layers and branches that have it."""
        steps: dict[int, set[int]] = {}
        for layer, _, softmax in self._seen:
            for branch in self.branches:
                seen = self._seen.get((layer, branch, softmax), set())
                others = steps.setdefault(softmax, seen)
                if seen != others:
                    raise RecordingError(
                        f"layer {layer!r}, branch {branch!r} was seen in {len(seen)} steps, others in {len(others)}; maps of "
                        f"different steps are not mixed"
                    )
        return steps

    def finish(
        self, run: RunInfo | None = None, thumbnails: dict[str, Tensor] | None = None, notes: Sequence[str] = ()
    ) -> AttributionMaps:
        """The maps of all steps that ended; ``notes`` are the host's own remarks for the reader.

        Raises:
            RecordingError: nothing was recorded, or layers or branches were seen in different steps.
        """
        if self._finished:
            raise RecordingError("this recorder has finished already, or its run failed")
        if self._plan is None or not self._seen:
            raise RecordingError(
                "nothing was recorded: no cross-attention call of a wanted layer and branch was seen; check that the run "
                "uses this model, and `layers` and `branches`"
            )
        self._finished, self._scratch = True, Scratch()
        never = [b for b in self.branches if not any(branch == b for _, branch, _ in self._seen)]
        if never:
            raise RecordingError(
                f"branch {never[0]!r} was never evaluated, so there are no maps; without guidance (cfg 1) a run has "
                f"'cond' alone: record the branches that it has, or set another cfg"
            )
        steps = self._steps_by_softmax()
        for (kind, layer, _, reference), total in self._sums.items():
            if kind in ("peak_value", "peak_index"):
                continue
            seen = steps[self._layers[layer].references[reference].softmax]
            ranges = self._plan.groups if kind in (*PER_GROUP, "pairwise") else self._plan.bins
            counts = torch.tensor([sum(s in seen for s in range(a, b)) for a, b in ranges], dtype=torch.float32)
            total /= counts.clamp_min(1).view(1, -1, *([1] * (total.ndim - 2)))
        evaluations = tuple(max(self._evaluations.get(s, {0: 0}).values()) for s in range(self.steps))
        run = RunInfo(steps=self.steps) if run is None else run
        references = next(iter(self._layers.values())).references
        return AttributionMaps(
            self._sums,
            layers=tuple(self._layers.values()),
            references=references,
            branches=self.branches,
            images=self.images,
            run=replace(run, steps=self.steps, evaluations=evaluations),
            bins=self._plan.bins,
            groups=self._plan.groups,
            recorded=tuple(sorted(set().union(*steps.values()))),
            active=tuple(tuple(sorted(steps.get(r.softmax, ()))) for r in references),
            generated_size=self._generated_size,
            notes=(*notes, *self._plan.notes),
            inpaint_mask=self._mask,
            thumbnails=thumbnails,
            null_branches=self._null,
        )


def _mask(mask: Tensor | None, images: int, size: Size) -> Tensor | None:
    if mask is None:
        return None
    mask = torch.as_tensor(mask).float()
    mask = mask[None] if mask.ndim == 2 else mask[:, 0] if mask.ndim == 4 else mask
    if mask.ndim != 3 or len(mask) not in (1, images):
        raise RecordingError(
            f"the inpainting mask given to the recording has the shape {tuple(mask.shape)}, but the run makes {images} "
            f"image(s); give one mask, (h, w), or one an image, ({images}, h, w)"
        )
    if not bool((mask > 0).flatten(1).any(1).all()):
        raise RecordingError(
            "the inpainting mask given to the recording is empty: no pixel is 1, which marks what is repainted; give another, "
            "or none"
        )
    check_shape("inpainting mask", (mask.shape[1], mask.shape[2]), size, "generated image")
    return mask.cpu()
