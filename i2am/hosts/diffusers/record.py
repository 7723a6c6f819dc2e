"""Records a diffusers U-Net: watches what its attention processors project, and changes nothing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout
from ...maps.facts import RunInfo
from ...maps.value import AttributionMaps
from ...recording.recorder import Recorder
from ..registry import fingerprint

log = logging.getLogger("i2am")

PROJECTIONS = ("to_q", "to_k", "to_v")
OUTPUT = "output"


def record(
    model: Any,
    layout: Layout | Callable[[str], Layout],
    *,
    steps: int,
    branches: Sequence[str] = ("uncond", "cond"),
    images: int = 1,
    keep: Sequence[str] = ("cond",),
    timesteps: Sequence[float] | None = None,
    generated_size: tuple[int, int] | None = None,
    info: dict[str, Any] | None = None,
    thumbnails: dict[str, Tensor] | None = None,
    **options: Any,
) -> DiffusersRecording:
    """A context manager that records every cross-attention call of a U-Net while it is entered.

    Example:
        >>> recording = record(pipeline, Layout.of(TokenGrid(16, 16, leading=1)), steps=50)
        >>> with recording:
        ...     picture = pipeline(...)
        >>> heat = ulam(recording.maps, "R2G")

    Args:
        model: a `UNet2DConditionModel`, or a pipeline that has one as ``unet``.
        layout: what the keys of a call are; or a function from layer name to that.
        steps: T, the scheduler's number of steps.
        branches: the order of the rows of a batch (branch-major) or, where the halves of classifier-free
            guidance are separate calls, of the calls of a step; ``("cond",)`` without guidance.
        images: images in the batch.
        keep: the branches to record.
        timesteps: the scheduler's timesteps; lets steps keep their number in runs that start late. Without it a new
            timestep is a new step.
        generated_size: (H, W) of the picture in pixels; default: the latent times the pipeline's factor, or 8.
        info: facts about the run for `RunInfo`: seed, sampler, cfg, model, extra.
        thumbnails: small pictures to keep with the maps, (H, W, 3) uint8.
        **options: of `Recorder`: layers, pairwise, groups, budget, inpaint_mask, null_branches, chunk_bytes.

    Raises:
        RecordingError: ``model`` has no such U-Net.
    """
    return DiffusersRecording(
        model,
        layout,
        steps=steps,
        branches=tuple(branches),
        images=images,
        keep=tuple(keep),
        timesteps=None if timesteps is None else [float(t) for t in timesteps],
        generated_size=generated_size,
        info=info or {},
        thumbnails=thumbnails,
        options=options,
    )


class DiffusersRecording:
    """See `record`. Can be entered again: every `with` records one run and starts clean."""

    def __init__(
        self,
        model: Any,
        layout: Layout | Callable[[str], Layout],
        *,
        steps: int,
        branches: tuple[str, ...],
        images: int,
        keep: tuple[str, ...],
        timesteps: list[float] | None,
        generated_size: tuple[int, int] | None,
        info: dict[str, Any],
        thumbnails: dict[str, Tensor] | None,
        options: dict[str, Any],
    ) -> None:
        from diffusers import UNet2DConditionModel

        unet = getattr(model, "unet", model)
        if not isinstance(unet, UNet2DConditionModel):
            raise RecordingError(
                f"expected a diffusers UNet2DConditionModel or a pipeline with one, got {type(model).__name__}"
            )
        missing = [b for b in keep if b not in branches]
        if missing or len(set(branches)) != len(branches):
            raise RecordingError(f"branches to keep {keep} must be among the run's branches {branches}, each named once")
        self._model, self._unet = model, unet
        self._layout, self._options = layout, options
        self._steps, self._branches, self._images, self._keep = steps, branches, images, keep
        self._known = timesteps
        self._generated_size, self._info, self._thumbnails = generated_size, info, thumbnails
        self._stack: ExitStack | None = None
        self._maps: AttributionMaps | None = None

    @property
    def maps(self) -> AttributionMaps:
        """The maps of the last run that ended well.

        Raises:
            RecordingError: none has.
        """
        if self._maps is None:
            raise RecordingError("there are no maps yet: run the model inside the `with` block, to its end")
        return self._maps

    def __enter__(self) -> DiffusersRecording:
        if self._stack is not None:
            raise RecordingError("this recording is running already; leave its `with` block first, or make another one")
        self._maps = None
        self._recorder: Recorder | None = None
        self._visited: list[float] = []
        self._step, self._calls, self._input = -1, 0, ""
        self._rows: dict[str, slice] = {}
        self._latent = (0, 0)
        with ExitStack() as stack:  # what breaks off in here leaves nothing behind
            handle = self._unet.register_forward_pre_hook(self._before, with_kwargs=True)
            stack.callback(handle.remove)
            for layer, module in self._cross_attentions():
                _Watch(self, layer, module, stack)
            self._stack = stack.pop_all()
        return self

    def _cross_attentions(self) -> list[tuple[str, Any]]:
        """Layer names and modules; blocks with ``only_cross_attention`` have two.

        Raises:
            RecordingError: the U-Net has none.
        """
        found, mixed = [], 0
        for name, module in self._unet.named_modules():
            cross = getattr(module, "is_cross_attention", None)
            if name.endswith(".attn2") and cross is not False:
                found.append((_layer_name(name), module))
            elif name.endswith(".attn1") and cross:
                found.append((name, module))
            elif getattr(module, "added_kv_proj_dim", None) is not None:
                mixed += 1
        if not found:
            what = (
                "mixes the reference's keys with its own self-attention's in one softmax (as Kandinsky 2 and DeepFloyd IF do)"
            )
            why = f"every attention layer of this U-Net {what}, which is not recorded" if mixed else "this U-Net has none"
            raise RecordingError(f"there is no cross-attention to record: {why}")
        if mixed:
            log.warning("%d layers attend to the reference and to themselves in one softmax; they are left out", mixed)
        return found

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None) -> None:
        assert self._stack is not None
        self._stack.close()
        self._stack = None
        recorder, self._recorder = self._recorder, None
        if kind is not None:
            if recorder is not None:
                recorder.abandon()
            return
        if recorder is None:
            raise RecordingError("the model was not called inside the `with` block, so nothing was recorded")
        recorder.end_step(self._step)
        self._maps = recorder.finish(self._run_info(), self._thumbnails)

    def _run_info(self) -> RunInfo:
        scheduler = getattr(self._model, "scheduler", None)
        alphas = getattr(scheduler, "alphas_cumprod", None)
        sigmas: tuple[float, ...] = ()
        times = self._visited if self._known is None else list(dict.fromkeys(self._known))  # one a step, by number
        if alphas is not None:
            index = torch.tensor(times).round().long().clamp(0, len(alphas) - 1)
            sigmas = tuple((((1 - alphas[index]) / alphas[index]) ** 0.5).tolist())
        facts: dict[str, Any] = {"sampler": type(scheduler).__name__ if scheduler is not None else "", "sigmas": sigmas}
        extra = {"input_hash": self._input, **self._info.get("extra", {})}
        return RunInfo(
            **{**facts, **self._info, "extra": extra, "steps": self._steps, "timesteps": tuple(times), "host": "diffusers"}
        )

    def _before(self, _unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before every evaluation of the U-Net: which step, which rows are which branch."""
        sample = args[0] if args else kwargs["sample"]
        time = args[1] if len(args) > 1 else kwargs["timestep"]
        now = float(time.flatten()[0]) if isinstance(time, Tensor) else float(time)
        self._latent = (sample.shape[-2], sample.shape[-1])
        if not self._visited or now != self._visited[-1]:
            if self._recorder is not None:
                self._recorder.end_step(self._step)
            self._visited.append(now)
            self._step, self._calls = self._step_of(now), 0
        self._rows = self._split(sample.shape[0])
        if self._recorder is None:
            self._input = fingerprint(sample)
            self._recorder = Recorder(
                self._layout,
                steps=self._steps,
                images=self._images,
                branches=self._keep,
                generated_size=self._generated_size or self._picture_size(),
                **self._options,
            )

    def _picture_size(self) -> tuple[int, int]:
        factor = int(getattr(self._model, "vae_scale_factor", 8))
        return self._latent[0] * factor, self._latent[1] * factor

    def _step_of(self, now: float) -> int:
        if self._known is None:
            return self._step + 1
        distinct = list(dict.fromkeys(self._known))
        if now not in distinct:
            raise RecordingError(
                f"the model was called at timestep {now:g}, which is not among the {len(distinct)} given; give the scheduler's "
                f"own `timesteps`, or none"
            )
        return distinct.index(now)

    def _split(self, rows: int) -> dict[str, slice]:
        n, b = self._images, len(self._branches)
        if rows == n * b:
            return {name: slice(i * n, (i + 1) * n) for i, name in enumerate(self._branches)}
        if rows == n:
            branch = self._branches[self._calls % b]
            self._calls += 1
            return {branch: slice(0, n)}
        raise RecordingError(
            f"the model was called with {rows} rows, expected {n * b} ({n} images x branches {', '.join(self._branches)}) or "
            f"{n} a call; set `images` and `branches` to what the pipeline does"
        )

    def _observe(self, layer: str, attn: Any, seen: dict[str, Tensor], twice: set[str], mask: Tensor | None) -> None:
        """After one call of one layer's processor."""
        assert self._recorder is not None
        if not self._recorder.wants(layer):
            return
        if "to_q" not in seen or "to_k" not in seen:
            raise RecordingError(
                f"the attention processor of layer {layer!r} did not project queries and keys through the layer's own "
                f"to_q and to_k, so they cannot be seen; remove that processor, or leave the layer out with `layers`"
            )
        if twice - {"to_q"}:
            raise RecordingError(
                f"the attention processor of layer {layer!r} used {' and '.join(sorted(twice))} twice in one call; which keys "
                f"are the reference's is then unknown: leave the layer out with `layers`"
            )
        split = {name: _heads(t, attn.heads) for name, t in seen.items()}
        output = split.get(OUTPUT)
        grid = grid_of(layer, self._latent, split["to_q"].shape[2])
        if mask is not None:
            mask = _prepared(mask, attn, split["to_k"])
        for branch, rows in self._rows.items():
            self._recorder.observe(
                layer,
                grid,
                self._step,
                branch,
                split["to_q"][rows],
                split["to_k"][rows],
                split["to_v"][rows] if "to_v" in split else None,
                scale=attn.scale,
                mask=None if mask is None else mask[rows],
                output=None if output is None else output[rows],
                middle=layer.startswith("mid_block"),
            )


