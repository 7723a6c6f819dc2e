"""One recorded run of a diffusers model, from its first evaluation to its maps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...errors import RecordingError
from ...geometry.layout import Layout, layout_for
from ...geometry.words import Word
from ...interventions.plan import Cut
from ...maps.facts import FRAMES, RunInfo
from ...maps.value import AttributionMaps
from ...recording.recorder import Recorder
from ..registry import fingerprint
from .cutting import Cutting
from .families.family import KEPT
from .network import TIMES, Attentions, Evaluation, Given, JointTokens, Network
from .rows import PLAIN, Branches
from .steps import BEFORE, DIVIDED, TOLERANCE, Counted, Scheduled, sigmas_at, spread, steps_of
from .stitched import SINGLE, Stitched

NO_REFERENCE = (
    "the model was called without a reference, with the generated picture and text alone, so there is nothing to attribute; "
    "give the pipeline its `image`; models that take it in channels, as FLUX.1 Fill does, attend to none, unless a part of the "
    "picture is a reference: then say which, with reference_parts"
)


@dataclass(frozen=True, eq=False)
class Settings:
    """The arguments of `record`: what the run is, and what to keep of it."""

    layout: Callable[[str], Layout] | None
    steps: int | None
    branches: tuple[str, ...] | None
    images: int
    keep: tuple[str, ...]
    timesteps: list[float] | None = None
    scheduler: Any = None
    generated_size: tuple[int, int] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    thumbnails: dict[str, Tensor] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    every: int = 1
    cuts: tuple[Cut, ...] = ()
    words: Mapping[str, tuple[Word, ...]] = field(default_factory=dict)
    stitched: Stitched = SINGLE

    def __post_init__(self) -> None:
        if not isinstance(self.every, int) or self.every < 1:
            raise RecordingError(f"every is {self.every}; expected 1, which records all steps, or more")
        # made once before the run: it refuses options that cannot be
        Recorder(None, steps=1 if self.steps is None else self.steps, images=self.images, branches=self.keep, **self.options)
        branches = PLAIN if self.branches is None else self.branches
        missing = [b for b in self.keep if b not in branches]
        if missing or len(set(branches)) != len(branches):
            raise RecordingError(f"branches to keep {self.keep} must be among the run's branches {branches}, each named once")


class Run:
    """One run, from its first evaluation to its last.

    Args:
        model: the model or pipeline.
        network: its network.
        settings: what the run is.
    """

    def __init__(self, model: Any, network: Network, settings: Settings) -> None:
        self._model, self._network, self._settings = model, network, settings
        self._thread, self._elsewhere = threading.get_ident(), False
        self._scheduler: Any = None
        self._steps: Scheduled | Counted | None = None
        self._branches: Branches | None = None
        self._layout: Callable[[str], Layout] | None = None
        self._notes: dict[str, None] = {}
        self._others: dict[str, None] = {}  # layers that are not wanted
        self._wanted = self._attended = False  # whether a layer was, and whether one attended to a reference
        self._recorder: Recorder | None = None
        self._place, self._over = BEFORE, False
        self._kept: frozenset[int] = frozenset()
        self._called: set[int] = set()  # the steps in which the model was called
        self._attributed: set[int] = set()  # those of them that had a reference
        self._evaluation: Evaluation | None = None
        self.cutting: Cutting | None = None
        """What is cut in the evaluation that is running."""
        self._touched: set[str] = set()
        self._input, self._frames = "", 1

    def before_evaluation(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before every call of the network: find out its step, and which rows belong to which branch."""
        if threading.get_ident() != self._thread:
            self._elsewhere = True
            return
        self._evaluation = self.cutting = None
        given = self._network.given(args, kwargs, self._settings.stitched)
        if self._recorder is None:
            self._begin(given)
        assert self._steps is not None
        assert self._branches is not None
        assert self._recorder is not None
        if self._over or self._steps.left_by(self._scheduler_now()):
            self._end()
            return
        scheduled = given.joint is not None and isinstance(self._steps, Scheduled)
        place = self._steps.place(given.time * TIMES if scheduled else given.time)
        if place.position < self._place.position:
            self._end()
            return
        if place.position != self._place.position:
            if place.step != self._place.step and self._place != BEFORE:
                self._recorder.end_step(self._place.step)
            self._branches.begin()
        self._place = place
        self._called.add(place.step)
        rows = self._branches.split(given.sample.shape[0], given.joint is None or given.joint.sequence is not None)
        self.cutting = self._cuts_of(place.step, given, rows)
        if place.step < self._steps.steps and place.step not in self._kept:  # the recorder refuses what lies outside
            return
        if given.joint is None:
            if rows:
                self._notes |= dict.fromkeys(given.notes)
                self._evaluation = Evaluation(place.step, given.latent, given.sample.shape[0], rows, {}, self.cutting)
        elif given.joint.sequence is None:
            self._notes["calls of the model without references were left out"] = None
        elif rows:
            self._attributed.add(place.step)
            self._notes |= dict.fromkeys(given.joint.notes)
            batch = given.sample.shape[0]
            self._evaluation = Evaluation(place.step, given.latent, batch, rows, given.joint.of(rows), self.cutting)

    def _end(self) -> None:
        """Another run begins: one recording holds one.

        Raises:
            RecordingError: something is cut, which would be left out of the second run.
        """
        self._over = True
        if self._settings.cuts:
            raise RecordingError("a second run began in the same `with` block, in which nothing would be cut; enter it anew")

    def _cuts_of(self, step: int, given: Given, rows: Mapping[str, slice]) -> Cutting | None:
        """What is cut in an evaluation of these rows."""
        due = tuple(cut for cut in self._settings.cuts if cut.is_due(step))
        if not due or (given.joint is not None and given.joint.sequence is None):
            return None
        if not rows:
            raise RecordingError(
                "the model is called a second time within a step, as self-attention guidance does, and a cut cannot be made "
                "there; switch that off"
            )
        nulls = () if given.says_all else self._settings.options.get("null_branches", ("uncond",))
        sequences = {} if given.joint is None else given.joint.of(rows)
        size = self._settings.generated_size or (given.joint.picture if given.joint else self._picture_size(given.latent))
        return Cutting(due, rows, sequences, self._layout, frozenset(nulls), size, self._touched)

    def _scheduler_now(self) -> Any:
        own = self._settings.scheduler
        return getattr(self._model, "scheduler", None) if own is None else own

    def _begin(self, given: Given) -> None:
        """Prepare for the steps, branches and keys of the run, at its first evaluation."""
        self._network.of(self._model)  # refuses one that was compiled since
        settings, self._scheduler = self._settings, self._scheduler_now()
        joint = given.joint
        if given.says_all and settings.layout is not None:
            raise RecordingError("this model says itself what the keys of its attention are; leave `layout` out")
        if joint is None:
            self._layout = self._told_layout(given)
        else:
            _check_joint(joint, may_follow=not hasattr(self._model, "scheduler") and KEPT not in joint.notes)
        self._steps = steps_of(self._scheduler, settings.timesteps, settings.steps, DIVIDED if joint else TOLERANCE)
        self._kept = frozenset(spread(self._steps.steps, settings.every))
        last = isinstance(self._steps, Counted)  # where evaluations are not told apart, the last one counts
        together = joint is not None and bool(joint.rows)
        self._branches = Branches(self._model, settings.branches, settings.images, last, given.says_all, together)
        self._input, self._frames = fingerprint(given.sample), given.frames or 1
        self._recorder = Recorder(
            self._layout,
            steps=self._steps.steps,
            images=settings.images * (given.frames or 1),
            branches=settings.keep,
            generated_size=settings.generated_size or (joint.picture if joint else self._picture_size(given.latent)),
            **({"null_branches": ()} if given.says_all else {}) | settings.options,
        )

    def _told_layout(self, given: Given) -> Callable[[str], Layout]:
        layout = self._settings.layout or self._network.layout(given)
        if layout is None:
            raise RecordingError(
                "it is not known what the keys of this model's attention are: give the `layout` of the reference's tokens, for "
                "example Layout.of(TokenGrid(16, 16, leading=1))"
            )
        return layout_for(layout)

    def observe(self, layer: str, attentions: Attentions) -> None:
        """Record one call of a layer, if it is of an evaluation that is recorded."""
        if self._recorder is None or self._evaluation is None:
            return
        if not self._recorder.wants(layer):
            self._others[layer] = None
            return
        self._wanted, layout = True, None if self._layout is None else self._layout(layer)
        for attention in attentions(self._evaluation):
            if layout is None or layout.indices(attention.softmax):
                self._attended = True
                attention.record(self._recorder, self._evaluation.step)

    def check_cuts(self) -> None:
        """Refuse a run in which nothing was cut although something should have been.

        Raises:
            RecordingError: it is one.
        """
        if self._steps is None:
            raise RecordingError("the model was not called inside the `with` block, in this thread, so nothing was cut")
        for cut in self._settings.cuts:
            if cut.steps is not None and cut.steps[1] > self._steps.steps:
                raise RecordingError(
                    f"steps {cut.steps[0]}:{cut.steps[1]} are to be cut, but the run has {self._steps.steps}, counted from 0"
                )
        if self._settings.cuts and not self._touched and any(cut.what != "nothing" for cut in self._settings.cuts):
            raise RecordingError(
                "nothing was cut, so the picture is that of an unchanged run: no attention of the chosen layers, steps and "
                "branches was seen that has what was to be cut; look at the cut's layers, steps and branch, and at processors "
                "with kernels of their own"
            )

    def abandon(self) -> None:
        """The run was interrupted or failed: keep nothing of it."""
        if self._recorder is not None:
            self._recorder.abandon()

    def finish(self) -> AttributionMaps:
        """The maps of the run.

        Raises:
            RecordingError: the model was not called, or nothing was recorded.
        """
        if self._recorder is None or self._branches is None or self._steps is None:
            where = " (it was called in another thread: enter the recording in the thread that runs the model)"
            raise RecordingError(
                f"the model was not called inside the `with` block{where if self._elsewhere else ''}, so nothing was recorded"
            )
        self._refuse_an_empty_run(self._branches)
        self._recorder.end_step(self._place.step)
        self.check_cuts()
        notes = [*self._branches.notes, *self._notes, *(f"an intervention: {cut.sentence}" for cut in self._settings.cuts)]
        if self._settings.every > 1:
            notes.append(f"recorded in {len(self._kept)} of {self._steps.steps} steps, evenly spread")
        if self._over:
            notes.append("a second run in the same `with` block was left out: one recording holds one run")
        notes += self._steps_left_out(self._steps.steps)
        without = self._branches.without
        bare = [branch for branch in self._settings.keep if branch in without]
        notes += [f"{branch} is not recorded: it was evaluated without a reference" for branch in bare]
        return self._recorder.finish(self._info(), self._settings.thumbnails, notes, without=without)

    def _steps_left_out(self, total: int) -> Iterator[str]:
        """Why there are maps of fewer steps than the schedule has, where the run itself is why."""
        if max(self._called) < total - 1:
            yield (
                f"recorded {len(self._kept & self._called)} of {total} steps: the model was not called in the last "
                f"{total - 1 - max(self._called)} (the run was interrupted, or its loop has fewer steps)"
            )
        bare = len(self._kept & self._called) - len(self._attributed)
        if self._layout is None and bare:
            yield f"the maps are of {len(self._attributed)} of {total} steps: in {bare} others the model was given no reference"

    def _refuse_an_empty_run(self, branches: Branches) -> None:
        if not branches.evaluated:
            raise RecordingError(NO_REFERENCE)
        never = [b for b in self._settings.keep if b not in branches.evaluated and b not in branches.without]
        if never:
            raise RecordingError(
                f"branch {never[0]!r} was never evaluated: the model's calls were taken for {', '.join(branches.evaluated)}; "
                f"for a run without guidance give branches=('cond',), else `keep` the branches that it has"
            )
        if self._layout is None and not self._others and not self._wanted:
            raise RecordingError(
                "the model was called, but the attention of none of its blocks: something computes it elsewhere, as quantised "
                "models of other makers do; record diffusers' own transformer"
            )
        if self._others and not self._wanted:
            patterns = self._settings.options["layers"]
            shown = patterns if isinstance(patterns, str) else ", ".join(patterns)
            raise RecordingError(f"no layer of this model matches {shown!r}; it has: {', '.join(self._others)}")
        if self._wanted and not self._attended and self._layout is not None and self._settings.layout is None:
            raise RecordingError("no layer attended to the IP-Adapter's picture, which happens at scale 0; set another scale")

    def _picture_size(self, latent: tuple[int, int]) -> tuple[int, int]:
        factor = int(getattr(self._model, "vae_scale_factor", 8))
        return latent[0] * factor, latent[1] * factor

    def _info(self) -> RunInfo:
        assert self._steps is not None
        times, told, scheduler = tuple(self._steps.timesteps), self._settings.info, self._scheduler
        facts: dict[str, Any] = {
            "sampler": type(scheduler).__name__ if scheduler is not None else "",
            "sigmas": self._steps.sigmas if isinstance(self._steps, Scheduled) else sigmas_at(scheduler, times),
        }
        frames = {FRAMES: self._frames} if self._frames > 1 else {}
        extra = {"input_hash": self._input, **frames, **told.get("extra", {})}
        return RunInfo(**{**facts, **told, "extra": extra, "steps": self._steps.steps, "timesteps": times, "host": "diffusers"})


def _check_joint(joint: JointTokens, may_follow: bool) -> None:
    """Refuse a run without references.

    They ``may_follow`` in a later call of a loop of the caller's own, unless the keys of the first are kept.
    """
    if joint.sequence is None and not may_follow:
        raise RecordingError(NO_REFERENCE)
