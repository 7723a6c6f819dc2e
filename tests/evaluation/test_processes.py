"""An evaluation on two processes, killed in its middle and started again, is the one of a single process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from evaluation_run import figures, samples, untimed

from i2am.evaluation.errors import EvaluationError
from i2am.evaluation.facts import Lacking, Summary
from i2am.evaluation.making import Looks
from i2am.evaluation.processes import Processes, launched
from i2am.evaluation.run_folder import RunFolder
from i2am.evaluation.runner import Plan, Weights, evaluate
from i2am.evaluation.samplers import DEMO
from i2am.evaluation.samplers.loading import load
from i2am.evaluation.samplers.sampler import Sampling

ROOT = Path(__file__).parents[2]
PATIENCE = 400


def launch(data: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """`accelerate launch` with two processes on the CPU."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--main_process_port", "0", "-m", "i2am", "evaluate", str(data), "--steps", "2", "--device", "cpu"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, "--out", str(out), *options], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def kill(launched: subprocess.Popen[bytes]) -> str:
    """End the launcher and its processes, which are in groups of their own, at once; what they said."""
    launcher = psutil.Process(launched.pid)
    for process in (launcher, *launcher.children(recursive=True)):
        process.kill()
    return launched.communicate()[0].decode()


def written(out: Path) -> int:
    """Whole lines in all files of rows."""
    return sum(path.read_bytes().count(b"\n") for path in (out / "rows").glob("*.jsonl"))


def test_two_processes_killed_and_started_again_equal_one(
    data: Path, given: list[str], whole: RunFolder, tmp_path: Path
) -> None:
    out, limit = tmp_path / "out", time.monotonic() + PATIENCE
    first = launch(data, out, *given)
    while written(out) < 2 and first.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    told, done = kill(first), written(out)
    assert 2 <= done < 8, told
    assert RunFolder(out).summary() is None
    second = launch(data, out, "--resume", *given)
    try:
        told = second.communicate(timeout=max(1, limit - time.monotonic()))[0].decode()
    except subprocess.TimeoutExpired:
        pytest.fail(kill(second))
    assert second.returncode == 0, told
    folder = RunFolder(out)
    assert {path.name for path in (out / "rows").iterdir()} == {"0.jsonl", "1.jsonl"}
    assert written(out) == 8  # no image was made twice
    assert untimed(folder.rows()) == untimed(whole.rows())
    assert samples(folder) == samples(whole)
    assert figures(folder) == figures(whole)
    assert f"8 images of {folder.run().data}, {done} of them done before" in told


def test_shares_are_all_of_the_work_and_meet_nowhere() -> None:
    work = list(range(11))
    shares = [Processes(index, 3).share(work) for index in range(3)]
    assert sorted(number for share in shares for number in share) == work
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_whose_launcher_was_killed_goes_no_further() -> None:
    Processes(_launcher=os.getppid()).check()
    with pytest.raises(EvaluationError, match="--resume"):
        Processes(_launcher=os.getppid() + 1).check()


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = launched()
    assert (alone.index, alone.count, alone.first) == (0, 1, True)
    alone.wait()
    alone.close()


class Pair:
    """Two processes of one evaluation, as threads; a wait for all can be watched."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.together = plan, threading.Barrier(2, timeout=PATIENCE)

    def __call__(self, index: int, wait: Callable[[], object] | None = None) -> Summary | None:
        """What one process gives; ``wait`` in place of waiting for the other."""
        looks = Looks(Lacking(reason="not asked for"), Lacking(reason="not asked for"))
        sampler = load(None, DEMO, Sampling(steps=1, recorded=False))
        state = SimpleNamespace(wait_for_everyone=wait or self.together.wait)
        try:
            return evaluate(self.plan, sampler, Weights(DEMO, ()), looks, Processes(index, 2, _state=state))
        except EvaluationError:
            self.together.abort()
            raise

    def let_the_first_wait(self, first: Future[Summary | None]) -> None:
        """Return when process 0 can go no further alone."""
        while not self.together.n_waiting and not first.done():
            time.sleep(0.01)


def test_a_process_that_comes_late_finds_no_run_of_the_others(data: Path, tmp_path: Path) -> None:
    pair = Pair(Plan(data, tmp_path / "out", kinds=("paired",), limit=2))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pair, 0)
        pair.let_the_first_wait(first)
        pool.submit(pair, 1).result()
        summary = first.result()
    assert summary is not None
    assert summary.kinds["paired"].images == 2


def test_a_process_that_is_slow_shares_the_same_work_as_the_others(data: Path, tmp_path: Path) -> None:
    out, waits = tmp_path / "out", []
    pair, folder = Pair(Plan(data, out, kinds=("paired",), limit=2, resume=True)), RunFolder(out)
    looks = Looks(Lacking(reason="not asked for"), Lacking(reason="not asked for"))
    evaluate(pair.plan, load(None, DEMO, Sampling(steps=1, recorded=False)), Weights(DEMO, ()), looks)
    for row in folder.rows():
        folder.sample(row.key).unlink()  # the rows are there, so that only the pictures say what is missing

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pair, 0)

        def late() -> None:
            pair.together.wait()
            waits.append(pair.together.n_waiting)
            if len(waits) == 3:  # all have read the rows
                pair.let_the_first_wait(first)

        pool.submit(pair, 1, late).result()
        assert first.result() is not None
    assert all(folder.sample(row.key).is_file() for row in folder.rows())
    assert written(out) == 4  # each was made once more
