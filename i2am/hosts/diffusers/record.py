"""Records a diffusers model: watches its attention during a `with` block, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from PIL import Image
from torch import Tensor

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout, layout_for
from ...geometry.masks import MaskLike
from ...geometry.words import Word, words_of
from ...interventions.plan import Cut
from ...maps.value import AttributionMaps
from .checks import check_options, facts_of, names_of, pictures_of
from .kinds import network_of
from .network import Attentions, Network
from .run import Run, Settings
from .stitched import Stitched
from .watching import watch_calls

NO_LAYERS: tuple[str, ...] = ("",)
"""What `intervene` records."""


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
    thumbnails: Mapping[str, Tensor | Image.Image] | None = None,
    every: int = 1,
    cuts: Sequence[Cut] = (),
    words: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    reference_parts: str | Sequence[Any] = (),
    canvas_mask: MaskLike | None = None,
    redux: bool = False,
    **options: Any,
) -> DiffusersRecording:
    """A context manager that records every attention to a reference while it is entered.

    Example, a U-Net that attends to 257 tokens of a CLIP encoder::

        recording = record(pipeline, Layout.of(TokenGrid(16, 16, leading=1)))
        with recording:
            picture = pipeline(...)
        heat = ulam(recording.maps, "R2G")

    Example, FLUX.2 with two references, whose transformer says itself what its tokens are::

        recording = record(pipeline)
        with recording:
            picture = pipeline(image=[room, chair], prompt="put the chair into the room").images[0]
        used = ulam(recording.maps, "G2R", Choice(reference=1))  # what was used of the chair

    Args:
        model: a `UNet2DConditionModel`, or a pipeline that has one as ``unet``; or a transformer of a family of `FAMILIES` in
            `i2am.hosts.diffusers.joint`, or Wan 2.1's for image-to-video, or a pipeline that has one as ``transformer``.
        layout: of a U-Net, what the keys of a call are; or a function from layer name to that. None: what IP-Adapters attend
            to, each with a softmax of its own. Transformers take none.
        steps: T, the number of steps of the whole schedule; None: the scheduler's.
        branches: the order of the rows of a batch (branch-major) or, where the halves of classifier-free
            guidance are separate calls, of the calls of a step; ``("cond",)`` without guidance. None: as the pipeline has
            them at each call; ``("uncond", "cond")`` for a bare U-Net; with joint attention a call for each, cond first (a loop
            of your own that evaluates uncond first has to say so), where a call without references is not cond's.
        images: images in the batch; of videos, how many there are, each frame of whose latent is then an image of the maps.
        keep: the branches to record.
        timesteps: the timesteps of a loop of your own, as the model is given them; lets steps keep their number in runs that
            start late. Without them and without a scheduler a new timestep is a new step.
        scheduler: the scheduler of a loop of your own, which tells steps whose timesteps are equal; a pipeline's is known.
        generated_size: (H, W) of the picture in pixels; default: the latent times the pipeline's factor, or the factor
            of the family's own autoencoder.
        info: facts about the run for `RunInfo`: seed, sampler, cfg, model, extra.
        thumbnails: small pictures to keep with the maps: Pillow pictures, or (H, W, 3) uint8.
        every: record one step of every so many, evenly spread over the schedule, for that part of the cost; maps are then means
            over these steps. 1: all.
        cuts: what is cut in the run, which is then another one; its maps are those of the cut run. See `intervene`.
        words: with joint attention, the strings of all tokens of the text, in their order, such as
            ``tokenizer.convert_ids_to_tokens(ids)`` gives them; or those of each branch, {"cond": ..., "uncond": ...}. They
            name the maps of words (``word_maps=True``, see `word_shares`).
        reference_parts: with joint attention, where several pictures are stitched into one reference: the rectangle of each,
            (left, top, right, bottom) in fractions of the stitched picture; of several references a list for each. Without
            references, where reference and result lie on one canvas: the parts of it that are references.
        canvas_mask: of such a canvas, what is made, 1 or white inside: the ``mask_image`` of an inpainting pipeline. FLUX.1
            Fill is given a mask of its own and takes none.
        redux: of FLUX.1, whether the prompt is that of `FluxPriorReduxPipeline`, whose last tokens are a picture: the first
            reference.
        **options: of `Recorder`: layers, pairwise, groups, budget, inpaint_mask, null_branches, chunk_bytes; with joint
            attention also stride, cells, via_text, word_maps and word_layers.

    Raises:
        RecordingError: ``model`` has no such U-Net or transformer, or a compiled one; or an option is unknown or cannot be.
        LayoutError: ``layout`` is neither a layout nor a function, ``words`` are no strings of tokens, or ``reference_parts``
            no rectangles.
        MaskError: ``canvas_mask`` is no mask.
    """
    network = network_of(model)
    check_options(options)
    if layout is not None:
        layout = layout_for(layout)
    settings = Settings(
        layout,
        steps=steps,
        branches=None if branches is None else names_of("branches", branches),
        images=images,
        keep=names_of("keep", keep),
        timesteps=None if timesteps is None else [float(t) for t in timesteps],
        scheduler=scheduler,
        generated_size=generated_size,
        info=facts_of(info),
        thumbnails=pictures_of(thumbnails),
        options=options,
        every=every,
        cuts=tuple(cuts),
        words=_words_by_branch(words),
        stitched=Stitched.of(reference_parts, canvas_mask, bool(redux)),
    )
    return DiffusersRecording(model, network, settings)


def _words_by_branch(words: Sequence[str] | Mapping[str, Sequence[str]] | None) -> dict[str, tuple[Word, ...]]:
    given = {} if words is None else words if isinstance(words, Mapping) else {"cond": words}
    return {branch: words_of(tokens) for branch, tokens in given.items()}


def intervene(
    model: Any, cuts: Sequence[Cut], layout: Layout | Callable[[str], Layout] | None = None, **given: Any
) -> DiffusersRecording:
    """A context manager in which something is cut of every attention to a reference, and nothing is recorded.

    The model's own processors compute it, through `scaled_dot_product_attention`; where nothing is cut, a call stays as it is.

    Example, FLUX.2 without the direct way from its second reference::

        with intervene(pipeline, [Cut("reference", 1, route="generated")]):
            without = pipeline(image=[room, chair], prompt="put the chair into the room", generator=same).images[0]

    Args:
        model: see `record`.
        cuts: what is cut.
        layout: see `record`.
        **given: of `record`: steps, branches, images, timesteps, scheduler, reference_parts, canvas_mask, redux.

    Raises:
        RecordingError: the model cannot be watched; on leaving: nothing was cut.
    """
    keep = tuple(given.get("branches") or ("cond",))
    return record(model, layout, cuts=cuts, layers=NO_LAYERS, pairwise=None, keep=keep, **given)


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
        self._run = run = Run(self._model, self._network, self._settings)
        with ExitStack() as stack:  # an error in here undoes what was done
            watch_calls(self._network.module, self._before, stack, anywhere=True)
            self._network.watch(self._observe, stack, lambda: run.cutting)
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
        if self._settings.options.get("layers") is NO_LAYERS:
            run.check_cuts()
            run.abandon()
            return
        self._maps = _named(run.finish(), self._settings.words)


def _named(maps: AttributionMaps, words: Mapping[str, Sequence[Word]]) -> AttributionMaps:
    """The maps with the words of their texts; with a note where they do not fit, since the run is over."""
    try:
        return maps.with_words(words)
    except LayoutError as error:
        return maps.with_notes([f"the words have no names: {error}"])
