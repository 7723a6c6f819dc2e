"""One run of a sampler, from its first evaluation to its latent: what is recorded, and what happens on errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import I2AMError, RecordingError
from ...maps.facts import RunInfo
from ...maps.value import AttributionMaps
from ...recording.recorder import Recorder
from ..attention import Attention
from ..registry import Result, bare, fingerprint
from .call import Call, Notes
from .compiled import NOTE, check_uncompiling, is_compiled, uncompiled
from .network import Network
from .options import Options
from .rows import Conditionings
from .steps import Steps
from .taken import notes_of

log = logging.getLogger("i2am")


class Run:
    """One run of a sampler. An error of the recording stops the sampler during its first step, but never later.

    Args:
        options: what to record.
        network: the kind of the model's network.
        guider: the sampler's guider.
        given: the arguments of its ``outer_sample``, by name.
    """

    def __init__(self, options: Options, network: Network, guider: Any, given: dict[str, Any]) -> None:
        self._options, self._network, self._guider = options, network, guider
        self._seed = given.get("seed")
        self._latent = tuple(given["noise"].shape)
        self._sampler = getattr(getattr(given["sampler"], "sampler_function", given["sampler"]), "__name__", "")
        self._steps = Steps([float(s) for s in given["sigmas"]], self._sampler)
        self._notes = Notes()
        self._conditionings = Conditionings(options, network, guider, self._latent, self._notes)
        self._done = 0
        self._error: I2AMError | None = None
        self._recorder: Recorder | None = None
        self._denoised: Tensor | None = None
        self._lock = threading.Lock()  # the host may call models in several threads
        self._compiled: bool | None = None  # known at the first call

    # ------------------------------------------------------------------ what the sampler does

    def before_evaluation(self, sigma: Tensor) -> None:
        """The guider is about to make one prediction."""
        self._conditionings.next_evaluation()
        self._end_step(self._steps.before_evaluation(sigma))

    def name_rows(self, called: Any, conds: list[Any], model_options: dict[str, Any]) -> None:
        """A model is about to evaluate a batch of conditionings."""
        if self._error is None:
            with self._guard():
                self._conditionings.name(called, conds, model_options)

    def watch(self, given: dict[str, Any], network: nn.Module) -> dict[str, Any] | None:
        """The ``transformer_options`` of a call of the model, with observers; None: nothing in it is recorded.

        Args:
            given: the arguments of ``apply_model``, by name.
            network: the network that is called.
        """
        uuids = (given.get("transformer_options") or {}).get("uuids")
        if not uuids or self._error is not None or self._steps.over:
            return None
        if tuple(given["x"].shape[-2:]) != self._latent[-2:]:
            self._notes.add("conditionings that are limited to an area are not recorded")
            return None
        rows = self._conditionings.wanted(uuids)
        if rows is None:
            return None
        if self._compiled is None and not self._can_run(network):
            return None
        with self._guard():
            return self._network.watch(given, Call(rows, self._conditionings.adapters, self.observe, self._notes, network))
        return None

    def _can_run(self, network: nn.Module) -> bool:
        """Find out whether the model is compiled; where it then cannot be observed, the recording ends."""
        self._compiled = is_compiled(self._guider.model_patcher, network)
        if self._compiled:
            try:
                check_uncompiling()
            except RecordingError as error:
                self._error = bare(error)
                return False
            self._notes.add(NOTE)
        return True

    def as_observed(self) -> AbstractContextManager[None]:
        """Around a call with observers: a compiled model runs uncompiled."""
        return uncompiled() if self._compiled else nullcontext()

    def after_step(self, step: int, denoised: Tensor) -> None:
        """The sampler says that a step is over."""
        self._denoised = denoised
        self._end_step(self._steps.after_callback(step))

    # ------------------------------------------------------------------ what is kept

    def observe(self, layer: str, attentions: Iterable[Attention]) -> None:
        """Record one call of a layer; see `Call.observe`."""
        if self._error is not None:
            return
        with self._guard():
            recorder = self._open_recorder()
            if not recorder.wants(layer):
                return
            for attention in attentions:
                with self._lock:
                    attention.record(recorder, self._steps.now)

    def _open_recorder(self) -> Recorder:
        """The run's recorder, made at its first call."""
        with self._lock:
            if self._recorder is None:
                options, cond = self._options, self._conditionings.cond
                size = None if cond is None else cond.generated_size
                self._recorder = Recorder(
                    self._conditionings.layout_of,
                    steps=self._steps.total,
                    images=self._latent[0],
                    branches=options.branches,
                    layers=options.layers,
                    pairwise=options.pairwise,
                    groups=options.groups,
                    budget=options.budget,
                    inpaint_mask=options.inpaint_mask,
                    generated_size=size or (8 * self._latent[-2], 8 * self._latent[-1]),
                    null_branches=self._conditionings.null_branches,
                )
            return self._recorder

    def _end_step(self, step: int | None) -> None:
        if step is not None and self._recorder is not None and self._error is None:
            with self._guard():
                self._recorder.end_step(step)
                self._done += 1

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Errors of the recording end a run that has not finished a step; later they only end its recording."""
        try:
            yield
        except I2AMError as error:
            if self._done == 0:
                raise
            self._error = bare(error)
            if self._recorder is not None:
                self._recorder.abandon()
            log.warning("the recording stopped: %s", error)

    # ------------------------------------------------------------------ its end

    def abandon(self) -> None:
        """The run was interrupted or failed: keep nothing of it."""
        if self._recorder is not None:
            self._recorder.abandon()

    def result(self, latent: Tensor) -> Result:
        """What the run leaves after it gave ``latent``: its maps, or the error that stopped its recording."""
        try:
            return self._finish(latent)
        except I2AMError as error:
            log.warning("nothing was recorded: %s", error)
            return bare(error)

    def _finish(self, latent: Tensor) -> AttributionMaps:
        if self._error is not None:
            raise self._error
        if self._recorder is None and self._steps.total < 1:
            raise RecordingError(
                "this sampler's part of the schedule has no step, so there are no maps; give it at least two sigmas, or a "
                "start_at_step below end_at_step"
            )
        if self._recorder is None:
            raise RecordingError(
                f"the sampler never evaluated {' or '.join(self._options.branches)} with this MODEL, so there are no maps; "
                f"with cfg 1 it evaluates cond alone: check branch on I²AM Record, and the sampler's cfg"
            )
        self._end_step(self._steps.at_end())
        cond = self._conditionings.cond
        maps = self._recorder.finish(self._info(latent), None if cond is None else cond.thumbnails, self._notes.all)
        return maps.with_notes(notes_of(maps, self._conditionings.shares))

    def fingerprints(self, latent: Tensor) -> set[str]:
        """Fingerprints of the latent as sampled and as the host may cast it, and of the last denoised one."""
        import comfy.model_management as management

        shown = [latent]
        if self._denoised is not None:
            shown.append(self._guider.model_patcher.model.process_latent_out(self._denoised.detach().cpu()))
        if hasattr(management, "intermediate_dtype"):
            shown += [t.to(management.intermediate_dtype()) for t in shown]
        return {fingerprint(t) for t in shown}

    def _info(self, latent: Tensor) -> RunInfo:
        from comfyui_version import __version__

        model = self._guider.model_patcher.model
        sigmas = torch.tensor(self._steps.sigmas[: self._steps.total])
        cfg = getattr(self._guider, "cfg", None)
        return RunInfo(
            steps=self._steps.total,
            sigmas=tuple(sigmas.tolist()),
            timesteps=tuple(float(t) for t in model.model_sampling.timestep(sigmas.to(model.model_sampling.sigmas)).cpu()),
            seed=None if self._seed is None else int(self._seed),
            sampler=self._sampler.removeprefix("sample_").removesuffix("_function"),
            cfg=None if cfg is None else float(cfg),
            model=type(model).__name__,
            host=f"ComfyUI {__version__}",
            extra={"latent_hash": fingerprint(latent), **{a.name: a.about for a in self._conditionings.adapters}},
        )
