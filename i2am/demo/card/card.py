"""`python -m i2am.demo.card`: writes the model card and the figures of other pages from the measured JSON, and from nothing else."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...data.text import read_text
from ...models.demo.family import WEIGHTS
from ...models.edit.family import WEIGHTS as EDIT_WEIGHTS
from .cost_text import bench_text, comfyui_text, cuts_text, evaluation_text, joint_text
from .data_set_text import data_set_text, trimmed
from .edit_card import edit_card
from .markdown import replace
from .model_card import model_card
from .readme_text import checked_text, cost_sentence, trust_paragraph
from .sources import (
    BENCH,
    COMPARED,
    CUTS,
    EDIT,
    EDIT_EQUAL,
    EDIT_PLAIN,
    EQUAL,
    EVALUATED,
    EVALUATION,
    GUIDANCE,
    HERE,
    IN_COMFYUI,
    JOINT,
    PLAIN,
    REGULARISERS,
    ROUTES,
    TRUST,
    VERDICTS,
    Figures,
    load,
)

ROOT = HERE.parents[2]
CARD = WEIGHTS / "README.md"
EDIT_CARD = EDIT_WEIGHTS / "README.md"
README = ROOT / "README.md"
COST = ROOT / "web" / "docs" / "cost.md"


def build(readme: str, cost: str) -> dict[Path, str]:
    """Every page that tells figures, as it should be; without those of models that were not measured.

    Args:
        readme: the README's present text, of which only the parts between marks are replaced.
        cost: the same of the page on cost.
    """
    figures, plain = load(EVALUATION), load(PLAIN)
    hosts = [load(path) for path in IN_COMFYUI if path.is_file()]
    readme = replace(readme, "checked", checked_text(figures, plain))
    readme = replace(readme, "cost", cost_sentence(hosts))
    readme = replace(readme, "compared", data_set_text(load(COMPARED)))
    edit = load(EDIT)
    shipped = {"edit": edit["setup"]["sha256"]} if edit else {}
    readme = replace(readme, "trust", trust_paragraph({model: load(path) for model, path in TRUST.items()}, shipped))
    return {
        **({EDIT_CARD: _edit_card(edit)} if edit else {}),
        CARD: model_card(figures, plain, load(EQUAL), load(GUIDANCE), load(REGULARISERS), load(VERDICTS), load(TRUST["tryon"])),
        README: readme,
        COST: replace(
            cost,
            "bench",
            f"\n{bench_text(load(BENCH))}{comfyui_text(hosts)}{joint_text(load(JOINT))}{cuts_text(load(CUTS))}"
            f"{evaluation_text(load(EVALUATED))}\n",
        ),
    }


def _edit_card(figures: Figures) -> str:
    return edit_card(figures, load(TRUST["edit"]), load(ROUTES), load(EDIT_EQUAL), load(EDIT_PLAIN))


def main(argv: list[str] | None = None) -> int:
    """Write the pages; with --check only compare them, and return 1 where one is out of date."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.card", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    parser.add_argument(
        "--compared", type=Path, metavar="RESULTS", help="results.json of `i2am compare` to take the answers of"
    )
    args = parser.parse_args(argv)
    if args.compared is not None:
        kept = trimmed(json.loads(read_text(args.compared, "the results.json of `i2am compare`")))
        COMPARED.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    wanted = build(README.read_text(encoding="utf-8"), COST.read_text(encoding="utf-8"))
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if args.check:
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0
