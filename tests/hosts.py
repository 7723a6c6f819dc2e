"""The ComfyUI hosts of this machine, and our tests inside them.

Looked for at ``$COMFYUI_PATH`` (several, as in ``$PATH``), at the ComfyUI whose ``custom_nodes`` holds this repository,
and in ``~/comfy/ComfyUI*``. By hand, with any options of pytest: ``python tests/hosts.py [test_boot.py -k tooltip]``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import DEVNULL

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = REPOSITORY / "tests" / "host"
NONE = "no ComfyUI at $COMFYUI_PATH, around this repository's custom_nodes or in ~/comfy/ComfyUI*, so tests/host did not run"
LONGEST = 3600  # seconds; a host that hangs must not hang us
TIMED_OUT = 124  # as the command `timeout` says it
NEEDED = dict.fromkeys(("test_ipadapter.py", "test_cut_ipadapter.py"), "ComfyUI_IPAdapter_plus")
OURS = ("PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_CURRENT_TEST")  # not the host's business


@dataclass(frozen=True)
class Host:
    """One ComfyUI: its folder, its version, and the Python that it runs in."""

    folder: Path
    version: str
    python: Path

    @property
    def lacks(self) -> dict[str, str]:
        """Files of tests/host that do not run here, with the node pack that each needs in the host's custom_nodes."""
        return {file: name for file, name in NEEDED.items() if not (self.folder / "custom_nodes" / name).is_dir()}

    @classmethod
    def at(cls, folder: Path) -> Host:
        """What lies in a folder that is a ComfyUI."""
        said = re.search(r'__version__ = "(.+)"', (folder / "comfyui_version.py").read_text(encoding="utf-8"))
        own = [folder / ".venv" / "bin" / "python", folder / ".venv" / "Scripts" / "python.exe"]
        python = next((path for path in own if path.exists()), Path(sys.executable))
        return cls(folder, said[1] if said else folder.name, python)

    def environment(self, scratch: Path) -> dict[str, str]:
        """Our environment without what would bring us onto the host's path, or files of ours into its folder."""
        kept = {name: value for name, value in os.environ.items() if name not in OURS}
        quiet = {"HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return {**kept, **quiet, "OMP_NUM_THREADS": "1"}  # tiny models are slower on many threads

    def pytest(self, report: Path, options: Sequence[str] = ()) -> list[str]:
        """The command that runs tests/host here; it goes with ``cwd=self.folder``."""
        files = [] if any(option.split("::")[0].endswith(".py") for option in options) else [str(TESTS)]
        given = [str(TESTS / option) if option.split("::")[0].endswith(".py") else option for option in options]
        isolated = ["-c", str(TESTS / "pytest.ini"), "--rootdir", str(TESTS), "-p", "no:cacheprovider"]
        return [str(self.python), "-m", "pytest", *isolated, f"--junitxml={report}", *given, *files]


@dataclass
class Case:
    """One test as the host ran it."""

    file: str
    name: str
    outcome: str  # passed, failed or skipped
    text: str = ""


@dataclass
class Run:
    """All of tests/host in one host."""

    code: int
    output: str
    cases: list[Case] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(case.outcome == outcome for case in self.cases)

    @property
    def tail(self) -> str:
        return "\n".join(self.output.splitlines()[-80:])

    def __str__(self) -> str:
        counts = [f"{self.count(outcome)} {outcome}" for outcome in ("passed", "failed", "skipped") if self.count(outcome)]
        return ", ".join(counts) or "no test ran"


def find() -> list[Host]:
    """The hosts, each once, from the oldest version on.

    Raises:
        ValueError: ``$COMFYUI_PATH`` names a folder that is no ComfyUI.
    """
    found = [Host.at(folder) for folder in dict.fromkeys(_folders())]
    found.sort(key=lambda host: [int(part) for part in re.findall(r"\d+", host.version)])
    often = Counter(host.version for host in found)
    return [replace(host, version=f"{host.version} in {host.folder}") if often[host.version] > 1 else host for host in found]


def _folders() -> Iterator[Path]:
    for name in filter(None, os.environ.get("COMFYUI_PATH", "").split(os.pathsep)):
        if not _is_host(Path(name).expanduser()):
            raise ValueError(f"$COMFYUI_PATH names {name}, which holds no main.py, nodes.py and comfyui_version.py of ComfyUI")
        yield Path(name).expanduser().resolve()
    places = (Path(__file__).absolute().parents[1], REPOSITORY)  # a link in custom_nodes counts too
    around = [place.parents[1] for place in places if place.parent.name == "custom_nodes"]
    for folder in [*around, *sorted((Path.home() / "comfy").glob("ComfyUI*"))]:
        if _is_host(folder):
            yield folder.resolve()


def _is_host(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("main.py", "nodes.py", "comfyui_version.py"))


def run(host: Host, options: Sequence[str] = ()) -> Run:
    """Run tests/host in a host, once, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="i2am-") as folder:
        scratch = Path(folder)
        report = scratch / "report.xml"
        log = scratch / "log.txt"
        where = {"cwd": host.folder, "env": host.environment(scratch)}
        with (
            log.open("w") as out,
            subprocess.Popen(host.pytest(report, options), stdin=DEVNULL, stdout=out, stderr=out, **where) as process,
        ):
            _running.add(process)
            if hasattr(os, "setpriority"):  # two hosts on what the tests beside them leave: those take longest
                os.setpriority(os.PRIO_PROCESS, process.pid, 10)
            try:
                code = process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                process.kill()
                code = TIMED_OUT
            finally:
                _running.discard(process)
        return Run(code, log.read_text(encoding="utf-8", errors="replace"), list(_cases(report)) if report.exists() else [])


_running: set[subprocess.Popen[bytes]] = set()
_runs: dict[Host, Future[Run]] = {}


def start(marked: str = "") -> None:
    """Begin tests/host in every host, all at once and beside whatever else runs; ``marked`` is an expression for ``-m``."""
    every = [host for host in find() if host not in _runs]
    if every:
        pool = ThreadPoolExecutor(len(every))
        _runs.update({host: pool.submit(run, host, ["-m", marked] if marked else []) for host in every})
        pool.shutdown(wait=False)


def stop() -> None:
    """Break off what still runs."""
    for process in list(_running):
        process.terminate()


def result(host: Host, marked: str = "") -> Run:
    """What tests/host gave in a host, when it is done; see `start`."""
    start(marked)
    return _runs[host].result()


def summary() -> str:
    """One line: how many tests ran in each host."""
    lines = [f"{host.version} {_done(host) or 'not run'}{_without(host)}" for host in find()]
    return f"ComfyUI hosts: {', '.join(lines) or f'skipped: {NONE}'}"


def _done(host: Host) -> Run | None:
    future = _runs.get(host)
    return future.result() if future is not None and future.done() else None


def _without(host: Host) -> str:
    return f" (without {', '.join(host.lacks.values())})" if _done(host) and host.lacks else ""


def _cases(report: Path) -> Iterator[Case]:
    for case in ET.parse(report).iter("testcase"):
        bad = [*case.iter("failure"), *case.iter("error")]
        outcome = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        text = "\n".join(part.text or part.get("message", "") for part in (bad or case.iter("skipped")))
        yield Case(case.get("file", ""), case.get("name", ""), outcome, text)


def main(options: Sequence[str]) -> int:
    """Run tests/host in every host before one's eyes; the worst exit status."""
    codes = [0]
    for host in find():
        print(f"ComfyUI {host.version}: {host.folder}", flush=True)
        with tempfile.TemporaryDirectory(prefix="i2am-") as folder:
            command = host.pytest(Path(folder) / "report.xml", options)
            codes.append(subprocess.call(command, cwd=host.folder, env=host.environment(Path(folder))))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