class _Watch:
    """Wraps the processor of one cross-attention layer until the stack closes."""

    def __init__(self, recording: DiffusersRecording, layer: str, attn: Any, stack: ExitStack) -> None:
        inner = attn.processor
        seen: dict[str, Tensor] = {}
        twice: set[str] = set()

        def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            def hook(_module: nn.Module, _args: Any, out: Tensor) -> None:
                if name in seen:
                    twice.add(name)
                seen[name] = out.detach()

            return hook

        def call(self: Any, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.ended:
                return inner(attn, hidden_states, *args, **kwargs)
            seen.clear()
            twice.clear()
            try:
                out = inner(attn, hidden_states, *args, **kwargs)
                mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
                recording._observe(layer, attn, seen, twice, mask)
            finally:
                seen.clear()
            return out

        # the host passes on only those keyword arguments that it finds in a processor's signature
        parameters = list(inspect.signature(inner.__call__).parameters.values())
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        call.__signature__ = inspect.Signature([first, *_after_self(parameters)])  # type: ignore[attr-defined]
        watch: Any = type("Watch", (), {"__call__": call})()
        watch.inner, watch.ended = inner, False
        for name, module in _projections(attn):
            stack.callback(module.register_forward_hook(keep(name)).remove)
        if _is_plain(inner):

            def attended(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
                if args[0].dtype == torch.float32:  # the maps are free of a shorter one's rounding
                    seen[OUTPUT] = args[0].detach()

            stack.callback(attn.to_out[0].register_forward_pre_hook(attended).remove)
        attn.set_processor(watch)

        def restore() -> None:
            watch.ended = True
            if attn.processor is watch:
                behind = inner
                while getattr(behind, "ended", False):  # an outer recording that ended before this one
                    behind = behind.inner
                attn.set_processor(behind)
            elif not hasattr(attn.processor, "ended"):
                log.warning("the processor of %s was replaced while it was recorded; the new one stays", layer)

        stack.callback(restore)


def _is_plain(processor: Any) -> bool:
    """Whether a processor hands the attention's output to the layer's `to_out` as it is; others may have added to it."""
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    return type(processor) in (AttnProcessor, AttnProcessor2_0)


def _layer_name(module: str) -> str:
    """A layer's name from that of its ``attn2``; StableVITON's warp blocks are "warp.0" to "warp.8", as in every host."""
    name = module.removesuffix(".attn2")
    return ".".join(name.split(".")[:2]) if name.startswith("warp.") else name


def _after_self(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """A signature's parameters in an order that a `Signature` takes after a positional-only one."""
    return [p for p in parameters if p.name != "self"]


def _projections(attn: Any) -> list[tuple[str, nn.Module]]:
    """The modules whose outputs are q, k and v as attention uses them: after a norm of q or k where there is one."""
    # by the processor, not by the flag, which stays set after unfusing
    if "Fused" in type(attn.processor).__name__:
        raise RecordingError("this U-Net's projections are fused; call unfuse_qkv_projections() before recording")
    found = []
    for name in PROJECTIONS:
        norm = getattr(attn, name.replace("to_", "norm_"), None)
        module = norm if norm is not None else getattr(attn, name, None)
        if module is not None:
            found.append((name, module))
    return found


def _heads(t: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) to (B, heads, N, d); a normed projection is already split."""
    if t.ndim == 4:
        return t
    return t.unflatten(2, (heads, -1)).transpose(1, 2)


def _prepared(mask: Tensor, attn: Any, keys: Tensor) -> Tensor:
    """A call's mask, (B, N or 1, S) or already one for each head, as processors use it: (B, heads, N or 1, S)."""
    rows, _, count, _ = keys.shape
    mask = attn.prepare_attention_mask(mask, count, rows)
    return mask.reshape(rows, attn.heads, -1, mask.shape[-1])


def grid_of(layer: str, latent: tuple[int, int], tokens: int) -> tuple[int, int]:
    """The (rows, columns) of a layer: the latent's, halved (rounding up) until the token count fits.

    Raises:
        LayoutError: no number of halvings gives the count.
    """
    rows, columns = latent
    while rows * columns > tokens:
        rows, columns = -(-rows // 2), -(-columns // 2)
    if rows * columns != tokens:
        raise LayoutError(
            f"layer {layer!r} has {tokens} tokens, which is not the {latent[0]} x {latent[1]} latent halved any number of "
            f"times; leave it out with `layers`"
        )
    return rows, columns
