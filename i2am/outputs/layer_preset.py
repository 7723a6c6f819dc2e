"""A file that says which layers of a model to believe, and the runs that this was measured on; each run adds to it.

JSON: {"format": "i2am-layers", "version": 1, "model": …, "layers": [names in the network's order], "believed": [names],
"runs": [{"run": …, "seed": …, "reference": …, "model": …, "found": [{"layer", "head", "right", "matches", "peak", "chance",
"effect"}, …]}, …]}. Older files lack "effect", and the "model" of a run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import I2AMError, UnavailableError, shown
from ..interventions.questions import LAYERS
from ..maps.value import AttributionMaps
from ..scores.ranking import Pointing, believed, over_runs
from .locked import locked

FORMAT, VERSION = "i2am-layers", 1
LARGEST = 64_000_000
"""Bytes of a file that is still read."""


@dataclass(frozen=True)
class LayerPreset:
    """What is known of a model's layers.

    Attributes:
        model: as the host called it in the first run.
        found: over all runs, see `over_runs`.
        believed: layers that point where the same detail is found; empty where none does yet.
        runs: how many were measured.
        models: of these, as far as they say it; several are not told apart in ``found``.
    """

    model: str
    found: tuple[Pointing, ...]
    believed: tuple[str, ...]
    runs: int
    models: tuple[str, ...] = ()


def add_run(
    path: str | Path,
    maps: AttributionMaps,
    found: list[Pointing],
    reference: int = 0,
    image: int = 0,
    effects: Mapping[str, float] | None = None,
) -> LayerPreset:
    """Add a run to a file, which is begun if it is not there; a run that it has already is measured anew, not counted twice.

    Args:
        path: the file.
        maps: the run's recording, by which it is known again.
        found: how well its layers point.
        reference: which reference of the run they were measured on.
        image: which image of the batch: each is a run of its own.
        effects: how much the picture changed where one layer was cut, by the layer's name; see `effects_of`.

    Raises:
        I2AMError: the file is none of ours, or of a model with other layers; it stays as it is. Or ``path`` is no file's, or
            the effects are of other layers.
    """
    found = _with(found, effects or {})
    path = Path(path)
    if not path.name or path.is_dir():
        raise I2AMError(f"{str(path)!r} is a folder, and ranked layers are kept in a file; give a name such as layers.json")
    with locked(path):
        about = read(path) if path.exists() and path.stat().st_size else _begun(maps, found)
        names = [one.layer for one in found if one.head is None]
        if about["layers"] != names:
            raise I2AMError(
                f"{path.name} was measured on other layers ({_some(about['layers'])}) than this run has ({_some(names)}): it "
                f"is of another model, or other layers of it were recorded; give another file name"
            )
        name = _identity(maps, image)
        before = next((one for one in about["runs"] if (one["run"], one["reference"]) == (name, reference)), None)
        if not effects and before is not None:  # what was found by many runs is not lost to a run that is measured again
            cut = {one["layer"]: one.get("effect") for one in before["found"] if one["head"] is None}
            found = [replace(one, effect=cut.get(one.layer)) if one.head is None else one for one in found]
        run: dict[str, Any] = {"run": name, "seed": maps.run.seed, "reference": reference, "model": maps.run.model or ""}
        run["found"] = [asdict(one) for one in found]
        others = [one for one in about["runs"] if (one["run"], one["reference"]) != (name, reference)]
        about["runs"] = [*others, run]
        preset = _preset(about)
        about["believed"] = list(preset.believed)
        draft = path.with_name(f".{path.name}.part")
        draft.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
        return preset


def effects_of(text: str, reference: int | None = None) -> dict[str, float]:
    """What I²AM Proof, or `i2am cause`, found of which layers matter: the mean change of the picture by the layer's name.

    Args:
        text: what they wrote; empty: nothing is known.
        reference: which one layers are ranked for; None: any.

    Raises:
        I2AMError: the text is none of theirs, or of another reference; says what it is.
    """
    if not text.strip():
        return {}
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    layers = about.get("layers") if isinstance(about, dict) else None
    if not isinstance(layers, dict) or not all(map(_is_number, layers.values())):
        asked = f" (it answers {shown(about['question'], 60)!r})" if isinstance(about, dict) and "question" in about else ""
        raise I2AMError(
            f"effects are what I²AM Proof gives for the question {LAYERS!r}{asked}; connect its effects, or nothing, got "
            f"{shown(text, 60)!r}"
        )
    cut = about.get("reference")
    if reference is not None and cut is not None and cut != reference:
        raise I2AMError(
            f"the effects are of reference {shown(cut, 20)}, which each layer lost sight of, but layers are ranked here for "
            f"reference {reference}; choose the same number in both (counted from 0)"
        )
    return {str(name): float(value) for name, value in layers.items()}


def _with(found: list[Pointing], effects: Mapping[str, float]) -> list[Pointing]:
    """The same, with the effects of the layers that have one."""
    names = [one.layer for one in found if one.head is None]
    unknown = [name for name in effects if name not in names]
    if unknown:
        raise I2AMError(
            f"the effects are of {_some(unknown)}, which this recording does not have ({_some(names)}): they are of another "
            f"model, or of groups of layers; ask {LAYERS!r} with layers left empty"
        )
    return [replace(one, effect=effects.get(one.layer)) if one.head is None else one for one in found]


def load_layers(path: str | Path) -> LayerPreset:
    """What a file says, such as for ``Choice(layers=load_layers(path).believed)``.

    Raises:
        I2AMError: it is no such file.
    """
    return _preset(read(Path(path)))


def read(path: Path) -> dict[str, Any]:
    """The checked content of a file.

    Raises:
        I2AMError: it is no such file.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise I2AMError(f"{path.name} is over {LARGEST // 1_000_000} MB, which no file of ranked layers is; give another")
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise I2AMError(f"{path.name} cannot be read ({error.strerror}); give a file that I²AM Rank Layers wrote") from None
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise I2AMError(f"{path.name} is no file of ranked layers; give another name, or one that I²AM Rank Layers wrote")
    if about.get("version") != VERSION:
        raise I2AMError(f"{path.name} has version {about.get('version')!r}, this I²AM reads version {VERSION}; measure anew")
    if not _is_whole(about):
        raise I2AMError(f"{path.name} is damaged: its runs are not those that I²AM writes; delete it, and measure anew")
    return about


