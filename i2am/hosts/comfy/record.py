"""Records a ComfyUI sampler: wraps a model's calls, watches what its cross-attention projects, and changes nothing.

Keyed wrappers lie on the model patcher; they open a run around a sampler's work, name every row of a call by the
conditioning that it belongs to, and put observers into that one call's options, behind whatever other packs put there.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...errors import I2AMError, LayoutError, RecordingError
from ...geometry.layout import Layout, suggest
from ...maps.facts import RunInfo
from ...maps.value import AttributionMaps
from ...models.carried import Carried, carried_by
from ...recording.recorder import BUDGET, Recorder
from ..registry import REGISTRY, bare, fingerprint
from .adapters import Adapter, Key, adapters_of, with_adapters
from .call import Call, Rows
from .unet import GARMENT, WARPS, check_layers, token_widths

log = logging.getLogger("i2am")

SAMPLE_ARGUMENTS = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask", "callback", "disable_pbar", "seed")
"""The arguments of a guider's `outer_sample`, in their order."""
APPLY_ARGUMENTS = ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options")
"""The arguments of a model's `apply_model`, in their order."""
BRANCH_OF = {"positive": "cond", "negative": "uncond"}
BY_SIGMA = ("dpm_fast_function", "dpm_adaptive_function")
"""Samplers whose callback counts no steps of the schedule: a step is found by its sigma."""


@dataclass(frozen=True)
class Options:
    """What to record.

    Attributes:
        pairwise, groups, layers, branches, budget, inpaint_mask: as for `Recorder`.
        layout: what the keys are; None: what the conditioning carries.
    """

    pairwise: str | None = "mean"
    groups: int = 5
    layers: tuple[str, ...] | None = None
    branches: tuple[str, ...] = ("cond",)
    budget: int = BUDGET
    inpaint_mask: Tensor | None = None
    layout: Layout | None = None

    @property
    def key(self) -> str:
        """A name for these options: recordings of one name give the same maps of the same run."""
        mask = None if self.inpaint_mask is None else fingerprint(self.inpaint_mask)
        return repr(replace(self, inpaint_mask=None)) + repr(mask)


