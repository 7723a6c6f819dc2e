"""Whether IMACS follows quality over models of the drawn world: the answers of `i2am compare`, kept and told."""

from __future__ import annotations

from .sources import Figures

POOLED = "all runs"
"""What `i2am compare` calls a relation over every run."""
KEPT = ("runs", "unlike", "networks", "bootstrap", "table", "answers")


def trimmed(results: Figures) -> Figures:
    """What of a comparison's results.json is committed: all but single runs' relations, sensitivities and examples.

    Raises:
        ValueError: it does not say through which networks its figures were made, which nobody can find out later.
    """
    if "networks" not in results:
        raise ValueError("this comparison names no networks; compare the runs again with a newer version")
    return {
        **{key: results[key] for key in KEPT},
        "relations": [x for x in results["relations"] if x["of"] == POOLED],
    }


def data_set_text(compared: Figures) -> str:
    """The answers in a few sentences; ``compared`` is what `trimmed` keeps.

    Raises:
        ValueError: the runs are of different numbers of images or steps.
    """
    table, answers = compared["table"], compared["answers"]
    counts = {row["values"]["ssim (paired)"]["n"] for row in table.values()}
    steps = {run["steps"] for run in compared["runs"].values()}
    if len(counts) != 1 or len(steps) != 1:
        raise ValueError(
            f"one sentence cannot tell of runs of {sorted(counts)} images in {sorted(steps)} steps; evaluate them alike"
        )
    return (
        f"Does IMACS follow quality? Asked of {len(table)} models of the bundled kind (`i2am evaluate`, `i2am compare`) over "
        f"{counts.pop()} drawn persons, each in two garments, in {steps.pop()} steps. Rank correlations of IMACS with SSIM "
        f"and PSNR that say so, image by image: {_by_image(compared['relations'])}. Model by model: "
        f"{_by_model(answers)}. {_means(table)} ([how this is measured](web/docs/evaluate.md)).\n"
    )


def _by_image(relations: list[Figures]) -> str:
    """By preset, of how many rank correlations between an IMACS and a figure of quality the interval leaves 0 out, each way."""
    verdicts: dict[str, list[Figures]] = {}
    for x in relations:
        if x["level"] == "image" and x["measure"].startswith("imacs_"):
            verdicts.setdefault(x["measure"].partition(".")[2], []).append(x)
    told = []
    for preset, found in verdicts.items():
        follows = [abs(x["spearman"]["value"]) for x in found if x["verdict"] == "follows"]
        against = sum(x["verdict"] == "against" for x in found)
        told.append(
            f"{preset} {len(follows)} of {len(found)}"
            + (f" (at most {max(follows):.2f})" if follows else "")
            + (f", {against} the opposite" if against else "")
        )
    return "; ".join(told)


def _by_model(answers: list[Figures]) -> str:
    """The answers over models, each with the presets that give it."""
    presets: dict[str, list[str]] = {}
    for x in answers:
        if x["level"] == "model":
            presets.setdefault(x["answer"], []).append(x["preset"])
    return "; ".join(f"{answer} (preset {', '.join(names)})" for answer, names in presets.items())


def _means(table: Figures) -> str:
    """The models' means of IMACS_r beside SSIM, best SSIM first."""
    rows = sorted(
        (
            (row["values"]["ssim (paired)"]["value"], row["values"]["imacs_r.default (paired)"]["value"], name)
            for name, row in table.items()
        ),
        reverse=True,
    )
    told = ", ".join(f"{imacs:.2f} at {ssim:.2f} ({name})" for ssim, imacs, name in rows)
    return f"Mean IMACS_r, preset default, at mean SSIM: {told}"
