"""The saved states that a run can resume from: written whole or not at all, the newest kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import TrainingError

if TYPE_CHECKING:
    from accelerate import Accelerator

NAME = "state-"
PROGRESS = "progress.json"
FREE = ("epochs", "accumulate")
"""What may change in a recipe when a run resumes: how long it lasts, and how a batch is split."""


def newest(out: Path) -> Path | None:
    """The folder of the newest state in ``out``."""
    states = sorted((int(p.name.removeprefix(NAME)), p) for p in out.glob(f"{NAME}*") if _is_state(p))
    return states[-1][1] if states else None


def save(accelerator: Accelerator, out: Path, step: int, recipe: dict[str, Any]) -> Path:
    """Write the state after ``step`` optimiser steps; every process calls this. Older states are deleted once it is whole."""
    final = out / f"{NAME}{step}"
    if _is_state(final):
        return final
    draft = out / f"{final.name}.part"
    if accelerator.is_main_process:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(draft))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        facts = {"step": step, "recipe": recipe}
        (draft / PROGRESS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        draft.replace(final)
        for old in out.glob(f"{NAME}*"):
            if old != final and old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return final


def load(accelerator: Accelerator, state: Path, recipe: dict[str, Any]) -> int:
    """Restore everything; returns the number of optimiser steps that were done.

    Raises:
        TrainingError: the state was made with another recipe, or cannot be read.
    """
    try:
        facts = json.loads((state / PROGRESS).read_text(encoding="utf-8"))
        step, before = int(facts["step"]), dict(facts["recipe"])
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{state} is damaged ({PROGRESS}: {error}); delete this folder, or give another --out") from error
    now: dict[str, Any] = json.loads(json.dumps(recipe))  # tuples as lists, as in the file
    differing = [name for name in now if name not in FREE and before.get(name) != now[name]]
    if differing:
        told = "; ".join(f"{name} was {before.get(name)}, now {now[name]}" for name in differing)
        raise TrainingError(f"{state} was saved by a run with other settings ({told}); give the same ones, or another --out")
    try:
        accelerator.load_state(str(state))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{state} cannot be read ({reason}); delete this folder, or give another --out") from error
    return step


def _is_state(path: Path) -> bool:
    return path.name.removeprefix(NAME).isdecimal() and (path / PROGRESS).is_file()
