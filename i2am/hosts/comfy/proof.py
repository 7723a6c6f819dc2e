"""Runs of one sampler with the same noise, uncut and with cuts, as the host's own node for custom samplers makes them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ...errors import I2AMError
from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...interventions.plan import Cut
from ...interventions.questions import UNCUT
from .content import Content
from .finished import FINISHED, Finished, FinishedRuns
from .intervene import NODE, CutOptions, intervene
from .record import Options, attach

OURS = "I²AM Proof"
EVERY_QUERY = 4096
"""Cells of a latent up to which all of its tokens are recorded; of larger ones a quarter, in joint attention."""
SOCKETS = {
    "noise": ("generate_noise", "NOISE", "Random Noise"),
    "guider": ("model_patcher", "GUIDER", "CFG Guider or Basic Guider"),
    "sampler": ("sample", "SAMPLER", "KSamplerSelect"),
    "vae": ("decode", "VAE", "the model's loader"),
}
"""By input: what such an object has, its type, and what gives one."""
OTHERS = ("model_patcher", "model_options", "conds", "inner_model", "loaded_models")
"""Attributes of a guider that are the model, or belong to a run in progress."""

OnStep = Callable[[int, int], None]
"""Called with the number of steps that a run has done, and of all."""


class Proof:
    """One sampler's run, which can be made with any cut.

    Args:
        noise, guider, sampler, sigmas, latent: as SamplerCustomAdvanced takes them; the latent holds one picture.
        layout, parts: what is told of the tokens, see `CutOptions`.
        finished: where runs are kept.

    Raises:
        I2AMError: an input is of another kind, or the latent does not hold one picture.
    """

    def __init__(
        self,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent: Any,
        layout: Layout | None = None,
        parts: Parts = (),
        finished: FinishedRuns = FINISHED,
    ) -> None:
        check_sockets(noise=noise, guider=guider, sampler=sampler)
        self.steps = _steps_of(sigmas)
        self._noise, self._guider, self._sampler, self._sigmas = noise, guider, sampler, sigmas
        self._latent = _one_picture(latent)
        self._layout, self._parts, self._finished = layout, parts, finished
        made = Content().add_object(noise).add_object(sampler)
        made.add_object(guider, {name: value for name, value in vars(guider).items() if name not in OTHERS})
        made.add([guider.model_patcher, sigmas, self._latent, parts, None if layout is None else repr(layout)])
        self._made, self._alive = made.finish()

    def run(self, cut: Cut = UNCUT, *, recorded: bool = False, on_step: OnStep | None = None) -> Finished:
        """The run with a cut: kept from before, or made now, with the host's progress and interrupts.

        Args:
            cut: what is cut.
            recorded: also leave the run's maps; recording changes no bit.
            on_step: see `OnStep`; called once, with all steps done, where the run was kept.

        Raises:
            I2AMError: nothing like it can be cut in this model's runs.
        """
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()
        name, _ = Content().add([self._made, {f.name: getattr(cut, f.name) for f in fields(cut)}]).finish()
        kept = self._finished.find(name)
        if kept is not None and (kept.maps is not None or not recorded):
            if on_step is not None:
                on_step(self.steps, self.steps)
            return kept
        try:
            found = self._made_now(cut, recorded, on_step)
        except I2AMError as error:
            said = str(error).replace(NODE, OURS).replace("I²AM Record", OURS)
            raise type(error)(said) from error
        self._finished.put(name, self._alive, found)
        return found

    def _made_now(self, cut: Cut, recorded: bool, on_step: OnStep | None) -> Finished:
        model, recording = self._guider.model_patcher, None
        if recorded:
            small = self._latent["samples"].shape[-2] * self._latent["samples"].shape[-1] <= EVERY_QUERY
            options = Options(pairwise=None, layout=self._layout, parts=self._parts, stride=1 if small else None)
            model, recording = attach(model, options)
        model, _ = intervene(model, CutOptions(cut, self._layout, self._parts))
        guider = copy.copy(self._guider)
        guider.model_patcher, guider.model_options = model, model.model_options
        latent = self._sampled(guider, on_step)
        return Finished(latent, None if recording is None else recording.maps_of(latent))

    def _sampled(self, guider: Any, on_step: OnStep | None) -> Tensor:
        """What the host's SamplerCustomAdvanced does, but for its progress bar, which counts one run alone."""
        from comfy.model_management import intermediate_device
        from comfy.sample import fix_empty_latent_channels
        from comfy.utils import PROGRESS_BAR_ENABLED

        latent = dict(self._latent)
        known = inspect.signature(fix_empty_latent_channels).parameters
        ratios = {name: latent[name] for name in known if name in latent}  # newer hosts also fit an empty latent's size
        latent["samples"] = fix_empty_latent_channels(guider.model_patcher, latent["samples"], **ratios)

        def callback(step: int, _denoised: Tensor, _x: Tensor, total: int) -> None:
            if on_step is not None:
                on_step(step + 1, total)

        out: Tensor = guider.sample(
            self._noise.generate_noise(latent),
            latent["samples"],
            self._sampler,
            self._sigmas,
            denoise_mask=latent.get("noise_mask"),
            callback=callback,
            disable_pbar=not PROGRESS_BAR_ENABLED,
            seed=self._noise.seed,
        )
        return out.to(intermediate_device())


def check_sockets(**given: Any) -> None:
    """Refuse what is not of the kind that an input takes; a reroute or switch lets anything pass.

    Raises:
        I2AMError: with what came, and what to connect.
    """
    for name, value in given.items():
        sign, kind, source = SOCKETS[name]
        if not hasattr(value, sign):
            raise I2AMError(f"{name} got a {type(value).__name__}, which is no {kind}; connect that of {source}")


def _steps_of(sigmas: Any) -> int:
    if not isinstance(sigmas, Tensor) or sigmas.ndim != 1:
        got = f"a tensor of shape {tuple(sigmas.shape)}" if isinstance(sigmas, Tensor) else f"a {type(sigmas).__name__}"
        raise I2AMError(f"sigmas got {got}, which is no SIGMAS; connect those of Basic Scheduler")
    if len(sigmas) < 2:
        raise I2AMError(f"sigmas hold {len(sigmas)} value(s), so there is no step to run; connect those of a whole schedule")
    if not bool(torch.isfinite(sigmas).all()):
        raise I2AMError("sigmas hold NaN or infinity; look at the node that made them")
    return len(sigmas) - 1


def _one_picture(latent: Any) -> dict[str, Any]:
    samples = latent.get("samples") if isinstance(latent, dict) else None
    if not isinstance(samples, Tensor) or samples.is_nested:
        if getattr(samples, "is_nested", False):
            raise I2AMError(
                "latent_image is a latent of several streams (a video with its sound), of which runs cannot be compared here; "
                "sample it twice, once behind I²AM Intervene, and compare the pictures with I²AM Effect"
            )
        kind = type(latent).__name__
        raise I2AMError(f"latent_image got a {kind}, which is no LATENT of pictures; connect an Empty Latent's")
    if len(samples) != 1:
        raise I2AMError(
            f"latent_image holds {len(samples)} pictures, but runs are compared one picture at a time; set batch_size to 1"
        )
    return dict(latent)


def decoded(vae: Any, latent: Tensor) -> Tensor:
    """The first picture of a latent (1, C, h, w), as an IMAGE (1, H, W, 3), or all frames of a video (1, C, frames, h, w)."""
    pictures: Tensor = vae.decode(latent)
    pictures = pictures.reshape(-1, *pictures.shape[-3:])
    return (pictures if latent.ndim == 5 else pictures[:1]).float().cpu()
