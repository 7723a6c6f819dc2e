"""Cuts in the runs of ComfyUI's samplers, through keyed wrappers on a model patcher, as `record` has them."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...errors import I2AMError, LayoutError, RecordingError
from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...interventions.plan import Cut
from .blocks import check_counted
from .call import Call, Notes
from .compiled import check_uncompiling, is_compiled, uncompiled
from .cut_rows import CutRows
from .cutting import CutCall
from .kinds import network_of
from .network import Network
from .noise_mask import canvas_mask, noise_mask
from .packed import picture_shape, pictures_mask
from .record import follow, layers_beside
from .steps import Steps

NODE = "I²AM Intervene"
_OTHER = "I²AM Record"
MANY = 2
"""References that there may be, before a sampler runs."""


@dataclass(frozen=True, eq=False)
class CutOptions:
    """What to cut, and what is told of the tokens.

    Attributes:
        cut: what.
        layout: what the keys are; None: what the conditioning carries.
        parts: the rectangles of pictures that are stitched into one reference.
    """

    cut: Cut
    layout: Layout | None = None
    parts: Parts = ()


def intervene(model: Any, options: CutOptions) -> tuple[Any, str]:
    """A clone of a ModelPatcher in whose runs something is cut, and a sentence that says what.

    Raises:
        RecordingError: networks of this kind are not known, or no layer matches a name.
        LayoutError: what is told of the tokens, or the route, is not for networks of this kind.
    """
    network, cut = network_of(model), options.cut
    try:
        network.check_told(options.layout, options.parts)
        network.check_cut(cut)
        network.check_layers(model.model.diffusion_model, cut.layers or (), layers_beside(model))
    except I2AMError as error:
        raise _ours(error) from None
    if cut.what == "nothing":
        return model.clone(), cut.sentence

    def begin(guider: Any, given: dict[str, Any]) -> CutRun:
        return CutRun(options, network, guider, given)

    how = "Its keys are left out of the softmax, which is taken over those that are left."
    said = " ".join(filter(None, (cut.sentence, how, network.stand_in, network.remark(model.model.diffusion_model, MANY))))
    return follow(model, f"i2am-cut-{uuid.uuid4().hex}", _Runs(), begin), said


class _Runs:
    """The runs in progress, the innermost last."""

    def __init__(self) -> None:
        self.runs: list[CutRun] = []

    def ended(self, run: CutRun, _latent: Tensor) -> None:
        """A run gave its latent."""
        run.finish()

    def failed(self, run: CutRun, error: BaseException) -> None:
        """A run was interrupted or failed: nothing of it was kept."""


class CutRun:
    """One run of a sampler in which something is cut; the methods are those of `record.Following`.

    Args:
        options: what to cut.
        network: the kind of the model's network.
        guider: the sampler's guider.
        given: the arguments of its ``outer_sample``, by name.
    """

    def __init__(self, options: CutOptions, network: Network, guider: Any, given: dict[str, Any]) -> None:
        self._options, self._network, self._guider = options, network, guider
        self._sampled, self._latent = tuple(given["noise"].shape), picture_shape(given, given["noise"])
        sampler = getattr(getattr(given["sampler"], "sampler_function", given["sampler"]), "__name__", "")
        self._steps = Steps([float(s) for s in given["sigmas"]], sampler)
        self._noise_mask = canvas_mask(noise_mask(pictures_mask(given.get("denoise_mask"), self._latent)), guider)
        self._rows = CutRows(
            network, guider, self._latent, options.cut.in_branches, options.layout, options.parts, self._noise_mask
        )
        self._touched: set[str] = set()
        self._cache: dict[Any, Any] = {}
        self._calls = 0
        self._compiled: bool | None = None
        self._check_steps()

    def _check_steps(self) -> None:
        steps, total = self._options.cut.steps, self._steps.total
        if steps is not None and total and steps[1] > total:
            raise RecordingError(
                f"steps {steps[0]}:{steps[1]} are to be cut, but this sampler's run has {total}, counted from 0; set steps on "
                f"{NODE} to at most {min(steps[0], total - 1)}:{total}"
            )

    def before_evaluation(self, sigma: Tensor) -> None:
        """The guider is about to make one prediction."""
        self._steps.before_evaluation(sigma)

    def after_step(self, step: int, _denoised: Tensor) -> None:
        """The sampler says that a step is over."""
        self._steps.after_callback(step)

    def name_rows(self, called: Any, conds: list[Any], model_options: dict[str, Any]) -> None:
        """A model is about to evaluate a batch of conditionings."""
        try:
            self._rows.name(called, conds, model_options)
        except I2AMError as error:
            raise _ours(error) from None

    def watch(self, given: dict[str, Any], model: Any) -> tuple[dict[str, Any], Call] | None:
        """The ``transformer_options`` of a call in which something is cut, and the call; None: nothing is."""
        uuids = (given.get("transformer_options") or {}).get("uuids")
        cut = self._options.cut
        if not uuids or not cut.is_due(min(self._steps.now, max(0, self._steps.total - 1))):
            return None
        found = self._rows.of(uuids)
        if found is None:
            return None
        if cut.where is not None and tuple(given["x"].shape[-2:]) != self._sampled[-2:]:
            raise LayoutError(
                "a conditioning is limited to an area, so the model sees a part of the picture, and a region of the whole "
                "cannot be cut there; leave out the node that sets the area, or the region"
            )
        self._check_compiled(model)
        rows, nulls = found
        call = Call(rows, self._rows.adapters, _unobserved, Notes(), model, self._options.parts, self._noise_mask)
        self._calls += 1
        stand_in = self._rows.stand_in() if self._network.nulls else None
        return self._network.cut(given, CutCall(cut, call, nulls, stand_in, self._touched, self._cache)), call

    def _check_compiled(self, model: Any) -> None:
        if self._compiled is None:
            self._compiled = is_compiled(self._guider.model_patcher, model.diffusion_model)
            if self._compiled:
                check_uncompiling()

    def as_observed(self) -> AbstractContextManager[None]:
        """Around a call: a compiled model runs uncompiled."""
        return uncompiled() if self._compiled else nullcontext()

    def after_call(self, call: Call) -> None:
        """A call is over.

        Raises:
            RecordingError: certain layers were to be cut, and they could not be told apart.
        """
        if self._options.cut.layers is not None:
            check_counted(self._network.layers(call.network), call)

    def finish(self) -> None:
        """The run is over.

        Raises:
            RecordingError: nothing was cut, although something should have been.
        """
        if self._touched:
            return
        network = type(self._guider.model_patcher.model.diffusion_model)
        if not self._calls:
            raise RecordingError(
                f"nothing was cut, so the picture is that of an unchanged run: the sampler never evaluated "
                f"{' or '.join(self._options.cut.in_branches)} with this MODEL in the chosen steps; check branch and steps on "
                f"{NODE}, and the sampler's cfg (with cfg 1 it evaluates cond alone)"
            )
        raise RecordingError(
            f"nothing was cut, so the picture is that of an unchanged run: no attention of the chosen layers was seen that has "
            f"what was to be cut; check layers and route on {NODE}, or, if this {network.__name__} (of {network.__module__}) "
            f"computes attention with kernels of its own, load the model with ComfyUI's own loader"
        )


def _unobserved(_layer: str, _attentions: Any) -> None:
    """Takes an attention that nobody records."""


def _ours(error: I2AMError) -> I2AMError:
    """An error of the kind of network, which names the node of recordings, as this node's."""
    return type(error)(str(error).replace(_OTHER, NODE))
