"""The committed JSON files that every figure comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...models.demo.family import WEIGHTS
from ...models.edit.family import WEIGHTS as EDIT_WEIGHTS

Figures = dict[str, Any]

HERE = Path(__file__).parent
EVALUATION = WEIGHTS / "evaluation.json"
PLAIN = WEIGHTS / "evaluation-plain.json"
EQUAL = WEIGHTS / "evaluation-equal.json"
EDIT = EDIT_WEIGHTS / "evaluation.json"
EDIT_PLAIN = EDIT_WEIGHTS / "evaluation-plain.json"
EDIT_EQUAL = EDIT_WEIGHTS / "evaluation-equal.json"
BENCH = HERE / "bench.json"
JOINT = HERE / "bench-joint.json"
EVALUATED = HERE / "bench-evaluation.json"
IN_COMFYUI = tuple(HERE / f"bench-comfyui{model}.json" for model in ("", "-stableviton"))
GUIDANCE = HERE / "guidance.json"
REGULARISERS = HERE / "regularisers.json"
COMPARED = HERE / "compared.json"
VERDICTS = HERE / "verdicts.json"
TRUST = {model: HERE / f"trust-{model}.json" for model in ("tryon", "edit")}
ROUTES = HERE / "routes-edit.json"
CUTS = HERE / "bench-cuts.json"


def load(path: Path) -> Figures:
    """The figures of a file, or none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
