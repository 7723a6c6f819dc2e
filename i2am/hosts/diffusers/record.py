"""Records a diffusers model: watches its attention during a `with` block, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from torch import Tensor

from ...errors import RecordingError
from ...geometry.layout import Layout
from ...maps.value import AttributionMaps
from .kinds import network_of
from .network import Attentions, Network
from .run import Run, Settings
from .watching import watch_calls


def record(
    model: Any,
    layout: Layout | Callable[[str], Layout] | None = None,
    *,
    steps: int | None = None,
    branches: Sequence[str] | None = None,
    images: int = 1,
    keep: Sequence[str] = ("cond",),
    timesteps: Sequence[float] | None = None,
    scheduler: Any = None,
    generated_size: tuple[int, int] | None = None,
    info: dict[str, Any] | None = None,
    thumbnails: dict[str, Tensor] | None = None,
    **options: Any,
) -> DiffusersRecording:
    """A context manager that records every cross-attention call of a U-Net while it is entered.

    Example::

        recording = record(pipeline, Layout.of(TokenGrid(16, 16, leading=1)))
        with recording:
            picture = pipeline(...)
        heat = ulam(recording.maps, "R2G")

    Args:
        model: a `UNet2DConditionModel`, or a pipeline that has one as ``unet``.
        layout: what the keys of a call are; or a function from layer name to that. None: what IP-Adapters attend to, each
            with a softmax of its own.
        steps: T, the number of steps of the whole schedule; None: the scheduler's.
        branches: the order of the rows of a batch (branch-major) or, where the halves of classifier-free
            guidance are separate calls, of the calls of a step; ``("cond",)`` without guidance. None: as the pipeline has
            them at each call; ``("uncond", "cond")`` for a bare U-Net.
        images: images in the batch.
        keep: the branches to record.
        timesteps: the timesteps of a loop of your own; lets steps keep their number in runs that start late. Without them
            and without a scheduler a new timestep is a new step.
        scheduler: the scheduler of a loop of your own, which tells steps whose timesteps are equal; a pipeline's is known.
        generated_size: (H, W) of the picture in pixels; default: the latent times the pipeline's factor, or 8.
        info: facts about the run for `RunInfo`: seed, sampler, cfg, model, extra.
        thumbnails: small pictures to keep with the maps, (H, W, 3) uint8.
        **options: of `Recorder`: layers, pairwise, groups, budget, inpaint_mask, null_branches, chunk_bytes.

    Raises:
        RecordingError: ``model`` has no such U-Net, or a compiled one.
    """
    network = network_of(model)
    settings = Settings(
        layout,
        steps=steps,
        branches=None if branches is None else tuple(branches),
        images=images,
        keep=tuple(keep),
        timesteps=None if timesteps is None else [float(t) for t in timesteps],
        scheduler=scheduler,
        generated_size=generated_size,
        info=info or {},
        thumbnails=thumbnails,
        options=options,
    )
    return DiffusersRecording(model, network, settings)


class DiffusersRecording:
    """See `record`. Can be entered again: every `with` records one run and starts clean."""

    def __init__(self, model: Any, network: Network, settings: Settings) -> None:
        self._model, self._network, self._settings = model, network, settings
        self._stack: ExitStack | None = None
        self._run: Run | None = None
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
        self._network = network_of(self._model)  # it may have been replaced or compiled since
        self._run = Run(self._model, self._network, self._settings)
        with ExitStack() as stack:  # an error in here undoes what was done
            watch_calls(self._network.module, self._before, stack, anywhere=True)
            self._network.watch(self._observe, stack)
            self._stack = stack.pop_all()
        return self

    def _before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert self._run is not None
        self._run.before_evaluation(args, kwargs)

    def _observe(self, layer: str, attentions: Attentions) -> None:
        assert self._run is not None
        self._run.observe(layer, attentions)

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None) -> None:
        assert self._stack is not None
        assert self._run is not None
        self._stack.close()
        run, self._stack, self._run = self._run, None, None
        if kind is not None:
            run.abandon()
            return
        self._maps = run.finish()
