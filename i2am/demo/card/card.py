"""`python -m i2am.demo.card`: writes the model card and the README's figures from the measured JSON, and from nothing else."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ...models.demo.family import WEIGHTS
from ..train.attention_loss import SUPERVISED
from .guidance_text import guidance_text

HERE = Path(__file__).parent
EVALUATION = WEIGHTS / "evaluation.json"
PLAIN = WEIGHTS / "evaluation-plain.json"
EQUAL = WEIGHTS / "evaluation-equal.json"
BENCH = HERE / "bench.json"
IN_COMFYUI = tuple(HERE / f"bench-comfyui{model}.json" for model in ("", "-stableviton"))
GUIDANCE = HERE / "guidance.json"
REGULARISERS = HERE / "regularisers.json"
README = HERE.parents[2] / "README.md"

Rows = list[tuple[str, ...]]

CARD = """\
---
license: mit
tags: [virtual-try-on, attribution, demo]
---

# The I²AM demo model

A small try-on model, trained from scratch on pictures that this repository draws (`i2am/drawn/draw.py`), whose true correspondence between
person and garment is known. It exists to check and to show attribution maps; it is no tool for real photographs.

| part | what |
|---|---|
| `unet.safetensors` | 12 input channels (noisy, agnostic, densepose latents of 4), widths 64 and 128, 4 heads, cross-attention at 32×24 and 16×12 tokens |
| `encoder.safetensors` | garment picture 160×112 → 1 leading token without a place + 20×14 tokens of 128; learned null tokens for guidance |
| `vae.safetensors` | AutoencoderKL, factor 4, 4 channels, latents normalised per channel |
| `reader.safetensors` | small classifiers that read glyph, pattern and colour, for the evaluation alone |

Schedule: β √-linear from 0.00085 to 0.012, ε-prediction. Attention is taught to point by a light auxiliary loss in four layers, which ends before
the training does; three layers are never taught and are reported apart.
Training: `make train` makes one like it from scratch in a single run; seeds below 10,000,000. These weights were made in stages, as time on two processor
cores allowed{history}. Parts of it multiplied attention in bf16.
Evaluation: `make evaluate`; seeds from 10,000,000 on, asserted to be disjoint.