def _begun(maps: AttributionMaps, found: list[Pointing]) -> dict[str, Any]:
    layers = [one.layer for one in found if one.head is None]
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": maps.run.model or "",
        "layers": layers,
        "believed": [],
        "runs": [],
    }


def _preset(about: dict[str, Any]) -> LayerPreset:
    runs = [[Pointing(**one) for one in run["found"]] for run in about["runs"]]
    found = over_runs(runs)
    try:
        layers = believed(found)
    except UnavailableError:  # said where it is shown
        layers = ()
    models = [str(run.get("model") or "") for run in about["runs"]]
    return LayerPreset(about["model"], tuple(found), layers, len(runs), tuple(dict.fromkeys(filter(None, models))))


def _identity(maps: AttributionMaps, image: int) -> str:
    """What tells a run from others: the hash of its latent and the number of the image, else a hash of the image's G2R.

    The input of a run's first step does not: with one seed it is the same whatever the reference is.
    """
    latent = maps.run.extra.get("latent_hash")
    if latent:
        return f"{latent}, image {image}" if image else str(latent)
    digest = hashlib.blake2b(digest_size=16)
    for layer in maps.layers:
        for branch in maps.branches:
            for reference in range(len(layer.references)):
                if maps.has("g2r", layer.name, branch, reference):
                    values = maps.marginal("g2r", layer.name, branch, reference)[image]
                    digest.update(values.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _some(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"


def _is_whole(about: dict[str, Any]) -> bool:
    """Whether all parts of a file are there and of their types, so that nothing made of it fails."""
    if not isinstance(about.get("model"), str) or not _are(about.get("layers"), str) or not _are(about.get("runs"), dict):
        return False
    return all(_is_run(run, about["layers"]) for run in about["runs"])


def _is_run(run: dict[str, Any], layers: list[str]) -> bool:
    if not isinstance(run.get("run"), str) or not _is_count(run.get("reference")) or not _are(run.get("found"), dict):
        return False
    found = run["found"]
    return all(map(_is_pointing, found)) and [one["layer"] for one in found if one["head"] is None] == layers


def _is_pointing(one: dict[str, Any]) -> bool:
    if set(one) | {"effect"} != {field.name for field in fields(Pointing)} or not isinstance(one["layer"], str):
        return False
    counts = _is_count(one["right"]) and _is_count(one["matches"]) and one["matches"] > 0 and one["right"] <= one["matches"]
    head = one["head"] is None or _is_count(one["head"])
    effect = one.get("effect") is None or _is_number(one["effect"])
    return counts and head and effect and all(_is_number(one[name]) for name in ("peak", "chance"))


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