class ComfyRecording:
    """What a recording node hands on beside its model: finds the maps of a latent that a recorded sampler gave."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.name = uuid.uuid4().hex
        self.runs: list[_Run] = []
        self.remark = "no sampler has done a step with this recording's MODEL yet"

    def maps_of(self, latent: Tensor) -> AttributionMaps:
        """The maps of the run that gave ``latent``, (B, C, h, w) as the sampler's node put it out.

        Raises:
            RecordingError: no recorded run gave it.
            I2AMError: the run's recording stopped with this error.
        """
        found = REGISTRY.find(fingerprint(latent), self.name, self.options.key)
        if found is None:
            raise RecordingError(
                f"no recorded run gave this latent ({self.remark}): connect the LATENT of the sampler itself, before any node "
                f"that edits it, and give that sampler the MODEL of this recording's node; if the graph was not changed, the "
                f"maps were dropped to free memory: change the seed and run again"
            )
        if isinstance(found, I2AMError):
            raise bare(found)
        return found


def attach(model: Any, options: Options) -> tuple[Any, ComfyRecording]:
    """A clone of a ModelPatcher that records every sampler's run, and the recording.

    Raises:
        RecordingError: the model is no U-Net, or has no layer of a name that the options ask for.
    """
    from comfy.patcher_extension import WrappersMP

    network = getattr(getattr(model, "model", None), "diffusion_model", None)
    if network is None:
        raise RecordingError(f"model got a {type(model).__name__}, which is no MODEL; connect that of the model's loader")
    if not hasattr(network, "input_blocks"):
        raise RecordingError(
            f"this MODEL is a {type(network).__name__}, and only U-Nets (SD1.5, SD2, SDXL and models built like them) can be "
            f"recorded so far; connect one of those"
        )
    beside = WARPS if GARMENT in getattr(model, "additional_models", {}) else ()
    check_layers(network, options.layers or (), beside)
    recording = ComfyRecording(options)
    model = model.clone()

    # closures, not methods: some hosts deep-copy what lies in a model's options, and would copy a method's owner too
    def outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(SAMPLE_ARGUMENTS, args)), **kwargs}
        run = _Run(recording, executor.class_obj, given)
        told = given.get("callback")

        def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            run.after_step(step, denoised)
            if told is not None:
                told(step, denoised, x, total)

        recording.runs.append(run)
        try:
            out = executor(*(callback if n == "callback" else value for n, value in zip(SAMPLE_ARGUMENTS, args)), **kwargs)
        except BaseException as error:
            run.failed(error)
            raise
        else:
            run.ended(out)
            return out
        finally:
            recording.runs.remove(run)

    def predict_noise(executor: Any, *args: Any, **kwargs: Any) -> Any:
        if recording.runs:
            recording.runs[-1].next_evaluation(args[1] if len(args) > 1 else kwargs["timestep"])
        return executor(*args, **kwargs)

    def calc_cond_batch(executor: Any, called: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
        if recording.runs:
            recording.runs[-1].name_rows(called, conds, args[2] if len(args) > 2 else kwargs["model_options"])
        return executor(called, conds, *args, **kwargs)

    def apply_model(executor: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(APPLY_ARGUMENTS, args)), **kwargs}
        call = recording.runs[-1].call_of(given) if recording.runs else None
        if call is None:
            return executor(*args, **kwargs)
        watched = call.watching(given["transformer_options"])
        if len(args) >= len(APPLY_ARGUMENTS):
            args = tuple(watched if n == "transformer_options" else value for n, value in zip(APPLY_ARGUMENTS, args))
            return executor(*args, **kwargs)
        return executor(*args, **{**kwargs, "transformer_options": watched})

    key = f"i2am-{recording.name}"
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, key, outer_sample)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, key, predict_noise)
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, key, calc_cond_batch)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, key, apply_model)
    return model, recording


class _Run:
    """One sampler's work, from its first evaluation to its latent."""

    def __init__(self, recording: ComfyRecording, guider: Any, given: dict[str, Any]) -> None:
        self.recording, self.options, self.guider = recording, recording.options, guider
        self.sigmas = [float(s) for s in given["sigmas"]]
        self.seed = given.get("seed")
        self.latent = tuple(given["noise"].shape)
        self.sampler = getattr(getattr(given["sampler"], "sampler_function", given["sampler"]), "__name__", "")
        self.by_sigma = self.sampler in BY_SIGMA
        self.steps = len(self.sigmas) - 1
        self.step, self.done = 0, 0
        self.rows: dict[Any, Rows] = {}
        self.seen: set[str] = set()
        self.notes: list[str] = []
        self.error: I2AMError | None = None
        self.carried: dict[str, Carried] = {}
        self.adapters: tuple[Adapter, ...] = ()
        self.recorder: Recorder | None = None
        self.denoised: Tensor | None = None
        self.lock = threading.Lock()

    # ------------------------------------------------------------------ what a sampler's run is made of

    def next_evaluation(self, sigma: Tensor) -> None:
        """The guider is about to be asked for one prediction."""
        self.seen.clear()
        if self.by_sigma:
            now = float(sigma.max())
            step = max((i for i in range(self.steps) if self.sigmas[i] >= now * (1 - 1e-5)), default=0)
            if step != self.step:
                self._end_step()
                self.step = step

    def after_step(self, step: int, denoised: Tensor) -> None:
        """The sampler says that a step is over; what was evaluated last belongs to it."""
        self.denoised = denoised
        if not self.by_sigma:
            self.step = step
            self._end_step()
            self.step = step + 1

    def _end_step(self) -> None:
        if self.recorder is not None and self.error is None:
            with self.guard():
                self.recorder.end_step(self.step)
                self.done += 1

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Errors of the recording end a run that has done no step yet; later they only end its recording."""
        try:
            yield
        except I2AMError as error:
            if self.done == 0:
                raise
            self.error = bare(error)
            if self.recorder is not None:
                self.recorder.abandon()
            log.warning("the recording stopped: %s", error)

    def name_rows(self, called: Any, conds: list[Any], model_options: dict[str, Any]) -> None:
        """Before a batch of conditionings is evaluated: which is whose, and what its tokens are."""
        if self.error is not None:
            return
        if not self.rows and self.options.layout is None:
            self.adapters = adapters_of(model_options.get("transformer_options", {}))
        foreign = called is not getattr(self.guider, "inner_model", called)
        roles = {id(entries): BRANCH_OF.get(role, role) for role, entries in self.guider.conds.items()}
        with self.guard():
            for entries in conds:
                if entries is None:
                    continue
                branch = "uncond" if foreign else roles.get(id(entries))
                if branch in self.options.branches:
                    self._name(branch, entries)

    def _name(self, branch: str, entries: list[dict[str, Any]]) -> None:
        """Choose the entry of a role that is recorded: the first with reference tokens on the whole picture."""
        lengths = []
        chosen: Rows | None = None
        limited = False
        for entry in entries:
            context = entry["model_conds"].get("c_crossattn")
            tokens = 0 if context is None else int(context.cond.shape[1])
            lengths.append(tokens)
            carried = carried_by(entry)
            told = self.options.layout or (None if carried is None else carried.layout)
            layout = with_adapters(told, self.adapters)
            if layout is None or "area" in entry:
                limited |= layout is not None
                continue
            if carried is not None:
                self._check_fit(entry)
            if chosen is not None:
                self.note(f"{branch} has several conditionings with reference tokens; the first is recorded")
                break
            layers = {} if carried is None or self.options.layout is not None else carried.layers
            chosen = self.rows[entry["uuid"]] = Rows(branch, layout, tokens, layers)
            if carried is not None:
                self.carried[branch] = carried
        if chosen is None and limited:
            raise LayoutError(
                f"the {branch} conditioning's reference tokens are limited to an area of the picture, and only those for the "
                f"whole of it can be recorded; leave out the node that sets the area"
            )
        if chosen is None:
            seen = " and ".join(str(n) for n in lengths) or "no"
            raise LayoutError(
                f"the {branch} conditioning carries no layout of reference tokens (its context has {seen} "
                f"token{'' if lengths == [1] else 's'}{suggest(lengths[0]) if lengths else ''}); text prompts have none: use "
                f"I²AM Try-On Conditioning or an IPAdapter, or set reference_tokens on I²AM Record to 'rows x columns', and "
                f"its rows, columns and leading_tokens to what the reference's encoder gives"
            )

    @cached_property
    def _widths(self) -> set[int]:
        return token_widths(self.guider.model_patcher.model.diffusion_model)

    def _check_fit(self, entry: dict[str, Any]) -> None:
        """Refuse a conditioning of ours that was made for another model or latent, before the model fails at it."""
        context, beside = (entry["model_conds"].get(name) for name in ("c_crossattn", "c_concat"))
        if context is not None and self._widths and context.cond.shape[-1] not in self._widths:
            raise RecordingError(
                f"the reference's tokens have {context.cond.shape[-1]} numbers each, but this MODEL attends to tokens of "
                f"{' or '.join(map(str, sorted(self._widths)))}; connect the MODEL that belongs to the conditioning's encoder"
            )
        if beside is not None and beside.cond.shape[-2:] != self.latent[-2:]:
            made, got = (" x ".join(map(str, size)) for size in (beside.cond.shape[-2:], self.latent[-2:]))
            raise RecordingError(
                f"the conditioning was made for a latent of {made} cells, but the sampler got one of {got}; connect the LATENT "
                f"of I²AM Try-On Conditioning"
            )

    def note(self, note: str) -> None:
        """Add a remark for the reader, once."""
        if note not in self.notes:
            self.notes.append(note)

    def softmax_of(self, adapter: Key) -> int | None:
        """Which softmax of a layer an adapter's is; None: it came after the run began."""
        return next((i for i, known in enumerate(self.adapters, 1) if known.key == adapter), None)

    def call_of(self, given: dict[str, Any]) -> Call | None:
        """What to watch in one call of the model; None: nothing."""
        options = given.get("transformer_options") or {}
        conditionings = options.get("uuids")
        if not conditionings or self.error is not None:
            return None
        if tuple(given["x"].shape[-2:]) != self.latent[-2:]:
            self.note("conditionings that are limited to an area are not recorded")
            return None
        rows = [self.rows.get(name) for name in conditionings]
        # a second evaluation within one prediction (SAG, PAG) looks at a spoilt picture or model
        wanted = [r if r is not None and r.branch not in self.seen else None for r in rows]
        if not any(wanted):
            return None
        self.seen |= {r.branch for r in wanted if r is not None}
        return Call(self, wanted)

    def open_recorder(self) -> Recorder:
        """The run's recorder, made at its first call."""
        with self.lock:
            if self.recorder is None:
                told = self.carried.get("cond")
                size = None if told is None else told.generated_size
                # a negative with a real reference is no "no reference"; what other packs put there is unknown
                null = [b for b in self.options.branches if b != "cond" and (b not in self.carried or self.carried[b].null)]
                self.recorder = Recorder(
                    next(iter(self.rows.values())).layout_of,
                    steps=self.steps,
                    images=self.latent[0],
                    branches=self.options.branches,
                    layers=self.options.layers,
                    pairwise=self.options.pairwise,
                    groups=self.options.groups,
                    budget=self.options.budget,
                    inpaint_mask=self.options.inpaint_mask,
                    generated_size=size or (8 * self.latent[-2], 8 * self.latent[-1]),
                    null_branches=null,
                )
            return self.recorder

    # ------------------------------------------------------------------ its end

    def failed(self, error: BaseException) -> None:
        """The run was interrupted or broke: nothing of it stays."""
        if self.recorder is not None:
            self.recorder.abandon()
        self.recording.remark = f"the last recorded run did not end: {type(error).__name__}: {error}".rstrip(": ")

    def ended(self, latent: Any) -> None:
        """The run gave its latent: file what was recorded under it."""
        result: AttributionMaps | I2AMError
        try:
            if self.error is not None:
                raise self.error
            if self.recorder is None:
                raise RecordingError(
                    f"the sampler never evaluated {' or '.join(self.options.branches)} with this MODEL, so there are no maps; "
                    f"with cfg 1 it evaluates cond alone: check branch on I²AM Record, and the sampler's cfg"
                )
            if self.by_sigma:
                self._end_step()
            told = self.carried.get("cond")
            result = self.recorder.finish(self._info(latent), None if told is None else told.thumbnails, self.notes)
        except I2AMError as error:
            log.warning("nothing was recorded: %s", error)
            result = bare(error)
        REGISTRY.put(self._fingerprints(latent), self.recording.name, self.options.key, result)
        self.recording.remark = "its last run gave another one"

    def _fingerprints(self, latent: Tensor) -> set[str]:
        """The latent as the sampler gives it, as the host may cast it, and the last denoised one beside it."""
        import comfy.model_management as management

        shown = [latent]
        if self.denoised is not None:
            shown.append(self.guider.model_patcher.model.process_latent_out(self.denoised.detach().cpu()))
        if hasattr(management, "intermediate_dtype"):
            shown += [t.to(management.intermediate_dtype()) for t in shown]
        return {fingerprint(t) for t in shown}

    def _info(self, latent: Tensor) -> RunInfo:
        from comfyui_version import __version__

        model = self.guider.model_patcher.model
        sigmas = torch.tensor(self.sigmas[: self.steps])
        cfg = getattr(self.guider, "cfg", None)
        return RunInfo(
            steps=self.steps,
            sigmas=tuple(sigmas.tolist()),
            timesteps=tuple(float(t) for t in model.model_sampling.timestep(sigmas.to(model.model_sampling.sigmas)).cpu()),
            seed=None if self.seed is None else int(self.seed),
            sampler=self.sampler.removeprefix("sample_").removesuffix("_function"),
            cfg=None if cfg is None else float(cfg),
            model=type(model).__name__,
            host=f"ComfyUI {__version__}",
            extra={"latent_hash": fingerprint(latent), **{adapter.name: adapter.about for adapter in self.adapters}},
        )
