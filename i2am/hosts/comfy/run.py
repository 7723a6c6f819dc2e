"""One run of a sampler, from its first evaluation to its latent: what is recorded, and what happens on errors."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import I2AMError, RecordingError
from ...levels.kept import INPAINT_FROM, RECORD
from ...maps.facts import FRAMES, PATCHES, RunInfo
from ...maps.kinds import NO_WORDS
from ...maps.value import AttributionMaps
from ...recording.recorder import Recorder
from ..attention import Attention
from ..registry import Result, bare, fingerprint
from .blocks import Blocks
from .call import Call, Notes
from .compiled import NOTE, check_uncompiling, is_compiled, uncompiled
from .default_layers import default_layers_of, default_notes
from .latent_pictures import origin
from .names import model_name, patched, sampler_name
from .network import Network
from .noise_mask import canvas_mask, noise_mask
from .options import Options
from .packed import picture_of, picture_shape, pictures_mask
from .pixels import pixels_per_cell
from .rows import Conditionings
from .steps import Steps
from .taken import notes_of

log = logging.getLogger("i2am")

NO_ROOM = (
    "the device ran out of memory while maps were computed; record fewer layers, a smaller picture or batch, or without "
    "pairwise maps"
)


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
        self._sampled, self._latent = tuple(given["noise"].shape), picture_shape(given, given["noise"])
        self._frames = network.frames(self._latent)
        self._images = self._frames * self._latent[0]
        self._sampler = getattr(getattr(given["sampler"], "sampler_function", given["sampler"]), "__name__", "")
        self._chosen = sampler_name(given["sampler"])
        self._inpainted = noise_mask(pictures_mask(given.get("denoise_mask"), self._latent))
        self._steps = Steps([float(s) for s in given["sigmas"]], self._sampler)
        self._notes = Notes()
        self._canvas = canvas_mask(self._inpainted, guider)
        self._conditionings = Conditionings(options, network, guider, self._latent, self._notes, self._canvas)
        self._done = 0
        self._error: I2AMError | None = None
        self._recorder: Recorder | None = None
        self._denoised: Tensor | None = None
        self._lock = threading.Lock()  # the host may call models in several threads
        self._compiled: bool | None = None  # known at the first call
        self._blocks = Blocks(self._notes)

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

    def watch(self, given: dict[str, Any], model: Any) -> tuple[dict[str, Any], Call] | None:
        """The ``transformer_options`` of a call, with observers, and the call for `after_call`; None: it is not recorded.

        Args:
            given: the arguments of ``apply_model``, by name.
            model: the host's model that is called.
        """
        uuids = (given.get("transformer_options") or {}).get("uuids")
        if not uuids or self._error is not None or self._steps.over:
            return None
        if tuple(given["x"].shape[-2:]) != self._sampled[-2:]:
            self._notes.add("conditionings that are limited to an area are not recorded")
            return None
        rows, why = self._conditionings.wanted(uuids), self._conditionings.why_not(uuids)
        if rows is None:
            if why:
                self._blocks.not_recorded(self._steps.now, why)
            return None
        if self._compiled is None and not self._can_run(model.diffusion_model):
            return None
        with self._guard():
            parts = self._options.parts
            call = Call(rows, self._conditionings.adapters, self.observe, self._notes, model, parts, self._canvas)
            return self._network.watch(given, call), call
        return None

    def after_call(self, call: Call) -> None:
        """A call with observers is over."""
        if self._error is not None:
            return
        with self._guard(), self._lock:
            whole = self._blocks.all_computed(self._network.layers(call.network), call)
            if self._recorder is not None:
                end = self._recorder.end_evaluation if whole else self._recorder.discard
                end({row.branch for row in call.rows if row is not None})

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
                    images=self._images,
                    branches=[b for b in options.branches if b not in self._conditionings.without],
                    layers=options.layers,
                    pairwise=options.pairwise,
                    groups=options.groups,
                    budget=options.budget,
                    stride=options.stride,
                    cells=options.cells,
                    inpaint_mask=self._inpaint_mask[0],
                    generated_size=size or self._size,
                    null_branches=self._conditionings.null_branches,
                    word_maps=options.words,
                    word_layers=default_layers_of(self._guider.model_patcher.model).names,
                )
            return self._recorder

    @property
    def _inpaint_mask(self) -> tuple[Tensor | None, str]:
        """The first inpainting mask that is known, and what brought it."""
        if self._options.inpaint_mask is not None:
            return self._options.inpaint_mask, RECORD
        cond = self._conditionings.cond
        carried = None if cond is None else cond.inpaint_mask
        for mask, name in ((carried, "I²AM Try-On Conditioning"), (self._inpainted, "the sampler's latent")):
            if mask is not None and len(mask) in (1, self._images):
                return mask, name
        return None, ""

    @property
    def cells(self) -> tuple[int, ...]:
        """(h, w) of the latent."""
        return self._latent[-2:]

    @property
    def _size(self) -> tuple[int, int]:
        """(H, W) of the generated picture in pixels."""
        factor = pixels_per_cell(self._guider.model_patcher.model)
        return factor * self._latent[-2], factor * self._latent[-1]

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
        except torch.cuda.OutOfMemoryError as error:
            self._stop(RecordingError(f"{NO_ROOM} ({str(error).partition('.')[0]})"))
        except I2AMError as error:
            self._stop(error)

    def _stop(self, error: I2AMError) -> None:
        if self._recorder is not None:
            self._recorder.abandon()
        if self._done == 0:
            raise error
        self._error = bare(error)
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
        if self._done == 0:
            raise RecordingError(
                f"the sampler {self._sampler} never reported the end of a step (it does not call its callback), so its "
                f"evaluations cannot be assigned to steps; use another sampler"
            )
        cond = self._conditionings.cond
        pictures = {**self._conditionings.pictures, **((cond and cond.thumbnails) or {})}
        maps = self._recorder.finish(self._info(latent), pictures, self._notes.all, why=self._conditionings.missed)
        maps = maps.with_words(self._conditionings.words)
        why = default_layers_of(self._guider.model_patcher.model).why
        lacking = (NO_WORDS,) if self._options.words and not maps.word_layers else ()
        skipped = self._blocks.skipped(maps, self._conditionings.unused(self._steps.sigmas[: self._steps.total]))
        said = [*notes_of(maps, self._conditionings.shares), *skipped, *default_notes(maps, why), *lacking]
        return maps.with_notes(said)

    def fingerprints(self, latent: Tensor) -> set[str]:
        """Fingerprints of the latent as sampled and as the host may cast it, and of the last denoised one."""
        import comfy.model_management as management

        shown = [latent]
        if self._denoised is not None:
            shown.append(self._guider.model_patcher.model.process_latent_out(self._denoised.detach().cpu()))
        if hasattr(management, "intermediate_dtype"):
            shown += [t.to(management.intermediate_dtype()) for t in shown]
        return {fingerprint(picture_of(t, self._latent)) for t in shown}

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
            sampler=self._chosen,
            cfg=float(cfg) if isinstance(cfg, int | float) and math.isfinite(cfg) else None,
            model=model_name(self._guider.model_patcher),
            host=f"ComfyUI {__version__}",
            extra={
                "latent_hash": fingerprint(picture_of(latent, self._latent)),
                # a video with sound decodes to other numbers of frames than `geometry.frames` pairs
                **({FRAMES: self._frames} if self._frames > 1 and self._sampled == self._latent else {}),
                **({INPAINT_FROM: source} if (source := self._inpaint_mask[1]) not in ("", RECORD) else {}),
                **origin(len(self._conditionings.pictures), self._conditionings.given_pictures),
                **({PATCHES: laid} if (laid := patched(self._guider.model_patcher)) else {}),
                **{a.name: a.about for a in self._conditionings.adapters},
            },
            default_layers=default_layers_of(model).names,
        )
