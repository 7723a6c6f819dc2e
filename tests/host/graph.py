"""Running an API-format prompt as the host's own queue does: validated, executed, cached."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

import comfy.utils
import execution
import main
from host_tests.sockets import catching, caught, forget, giving

CLIENT = "i2am-tests"


@dataclass(frozen=True)
class Failure:
    """What the user is told when a prompt fails."""

    kind: str  # "validation", "execution" or "interrupted"
    node: str | None
    node_type: str
    type: str  # of the exception, or of the validation error
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        at = f"{self.kind} error at node {self.node} ({self.node_type})"
        return f"{at}, {self.type}: {self.message}\n{self.traceback}".rstrip()


@dataclass
class Outcome:
    """What one prompt did. All node ids are strings."""

    ui: dict[str, dict[str, Any]] = field(default_factory=dict)  # what the interface gets, also of cached output nodes
    executed: list[str] = field(default_factory=list)  # in the order of their start
    cached: list[str] = field(default_factory=list)
    lists: dict[str, list[Any]] = field(default_factory=dict)  # of each watched output
    errors: list[Failure] = field(default_factory=list)
    events: list[tuple[Any, Any]] = field(default_factory=list)  # everything that was sent to the interface

    @property
    def error(self) -> Failure | None:
        """The first error."""
        return self.errors[0] if self.errors else None

    def __getitem__(self, name: str) -> Any:
        """The one value of a watched output; ``lists`` has those of an output that is a list."""
        (value,) = self.lists[name]
        return value

    def sent(self, event: str) -> list[Any]:
        """The data of the events of one kind, such as "progress"."""
        return [data for kind, data in self.events if kind == event]


class Graphs:
    """Runs prompts; they share one cache until ``fresh_cache``."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.fresh_cache()

    def fresh_cache(self, kind: str = "CLASSIC", lru: int = 0) -> None:
        """Forget every result. ``kind``: CLASSIC, LRU (of ``lru`` results), RAM_PRESSURE or NONE."""
        forget()
        cache = {"lru": lru, "ram": 0, "ram_inactive": 0}
        self.executor = execution.PromptExecutor(self.server, cache_type=execution.CacheType[kind], cache_args=cache)

    def __call__(
        self,
        prompt: dict[str, Any],
        *,
        give: dict[str, Any] | None = None,
        watch: dict[str, tuple[str, int]] | None = None,
        expect_error: bool = False,
    ) -> Outcome:
        """Run an API-format prompt.

        Args:
            give: Objects by name; the prompt links to them as ``["give_<name>", 0]``.
            watch: Outputs by name, (node id, index); ``outcome["<name>"]`` is what they carried.
            expect_error: Return the outcome of a prompt that must fail; else a failure is raised.

        Raises:
            AssertionError: The prompt failed, or did not although it should have.
        """
        whole = {**prompt, **giving(give or {}), **catching(watch or {})}
        outcome = self._run(whole)
        done = {*outcome.executed, *outcome.cached}
        outcome.lists = {name: caught(name) for name in watch or {} if f"catch_{name}" in done and not outcome.errors}
        if bool(outcome.errors) != expect_error:
            raise AssertionError("\n".join(map(str, outcome.errors)) or "the prompt ran, although an error was expected")
        return outcome

    def _run(self, prompt: dict[str, Any]) -> Outcome:
        name = str(uuid.uuid4())
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt(name, prompt, None))
        if not valid or node_errors:  # the host would run the valid outputs; a test wants them all
            return Outcome(errors=_refusals(error, node_errors))
        self._sent()
        self.server.last_prompt_id = name  # as the host's queue does
        main.hijack_progress(self.server)  # progress bars and interrupts, in a graph alone
        try:
            self.executor.execute(prompt, name, {"client_id": CLIENT}, outputs)
        finally:
            comfy.utils.set_progress_bar_global_hook(None)
        outcome = Outcome(events=self._sent())
        outcome.executed = list(dict.fromkeys(data["node"] for data in outcome.sent("executing") if data["node"] is not None))
        outcome.cached = [node for data in outcome.sent("execution_cached") for node in data["nodes"]]
        outcome.ui = {data["node"]: data["output"] for data in outcome.sent("executed") if data["output"] is not None}
        outcome.errors = [_error(data) for data in outcome.sent("execution_error")]
        outcome.errors += [_interrupt(data) for data in outcome.sent("execution_interrupted")]
        return outcome

    def _sent(self) -> list[tuple[Any, Any]]:
        """What the server would have sent since the last call: it is queued on the server's loop, which stands still."""
        self.server.loop.run_until_complete(asyncio.sleep(0))
        queue = self.server.messages
        return [queue.get_nowait()[:2] for _ in range(queue.qsize())]


def _refusals(error: dict[str, Any] | None, node_errors: dict[str, Any]) -> list[Failure]:
    found = [
        Failure("validation", node, said["class_type"], reason["type"], f"{reason['message']}: {reason['details']}")
        for node, said in node_errors.items()
        for reason in said["errors"]
    ]
    if found or error is None:
        return found
    about = error["extra_info"]
    message = f"{error['message']}: {error['details']}"
    return [Failure("validation", about.get("node_id"), about.get("class_type") or "", error["type"], message)]


def _error(data: dict[str, Any]) -> Failure:
    said = data["exception_message"].strip()
    return Failure("execution", data["node_id"], data["node_type"], data["exception_type"], said, "".join(data["traceback"]))


def _interrupt(data: dict[str, Any]) -> Failure:
    return Failure("interrupted", data["node_id"], data["node_type"], "", "interrupted")
