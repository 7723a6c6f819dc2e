"""The study of the routes: its figures from known rows, a run of it with the bundled weights, and what the card says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2am.demo.card.routes_text import answer, routes_text
from i2am.demo.card.sources import ROUTES
from i2am.demo.evaluate.routes import MAPS, WAYS, Measured, cuts_of, figures, main
from i2am.interventions.plan import Cut
from i2am.levels.share import DIRECTLY, THROUGH


def known() -> Measured:
    """Two pairs in which the text carries a tenth of what hiding everything changes."""
    found = Measured()
    for name in ("person", "garment"):
        for way, change in ((DIRECTLY, 0.18), (THROUGH, 0.02), ("both", 0.19), ("all", 0.2)):
            found.add(("change", name, way), [change - 0.01, change + 0.01])
        for way, share in ((DIRECTLY, 0.3), (THROUGH, 0.1)):
            found.add(("share", name, way), [share, share])
            for cut in MAPS:
                found.add(("patches", name, way, cut), [0.5, None, 0.3])
        found.add(("handed on", name, "by sinks"), [0.03, 0.05])
        found.add(("handed on", name, "in all"), [0.08, 0.08])
    for way in MAPS:
        for layer, share in (("double.0", 0.1), ("single.1", 0.4)):
            found.add(("layer share", layer, way), [share, share])
            found.add(("layer change", layer, way), [0.01, 0.01])
        found.add(("layers", way), [-0.25, -0.75])
    found.add(("change", "text", "all"), [0.04, 0.06])
    return found


def test_figures_are_means_over_pairs_and_parts_of_the_whole_cut() -> None:
    found = figures(known())
    assert found["of_all"]["garment"] == pytest.approx({DIRECTLY: 0.9, THROUGH: 0.1, "both": 0.95})
    assert found["of_both"]["person"] == pytest.approx(0.25)
    assert found["patches"]["garment"][THROUGH][DIRECTLY]["mean"] == pytest.approx(0.4)  # of those that can be said
    assert found["layers"][DIRECTLY]["mean"] == pytest.approx(-0.5)
    change = found["change"]["garment"]["all"]
    assert change["mean"] == pytest.approx(0.2)
    assert change["low"] <= change["mean"] <= change["high"]


def test_a_run_cuts_what_its_name_says() -> None:
    assert [cut.route for cut in cuts_of(1, "both")] == ["generated", "text"]
    (cut,) = cuts_of(1, THROUGH, "single.1")
    assert cut.sentence == Cut("reference", 1, route="text", layers=("single.1",)).sentence
    assert list(WAYS) == [DIRECTLY, THROUGH, "both", "all"]


def test_the_card_says_what_was_found_also_where_nothing_was_foretold() -> None:
    found = figures(known())
    assert "25% goes via text" in answer(found)
    assert "changes them 10% as much as hiding the garment from everything, cutting the direct way 90%" in answer(found)
    assert "the map via text foretells what its cut changes" in answer(found)
    assert "`single.1` (40.0 %), changes 1.0 % of the range" in answer(found)
    assert "hand on 50% of what goes to the garment via text" in answer(found)
    found["patches"]["garment"][THROUGH][THROUGH] = {"mean": 0.0, "low": -0.1, "high": 0.1}
    assert "the map via text does not foretell what its cut changes" in answer(found)
    setup: dict[str, Any] = {"command": "python -m x", "pairs": 2, "steps": 8, "samples": 100}
    text = routes_text({**found, "setup": setup})
    assert "| the garment | 30.0 (30.0 to 30.0) | 10.0" in text
    assert "| via text | the garment | 0.40 (0.30 to 0.50) | 0.00 (−0.10 to 0.10) |" in text


def test_it_is_measured_with_the_bundled_weights(tmp_path: Path) -> None:
    assert main(["--pairs", "1", "--batch", "1", "--steps", "1", "--json", str(tmp_path / "routes.json")]) == 0
    found = json.loads((tmp_path / "routes.json").read_text(encoding="utf-8"))
    assert found["setup"]["pairs"] == 1
    assert set(found["layer share"]) == {"double.0", "double.1", "single.0", "single.1", "single.2"}
    split = found["split"]
    assert sum(part["mean"] for part in split.values()) == pytest.approx(1, abs=1e-3)
    assert split["garment via text"]["mean"] == pytest.approx(found["share"]["garment"][THROUGH]["mean"], rel=1e-3)
    assert 0 < found["of_all"]["garment"][THROUGH] < found["of_all"]["garment"][DIRECTLY]
    assert routes_text(found)


def test_the_committed_figures_have_what_the_card_says() -> None:
    assert routes_text(json.loads(ROUTES.read_text(encoding="utf-8")))
