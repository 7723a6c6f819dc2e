"""One evaluation from its first image to its summary: sampled, recorded, scored and kept, image by image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

from ..data.kinds import AUTO
from ..errors import DatasetError
from ..levels.presets import PRESETS, THRESHOLD
from ..scores.imacs import LAMBDA
from .digest import sha256_of
from .errors import EvaluationError
from .facts import FREE, KINDS, Key, Row, Run, Summary
from .image import with_lacking
from .making import Looks, Maker
from .metrics.names import LPIPS, OF_MAPS, OF_PICTURE, OF_SET, shares_of
from .processes import Processes
from .rows import RowWriter
from .run_folder import FINDINGS, RunFolder, missing_of
from .same_data import check_same
from .samplers.sampler import Sampler
from .summary import pictures_to_see, summary_of
from .work import Work, work_of

log = logging.getLogger("i2am")

PACKAGES = ("torch", "diffusers", "transformers", "torchmetrics", "numpy", "opencv-python")


@dataclass(frozen=True)
class Plan:
    """What to evaluate on, and where to keep it.

    Attributes:
        data: the data set's folder.
        out: the run folder.
        kinds: of pairs, of `facts.KINDS`.
        split: of the data set, "train" or "test".
        limit: the most pairs of each kind; None: all.
        batch: pairs that are sampled at once.
        seed: of all noise, together with the images' names.
        resume: go on where an earlier start in the same folder ended.
        skip: go on without pairs that cannot be used.
        layout: how the data set lies on disk, a name in `data.kinds.KINDS`; "auto": told by what lies there.
        version: of this library, to be written down.
        pair_list: a list of pairs to take instead of the data set's own.
    """

    data: Path
    out: Path
    kinds: tuple[str, ...] = KINDS
    split: str = "test"
    limit: int | None = None
    batch: int = 1
    seed: int = 0
    resume: bool = False
    skip: bool = False
    layout: str = AUTO
    version: str = ""
    pair_list: Path | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or self.seed < 0 or (self.limit is not None and self.limit < 1):
            raise EvaluationError(
                f"an evaluation takes batches of 1 or more, a seed of 0 or more and a limit of 1 or more, got batches of "
                f"{self.batch}, seed {self.seed} and limit {self.limit}"
            )


@dataclass(frozen=True)
class Weights:
    """A model's weights: the name to show, and their files in a fixed order."""

    name: str
    files: tuple[Path, ...]


def evaluate(
    plan: Plan, sampler: Sampler, weights: Weights, looks: Looks, processes: Processes | None = None
) -> Summary | None:
    """Make what is missing of the images, and the summary; every process calls this, and the first returns the summary.

    Raises:
        EvaluationError: the folder holds another run, or the run cannot go on.
        DatasetError: the pairs cannot be used.
    """
    return _Evaluation(plan, sampler, weights, looks, processes or Processes()).run()


