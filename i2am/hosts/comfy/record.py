"""Records ComfyUI's samplers through keyed wrappers on a model patcher, without changing what they compute.

The wrappers open a run around a sampler's work, find out which conditioning each row of a call belongs to, and put
observers into the options of that one call, behind whatever other packs put there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from torch import Tensor

from ...errors import I2AMError, RecordingError
from ...maps.value import AttributionMaps
from ..registry import REGISTRY, bare, fingerprint
from .call import Call
from .kinds import network_of
from .options import Options
from .packed import picture_in
from .run import Run

__all__ = ["ComfyRecording", "Options", "attach"]

SAMPLE_ARGUMENTS = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask", "callback", "disable_pbar", "seed")
"""The arguments of a guider's `outer_sample`, in their order."""
APPLY_ARGUMENTS = ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")
"""The arguments of a model's `apply_model`, in their order."""


class ComfyRecording:
    """What a recording node returns beside its model: finds the maps of a latent that a recorded sampler gave.

    Attributes:
        runs: those in progress, the innermost last.
    """

    def __init__(self, options: Options) -> None:
        self.name = uuid.uuid4().hex
        self.runs: list[Run] = []
        self._options = options
        REGISTRY.keep_while(self, self.name)
        self._remark = "no sampler has done a step with this recording's MODEL yet"
        self._gave: tuple[int, ...] | None = None

    def maps_of(self, latent: Any) -> AttributionMaps:
        """The maps of the run that gave ``latent``, (B, C, h, w) as the sampler's node put it out; see `packed` for others.

        Raises:
            RecordingError: no recorded run gave it.
            I2AMError: the run's recording stopped with this error.
        """
        latent = picture_in(latent)
        found = REGISTRY.find(fingerprint(latent), self.name, self._options.key)
        if found is None:
            raise RecordingError(
                f"no recorded run gave this latent ({self._why(latent)}): connect the LATENT of the sampler itself, before any "
                f"node that edits it, and give that sampler the MODEL of this recording's node; if the graph was not changed, "
                f"the maps were dropped to free memory: change the seed and run again"
            )
        if isinstance(found, I2AMError):
            raise bare(found)
        return found

    def _why(self, latent: Tensor) -> str:
        got = tuple(latent.shape[-2:])
        if self._gave in (None, got):
            return self._remark
        return f"it is {' x '.join(map(str, got))} cells, and its last run made {' x '.join(map(str, self._gave or ()))}"

    def ended(self, run: Run, latent: Tensor) -> None:
        """A run gave its latent: file what it leaves."""
        result = run.result(latent)
        REGISTRY.put(run.fingerprints(latent), self.name, self._options.key, result)
        self._remark = "its last run gave another one"
        self._gave = run.cells

    def failed(self, run: Run, error: BaseException) -> None:
        """A run was interrupted or failed: keep nothing of it."""
        run.abandon()
        self._remark = f"the last recorded run did not end: {type(error).__name__}: {error}".rstrip(": ")


def attach(model: Any, options: Options) -> tuple[Any, ComfyRecording]:
    """A clone of a ModelPatcher that records every sampler's run, and the recording.

    Raises:
        RecordingError: networks of this kind cannot be recorded, or no layer matches a name in ``options``.
        LayoutError: ``options`` tells of a layout what is not for networks of this kind.
    """
    network = network_of(model)
    network.check_told(options.layout, options.parts)
    network.check_layers(model.model.diffusion_model, options.layers or (), layers_beside(model))
    recording = ComfyRecording(options)

    def begin(guider: Any, given: dict[str, Any]) -> Run:
        return Run(options, network, guider, given)

    return follow(model, f"i2am-{recording.name}", recording, begin), recording