"""


def _table(head: tuple[str, ...], rows: Rows) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _number(value: Any, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


PICTURES = {
    "drawn": "clean renders (the reader's ceiling)",
    "autoencoder": "through the autoencoder alone",
    "paired": "paired: the person's own garment",
    "unpaired": "unpaired: another garment",
    "wrong_reference": "the same pictures, read against the person's own garment",
    "null_reference": "no reference",
}
WITHOUT = "trained without attention loss"
WITH = "this model after as many samples as that"


def _picture(figures: dict[str, Any], plain: dict[str, Any], equal: dict[str, Any]) -> str:
    measured = [(label, figures.get("picture", {}).get(key)) for key, label in PICTURES.items()]
    measured += [(f"{whose}, paired", f.get("picture", {}).get("paired")) for whose, f in ((WITHOUT, plain), (WITH, equal))]
    rows: Rows = []
    for label, f in measured:
        if f is not None:
            shares = tuple(_number(f[k]) for k in ("glyph", "pattern", "colour", "ssim"))
            psnr = "same" if f["psnr"] >= 99 else _number(f["psnr"], ".1f")
            rows.append((label, *shares, psnr, str(f["pairs"])))
    head = (
        "picture, before pasting",
        "letters read right",
        "pattern",
        "colour",
        "SSIM, garment",
        "PSNR in the garment, dB",
        "pairs",
    )
    return _table(head, rows) + _aims(figures.get("picture", {}).get("paired"))


def _aims(paired: dict[str, Any] | None) -> str:
    """Which of the aims were missed, by how much."""
    if paired is None:
        return ""
    missed = []
    if paired["glyph"] < 0.8:
        missed.append(f"0.80 of the letters ({paired['glyph']:.2f})")
    if paired["psnr"] < 20:
        missed.append(f"20 dB ({paired['psnr']:.1f})")
    return f"\nAimed at in paired pictures and not reached: {' and '.join(missed)}.\n" if missed else ""


def _sram(figures: dict[str, Any], plain: dict[str, Any], equal: dict[str, Any]) -> str:
    section, beside, before = (f.get("sram", {}) for f in (figures, plain, equal))
    named: list[tuple[str, Any]] = [
        ("supervised layers", section.get("supervised")),
        ("never-supervised layers", section.get("never_supervised")),
        ("all layers", section.get("all_layers")),
    ]
    for key, label in (
        ("unpaired", "unpaired"),
        ("uv_blanked", "part map without u, v"),
        ("textures_swapped", "textures swapped"),
    ):
        for family, what in (("supervised", "supervised"), ("never_supervised", "never supervised")):
            named.append((f"{label}, {what}", section.get(key, {}).get(family)))
    for key, what in (("same_place", "the same place"), ("best_affine", "the best affine")):
        missed = section.get(f"where_{key}_misses", {})
        for family, whose in (("supervised", "supervised"), ("never_supervised", "never supervised")):
            if family in missed:
                named.append((f"only the {missed[family]['cells']:,} cells that {what} misses, {whose}", missed[family]))
    base = section.get("baselines", {})
    named += [
        (f"{WITHOUT}, the layers supervised here", beside.get("supervised")),
        (f"{WITHOUT}, the layers never supervised here", beside.get("never_supervised")),
        (f"{WITHOUT}, all layers", beside.get("all_layers")),
        (f"{WITH}, supervised", before.get("supervised")),
        (f"{WITH}, never supervised", before.get("never_supervised")),
        (f"{WITH}, all layers", before.get("all_layers")),
        ("baseline: chance", base.get("chance")),
        ("baseline: untrained model", base.get("untrained", {}).get("all_layers")),
        ("baseline: same place", base.get("same_place")),
        ("baseline: best affine of the silhouettes", base.get("best_affine")),
    ]
    rows: Rows = [
        (label, _number(f["within_1"]), _number(f["within_2"]), str(f["pairs"])) for label, f in named if f is not None
    ]
    return _table(("SRAM's peak lies, of the true place,", "within 1 patch", "within 2", "pairs"), rows)


def _by_layer(figures: dict[str, Any], plain: dict[str, Any], equal: dict[str, Any]) -> str:
    named = (("this model", figures), (WITHOUT, plain), (WITH, equal))
    kinds = {label: layers for label, f in named if (layers := f.get("sram", {}).get("by_layer"))}
    own = kinds.get("this model", {})
    rows: Rows = [
        (f"`{name}`", "yes" if name in SUPERVISED else "no", *(_number(found[name]["within_1"]) for found in kinds.values()))
        for name in own
    ]
    head = ("a layer alone: its peak within 1 patch", "taught to point", *kinds)
    return _table(head, rows) + _not_pointing(own) if rows else ""


def _not_pointing(layers: dict[str, Any]) -> str:
    """Which of the taught layers point home in less than half of the cells."""
    names = " and ".join(f"`{name}`" for name in SUPERVISED if name in layers and layers[name]["within_1"] < 0.5)
    return f"\nThe lessons ended long before the training did. Taught, and not pointing now: {names}.\n" if names else ""


WHERE = {
    "mirror": "mirror of the garment's mask",
    "R2G-balanced": "R2G-balanced",
    "R2G": "R2G",
    "inpaint_mask": "baseline: the inpainting mask itself",
}


def _where(figures: dict[str, Any], plain: dict[str, Any], equal: dict[str, Any]) -> str:
    kinds = {kind: figures["where"][kind] for kind in ("paired", "unpaired") if kind in figures.get("where", {})}
    for whose, f in ((WITHOUT, plain), (WITH, equal)):
        if kinds and "paired" in f.get("where", {}):
            kinds[f"{whose}, paired"] = f["where"]["paired"]
    rows: Rows = [(label, *(_number(found[key]["auc"]) for found in kinds.values())) for key, label in WHERE.items() if kinds]
    rows.append(("pairs", *(str(found["mirror"]["pairs"]) for found in kinds.values())))
    head = ("which map tells where the garment went (area under the ROC curve, chance 0.50)", *kinds)
    return _table(head, rows) if kinds else ""


FEW = 20
"""Cells below which a mean over them is not told."""


def _followed(figures: dict[str, Any]) -> str:
    """Whether the change follows maps or truth where they differ, and of how many cells; too few say nothing."""
    cells = [figures.get(f"{side}_only_cells", 0) for side in ("maps", "truth")]
    share = _number(figures.get("follows_maps")) if min(cells) >= FEW else "–"
    return f"{share} ({cells[0]:,}; {cells[1]:,})"


def _causal(figures: dict[str, Any], plain: dict[str, Any], equal: dict[str, Any]) -> str:
    own, beside, before = (f.get("causal", {}) for f in (figures, plain, equal))
    named = {
        "all layers": own,
        "supervised layers": own.get("supervised"),
        "never-supervised layers": own.get("never_supervised"),
        f"{WITHOUT}, all layers": beside,
        f"{WITHOUT}, the layers supervised here": beside.get("supervised"),
        f"{WITHOUT}, the layers never supervised here": beside.get("never_supervised"),
        f"{WITH}, all layers": before,
        f"{WITH}, supervised": before.get("supervised"),
        f"{WITH}, never supervised": before.get("never_supervised"),
        "yardstick: the true warp in place of maps": own.get("by_true_warp"),
        "yardstick: the true warp, blurred": own.get("by_blurred_warp"),
    }
    keys = (
        "retrieval",
        "correlation",
        "partial_correlation",
        "partial_correlation_given_blurs",
        "partial_correlation_of_truth",
    )
    rows: Rows = []
    for label, f in named.items():
        if f:
            shares = (_number(f.get(key)) for key in keys)
            rows.append((label, *shares, _followed(f) if "follows_maps" in f else "–", str(f["pairs"])))
    head = (
        "intervention: 12 blocks recoloured, same noise",
        f"block found by the maps alone (chance {_number(own.get('chance'))})",
        "correlation of change and map, inside the mask",
        "the same, given the true warp",
        "and given its blurs too",
        "correlation of change and true warp, given the map",
        "where they differ, the change follows the map (cells that only the map claims; only the truth)",
        "pairs",
    )
    return _table(head, rows) + READ_CAUSAL if rows else ""


READ_CAUSAL = """
A change is smeared over more cells than the sharp true warp says, so a soft map goes on correlating with it when that warp is given, as a blurred true
warp would. Read the column with the blurs for what maps tell beyond the truth, and the one after it for what the truth tells beyond the maps.
"""


def figures_text(figures: dict[str, Any], plain: dict[str, Any], equal: dict[str, Any] | None = None) -> str:
    """All tables of an evaluation, with those of the model without attention loss beside it.

    ``equal``: this model's when it had seen as many samples as that one, where it has seen more since.
    """
    setup, equal = figures["setup"], equal or {}
    about = (
        f"Measured with `python -m i2am.demo.evaluate` after {setup['samples']:,} training samples, "
        f"{setup['steps']} DDIM steps, cfg {setup['cfg']:g}, on as many held-out pairs as each line says. A dash: not measured, or too "
        f"few cells.\n"
    )
    if plain:
        about += (
            f"Beside it stands a model of the same shape, {WITHOUT} for {plain['setup']['samples']:,} samples, with this recipe's "
            f"noise and layers from its start; the end of its training was shared by two processes, half of each batch each. It was "
            f"measured in paired runs alone.\n"
        )
    return "\n".join(
        part
        for part in (
            about,
            _picture(figures, plain, equal),
            _sram(figures, plain, equal),
            _by_layer(figures, plain, equal),
            _where(figures, plain, equal),
            _causal(figures, plain, equal),
        )
        if part
    )


def bench_text(bench: dict[str, Any]) -> str:
    """The table of a benchmark."""
    rows: Rows = []
    for name, f in bench["modes"].items():
        rows.append(
            (
                name.replace("_", " "),
                _number(f.get("ratio"), ".3f"),
                _number(f.get("recorder_share"), ".3f"),
                _number(f["added_bytes"] / 1e6, ".0f") if f.get("added_bytes") is not None else "–",
                _number(f["recording_bytes"] / 1e6, ".1f") if f.get("recording_bytes") is not None else "–",
            )
        )
    head = ("mode", "time ÷ unwatched", "recorder ÷ model, processor time", "peak memory added, MB", "recording, MB")
    return _bench_setup(bench.get("setup", {})) + _table(head, rows) + _kept(bench)


def _bench_setup(setup: dict[str, Any]) -> str:
    if not setup:
        return ""
    (height, width), on = setup["size"], f"{setup['device']}, {setup['threads']} threads"
    return (
        f"A U-Net of Stable Diffusion 1.5's shape with random weights, {height} × {width} pixels, batch 2 for guidance, "
        f"{setup['tokens']} reference tokens; {setup['steps']} timed steps a mode in turns ({on}). The recording is that of "
        f"{setup['schedule']} steps.\n\n"
    )


def _kept(bench: dict[str, Any]) -> str:
    """What the budget left out in a mode, and whether memory stayed in its bounds."""
    notes = {name: f["notes"] for name, f in bench["modes"].items() if f.get("notes")}
    text = "".join(f"\n*{name.replace('_', ' ')}*: {'; '.join(told)}.\n" for name, told in notes.items())
    proofs = [proof for several in bench.get("memory", {}).values() for proof in several]
    if proofs and all(proof["held"] for proof in proofs):
        layer = bench["memory"]["layer"][-1]
        text += (
            f"\nWithin its budget in {bench['memory']['budget'][0]['steps']} steps at reduced width, and for one layer of "
            f"{layer['queries']:,} × {layer['keys']:,} tokens and {layer['heads']} heads, whose whole block would take "
            f"{layer['block_bytes'] / 1e6:,.0f} MB: at most "
            f"{max(p['added_bytes'] for p in bench['memory']['layer']) / 1e6:,.0f} MB were added (`--memory`).\n"
        )
    return text


def comfyui_text(benches: list[dict[str, Any]]) -> str:
    """What it costs inside a host."""
    rows: Rows = [
        (
            bench["setup"]["model"],
            f"{bench['setup']['tokens']:,}",
            bench["setup"]["host"],
            f"{bench['setup']['steps']}",
            name,
            _number(figures["ratio"], ".3f"),
            _number(figures["recorder_share"], ".3f"),
        )
        for bench in benches
        for name, figures in bench["modes"].items()
        if name != "none"
    ]
    head = (
        "model", "reference tokens", "host", "steps", "mode", "time ÷ unwatched, medians", "recorder ÷ model, processor time"
    )  # fmt: skip
    return f"\nInside ComfyUI (`tests/host/overhead.py`), the same picture size:\n\n{_table(head, rows)}" if rows else ""


def regularisers_text(figures: dict[str, Any]) -> str:
    """What the two losses on attention did to held-out pairs, over the seeds."""
    setup, seeds = figures["setup"], list(figures["seeds"].values())
    names = {
        "tv": "attention total variation",
        "alignment": "attribution alignment",
        "within_1": "peak within 1 patch",
        "noise": "noise error",
    }
    rows: Rows = []
    for run in ("without", "tv", "alignment"):
        means = [sum(seed[run][name] for seed in seeds) / len(seeds) for name in names]
        rows.append((names.get(run, "neither"), *(f"{mean:.4f}" for mean in means)))
    lower = all(loss["lower_in_every_seed"] for loss in figures["result"].values())
    verdict = "Each loss lowers its own figure in every seed" if lower else "Not every loss lowers its own figure in every seed"
    dearer = [sum(seed[run]["noise"] > seed["without"]["noise"] for seed in seeds) for run in ("tv", "alignment")]
    price = "both raise the noise error a little, in every seed"
    if min(dearer) < len(seeds):
        price = f"the noise error rises in {' and '.join(map(str, dearer))} of {len(seeds)} seeds"
    return (
        f"{verdict}; {price}. The demo model's U-Net, {setup['samples']} more samples after its first "
        f"{setup['start_samples']:,}; means over {len(seeds)} seeds and {setup['held_out_pairs']} held-out pairs "
        f"(`python -m i2am.demo.experiments`):\n\n" + _table(("trained with", *names.values()), rows)
    )


def _history(figures: dict[str, Any]) -> str:
    note = figures.get("setup", {}).get("about", {}).get("note", "")
    return f" ({note})" if note else ""


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _replace(text: str, name: str, body: str) -> str:
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}{body}{end}{tail}"


def build(readme: str) -> tuple[str, str]:
    """The model card and the README, from the committed JSON files; ``readme`` is its present text."""
    figures, plain, bench = _load(EVALUATION), _load(PLAIN), _load(BENCH)
    inside = [_load(path) for path in IN_COMFYUI if path.is_file()]
    body = figures_text(figures, plain, _load(EQUAL)) if figures else ""
    readme = _replace(readme, "figures", f"\n{body}\n" if body else "")
    readme = _replace(readme, "bench", f"\n{bench_text(bench)}{comfyui_text(inside)}\n" if bench else "")
    guidance, regularisers = _load(GUIDANCE), _load(REGULARISERS)
    readme = _replace(readme, "regularisers", f"\n{regularisers_text(regularisers)}\n" if regularisers.get("result") else "")
    readme = _replace(readme, "guidance", f"\n{guidance_text(guidance)}\n" if guidance else "")
    return CARD.replace("{history}", _history(figures)) + body, readme


def main(argv: list[str] | None = None) -> int:
    """Write both files; with --check only compare, and return 1 where they are out of date."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.card", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    args = parser.parse_args(argv)
    card, readme = build(README.read_text(encoding="utf-8"))
    wanted = {WEIGHTS / "README.md": card, README: readme}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if not args.check:
        for path in stale:
            path.write_text(wanted[path], encoding="utf-8")
        return 0
    return 1 if stale else 0