class _Evaluation:
    """See `evaluate`."""

    def __init__(self, plan: Plan, sampler: Sampler, weights: Weights, looks: Looks, processes: Processes) -> None:
        self.plan, self.sampler, self.weights, self.looks, self.processes = plan, sampler, weights, looks, processes
        self.folder = RunFolder(plan.out)

    def run(self) -> Summary | None:
        """From the first missing image to the summary."""
        # one process holds the folder for all of them
        with self.folder.held() if self.processes.first else nullcontext():
            return self._run()

    def _run(self) -> Summary | None:
        before = self._before()
        self.processes.wait()  # the run is not begun before all have looked
        work = self._usable()
        if self.processes.first:
            self._begin(before, work)
        self.processes.wait()
        rows = {row.key: row for row in self.folder.rows()}
        missing = set(missing_of(rows.values(), [item.key for item in work.items], self.folder))
        self.processes.wait()  # no row and no picture is added before all have seen the same ones
        writer = self.folder.writer(self.processes.index)
        self._complete(work, rows, missing, writer)
        self._make(work, missing, writer)
        self.processes.wait()
        return self._conclude(work) if self.processes.first else None

    def _usable(self) -> Work:
        """The pairs that can be used; what is wrong with them is written down also where the data set is refused."""
        plan = self.plan
        work = work_of(plan.data, plan.kinds, plan.split, self.sampler, plan.limit, plan.layout, plan.pair_list)
        try:
            return work.usable(plan.skip)
        except DatasetError as error:
            if self.processes.first:
                self._write_findings(work)
            end = "\n" if "\n" in str(error) else "; "
            advice = "" if plan.skip else "; --skip-broken goes on without these pairs"
            raise DatasetError(f"{error}{end}all of it is in {plan.out / FINDINGS}{advice}") from None

    def _write_findings(self, work: Work) -> None:
        self.folder.write_findings({kind: found.as_dict() for kind, found in work.findings.items()})

    def _before(self) -> Run | None:
        """What was evaluated in this folder before."""
        if not self.folder.exists:
            return None
        if not self.plan.resume:
            raise EvaluationError(
                f"{self.plan.out} holds an evaluation already; go on with it by --resume, or give another --out"
            )
        return self.folder.run()

    def _begin(self, before: Run | None, work: Work) -> None:
        """Say what is evaluated; refuse to mix it with something else."""
        kinds, networks = {*self.plan.kinds}, self.looks.names
        if before is not None:
            kinds.update(before.kinds)
            networks = {**self._networks(before), **networks}
        how = self.sampler.how
        assert how.sampler is not None
        assert how.steps is not None
        assert how.cfg is not None
        now = Run(
            model=self.weights.name,
            family=self.sampler.family,
            sha256=sha256_of(self.weights.files),
            data=work.title,
            split=self.plan.split,
            pair_list="" if self.plan.pair_list is None else self.plan.pair_list.name,
            seed=self.plan.seed,
            sampler=how.sampler,
            steps=how.steps,
            cfg=how.cfg,
            dtype=self.sampler.dtype,
            pasted=how.pasted,
            every=how.every or 1,
            presets=tuple(PRESETS) if how.recorded else (),
            weight=LAMBDA,
            threshold=THRESHOLD,
            kinds=tuple(kind for kind in KINDS if kind in kinds),
            networks=networks,
            metrics=(*OF_PICTURE, *((*OF_MAPS, *shares_of(self.sampler.parts)) if how.recorded else ()), *OF_SET),
            versions={**({"i2am": self.plan.version} if self.plan.version else {}), **_versions()},
        )
        if before is not None:
            facts = [(name, getattr(before, name), getattr(now, name)) for name in Run.model_fields if name not in FREE]
            facts += [(f"network of {name}", one, networks[name]) for name, one in self._networks(before).items()]
            differing = [f"{name} was {_told(one)}, now {_told(other)}" for name, one, other in facts if one != other]
            if differing:
                told = "; ".join(differing)
                raise EvaluationError(f"{self.plan.out} holds an evaluation of something else ({told}); give another --out")
            check_same(self.folder.rows(), work, before.data, self.plan.out)
        self.folder.write_run(now)
        self._write_findings(work)

    def _networks(self, before: Run) -> dict[str, str]:
        """The networks of an earlier start; one that it made values through and does not name is not known."""
        made = any("lpips" in row.values for row in self.folder.rows())
        return {**({LPIPS: "one that is not named"} if made else {}), **before.networks}

    def _complete(self, work: Work, rows: Mapping[Key, Row], missing: Set[Key], writer: RowWriter) -> None:
        """Add to earlier rows what has become available since."""
        for item in self.processes.share([item for item in work.items if item.key not in missing]):
            more = with_lacking(rows[item.key], item, self.folder, self.sampler, self.looks.lpips)
            if more is not None:
                writer.add(more)

    def _make(self, work: Work, missing: Set[Key], writer: RowWriter) -> None:
        """Sample, record and score this process's share of the images that are missing."""
        share = self.processes.share([b for b in work.batches(self.plan.batch) if any(item.key in missing for item in b)])
        own = sum(item.key in missing for batch in share for item in batch)
        done = len(work.items) - len(missing)
        if self.processes.first:
            log.info("%d images of %s, %d of them done before", len(work.items), work.title, done)
        alone = self.processes.count == 1
        maker = Maker(self.sampler, self.looks, self.folder, self.plan.seed)
        with tqdm(
            total=len(work.items) if alone else own,
            initial=done if alone else 0,
            desc="evaluating" if alone else f"evaluating, 1 of {self.processes.count} processes",
            unit="image",
            disable=not self.processes.first,
            smoothing=0.1,
        ) as bar:
            try:
                for batch in share:
                    self.processes.check()
                    bar.update(maker.make([(item, work.open(item)) for item in batch], missing, writer))
            except KeyboardInterrupt:
                log.info("stopped; what is done is kept, and the same command with --resume goes on")
                raise

    def _conclude(self, work: Work) -> Summary:
        rows = self.folder.rows()
        seen = pictures_to_see(rows, self.looks.features)
        with tqdm(total=seen, desc="FID and KID", unit="picture", disable=not seen) as bar:
            summary = summary_of(
                rows, work.items, self.folder, self.sampler, self.looks.lpips, self.looks.features, self.plan.seed, bar.update
            )
        before = self.folder.summary()
        kinds = {**({} if before is None else before.kinds), **summary.kinds}  # those that were not asked for stay
        summary = Summary(kinds={kind: kinds[kind] for kind in KINDS if kind in kinds})
        self.folder.write_summary(summary)
        return summary


def _told(fact: object) -> object:
    return "none" if fact == "" else fact


def _versions() -> dict[str, str]:
    """Of the packages that figures depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # such as another build of OpenCV
            continue
    return found