class Following(Protocol):
    """A run in progress, as the wrappers around it call it; `Run` has the same methods, and says what they are for."""

    def before_evaluation(self, sigma: Tensor) -> None: ...
    def name_rows(self, called: Any, conds: list[Any], model_options: dict[str, Any]) -> None: ...
    def watch(self, given: dict[str, Any], model: Any) -> tuple[dict[str, Any], Call] | None: ...
    def as_observed(self) -> AbstractContextManager[None]: ...
    def after_call(self, call: Call) -> None: ...
    def after_step(self, step: int, denoised: Tensor) -> None: ...


R = TypeVar("R", bound=Following)


class Owner(Protocol[R]):
    """Who follows the runs of a model."""

    runs: list[R]

    def ended(self, run: R, latent: Tensor) -> None: ...
    def failed(self, run: R, error: BaseException) -> None: ...


def follow(model: Any, key: str, owner: Owner[R], begin: Callable[[Any, dict[str, Any]], R]) -> Any:
    """A clone of a ModelPatcher all of whose runs are followed.

    Args:
        model: the patcher.
        key: of the wrappers.
        owner: gets the runs.
        begin: makes one, from a guider and the arguments of its ``outer_sample``, by name.
    """
    from comfy.patcher_extension import WrappersMP

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, key, _around_sampler(owner, begin))
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, key, _around_prediction(owner))
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, key, _around_batch(owner))
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, key, _around_call(owner))
    return model


def layers_beside(model: Any) -> tuple[str, ...]:
    """The layers of networks that the host loads beside the model's own, from their attribute ``recorded_layers``."""
    patchers = (patcher for several in getattr(model, "additional_models", {}).values() for patcher in several)
    return tuple(dict.fromkeys(name for patcher in patchers for name in getattr(patcher.model, "recorded_layers", ())))


# The wrappers are closures, not methods: some hosts deep-copy what lies in a model's options, and would copy a method's
# owner too.


def _around_sampler(recording: Owner[R], begin: Callable[[Any, dict[str, Any]], R]) -> Callable[..., Any]:
    def outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(SAMPLE_ARGUMENTS, args)), **kwargs}
        run = begin(executor.class_obj, given)
        hosts_own = given.get("callback")

        def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            run.after_step(step, denoised)
            if hosts_own is not None:
                hosts_own(step, denoised, x, total)

        recording.runs.append(run)
        try:
            out = executor(*(callback if n == "callback" else value for n, value in zip(SAMPLE_ARGUMENTS, args)), **kwargs)
        except BaseException as error:
            recording.failed(run, error)
            raise
        else:
            recording.ended(run, out)
            return out
        finally:
            recording.runs.remove(run)

    return outer_sample


def _around_prediction(recording: Owner[Any]) -> Callable[..., Any]:
    def predict_noise(executor: Any, *args: Any, **kwargs: Any) -> Any:
        if recording.runs:
            recording.runs[-1].before_evaluation(args[1] if len(args) > 1 else kwargs["timestep"])
        return executor(*args, **kwargs)

    return predict_noise


def _around_batch(recording: Owner[Any]) -> Callable[..., Any]:
    def calc_cond_batch(executor: Any, called: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
        if recording.runs:
            recording.runs[-1].name_rows(called, conds, args[2] if len(args) > 2 else kwargs["model_options"])
        return executor(called, conds, *args, **kwargs)

    return calc_cond_batch


def _around_call(recording: Owner[Any]) -> Callable[..., Any]:
    def apply_model(executor: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(APPLY_ARGUMENTS, args)), **kwargs}
        run = recording.runs[-1] if recording.runs else None
        watched = None if run is None else run.watch(given, executor.class_obj)
        if run is None or watched is None:
            return executor(*args, **kwargs)
        options, call = watched
        if len(args) >= len(APPLY_ARGUMENTS):
            args = tuple(options if n == "transformer_options" else value for n, value in zip(APPLY_ARGUMENTS, args))
        else:
            kwargs = {**kwargs, "transformer_options": options}
        with run.as_observed():
            out = executor(*args, **kwargs)
        run.after_call(call)
        return out

    return apply_model
