"""The model card, the README and the page on cost say what the committed JSON says."""

from __future__ import annotations

import pytest

from i2am.demo.card import card
from i2am.demo.card.card import CARD, COST, README, build, main
from i2am.demo.card.cost_text import bench_text, comfyui_text
from i2am.demo.card.figures_text import figures_text
from i2am.demo.card.markdown import replace
from i2am.demo.card.model_card import model_card
from i2am.demo.card.readme_text import checked_text, cost_sentence
from i2am.demo.card.sources import BENCH, EQUAL, EVALUATION, GUIDANCE, IN_COMFYUI, PLAIN, REGULARISERS, load


def test_the_pages_are_made_from_the_committed_figures() -> None:
    for path in (EVALUATION, PLAIN, EQUAL, BENCH, *IN_COMFYUI, GUIDANCE, REGULARISERS):
        assert load(path), path
    assert main(["--check"]) == 0


def test_a_changed_figure_changes_the_text() -> None:
    causal = {
        "retrieval": 0.5,
        "correlation": 0.25,
        "partial_correlation": None,
        "follows_maps": 0.75,
        "chance": 1 / 12,
        "pairs": 3,
        "maps_only_cells": 30,
        "truth_only_cells": 40,
    }
    setup = {"samples": 1000, "steps": 50, "cfg": 5.0}
    one = figures_text({"setup": setup, "causal": causal}, {})
    two = figures_text({"setup": setup, "causal": {**causal, "retrieval": 0.875}}, {"setup": setup, "causal": causal})
    assert "| all layers | 0.50 | 0.25 | – | – | – | 0.75 (30; 40) | 3 |" in one
    assert "(chance 0.08)" in one
    assert "| all layers | 0.88 | 0.25 | – | – | – | 0.75 (30; 40) | 3 |" in two
    assert "| trained without attention loss, all layers | 0.50 | 0.25 | – | – | – | 0.75 (30; 40) | 3 |" in two
    assert "intervention: blocks recoloured" in one
    counted = figures_text({"setup": {**setup, "blocks": 9}, "causal": causal}, {})
    assert "intervention: 9 blocks recoloured" in counted
    few = figures_text({"setup": setup, "causal": {**causal, "never_supervised": {**causal, "truth_only_cells": 1}}}, {})
    assert "| never-supervised layers | 0.50 | 0.25 | – | – | – | – (30; 1) | 3 |" in few
    assert "trained without attention loss" not in one
    assert "trained without attention loss for 1,000 samples" in two
    assert "–" in one
    pointing = {"supervised": {"within_1": 0.125, "within_2": 0.25, "pairs": 7}}
    pictures = {"paired": {"glyph": 0.5, "pattern": 0.625, "colour": 1.0, "ssim": 0.5, "psnr": 15.25, "pairs": 7}}
    where = {"unpaired": {x: {"auc": 0.875, "pairs": 5} for x in ("mirror", "R2G-balanced", "R2G", "inpaint_mask")}}
    both = figures_text({"setup": setup, "where": where}, {"setup": setup, "sram": pointing, "picture": pictures})
    assert "| trained without attention loss, the layers supervised here | 0.12 | 0.25 | 7 |" in both
    assert "| trained without attention loss, paired | 0.50 | 0.62 | 1.00 | 0.50 | 15.2 | 7 |" in both
    assert "| mirror of the garment's mask | 0.88 |" in both
    assert "not reached: 0.80 of the letters (0.70) and 20 dB (19.5)." in figures_text(
        {"setup": setup, "picture": {"paired": {**pictures["paired"], "glyph": 0.7, "psnr": 19.5}}}, {}
    )
    assert "not reached" not in figures_text(
        {"setup": setup, "picture": {"paired": {**pictures["paired"], "glyph": 0.8, "psnr": 20.0}}}, {}
    )
    plain = {"setup": setup, "picture": pictures, "causal": causal}
    later = figures_text({"setup": setup, "picture": pictures, "causal": causal}, plain, plain)
    assert "| this model after 1,000 samples, paired | 0.50 |" in later
    assert "| this model after 1,000 samples, all layers | 0.50 | 0.25 |" in later
    first = {"where": {"paired": where["unpaired"]}, "sram": {"supervised": pointing["supervised"]}, "setup": setup}
    assert "| this model after 1,000 samples, supervised | 0.12 |" in figures_text(first, first, first)
    assert "| paired | trained without attention loss, paired | this model after 1,000 samples, paired |" in (
        figures_text(first, first, first)
    )
    assert "this model after" not in figures_text({"setup": setup, "picture": pictures}, plain)
    layers = {"up_blocks.0.attentions.0": {"within_1": 0.5}, "up_blocks.0.attentions.1": {"within_1": 0.75}}
    alone = figures_text({"setup": setup, "sram": {"by_layer": layers}}, {"setup": setup, "sram": {"by_layer": layers}})
    assert "| `up_blocks.0.attentions.0` | no | 0.50 | 0.50 |" in alone
    assert "| `up_blocks.0.attentions.1` | yes | 0.75 | 0.75 |" in alone
    assert "no longer pointing" not in alone
    lost = {"setup": setup, "sram": {"by_layer": {"up_blocks.0.attentions.1": {"within_1": 0.25}}}}
    assert "Taught to point, but no longer pointing: `up_blocks.0.attentions.1`." in figures_text(lost, {})
    assert "| pairs | 5 |" in both


def test_build_replaces_only_between_its_marks() -> None:
    readme = "before\n<!-- checked -->\nold\n<!-- /checked -->\nmiddle\n<!-- cost -->\n<!-- /cost -->\nafter\n"
    cost = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n"
    made = build(readme, cost)
    assert set(made) == {CARD, README, COST}
    assert made[README].startswith("before\n<!-- checked -->\nOver ")
    assert "\n<!-- /checked -->\nmiddle\n<!-- cost -->\nIn " in made[README]
    assert made[README].endswith("<!-- /cost -->\nafter\n")
    assert made[COST].startswith("before\n<!-- bench -->\n")
    assert made[COST].endswith("<!-- /bench -->\nafter\n")
    assert not any("old" in made[page] for page in (README, COST))
    assert build(made[README], made[COST]) == made


@pytest.mark.parametrize("page", ["no marks", "<!-- a -->\nleft open", "<!-- /a -->\n<!-- a -->\n"])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match=r"no part between <!-- a --> and <!-- /a -->"):
        replace(page, "a", "new")


def test_check_tells_a_stale_page_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = COST.read_text(encoding="utf-8")
    monkeypatch.setattr(card, "build", lambda readme, cost: {COST: cost + "more"})
    assert main(["--check"]) == 1
    assert COST.read_text(encoding="utf-8") == text


def test_the_card_has_a_section_for_all_that_was_measured() -> None:
    figures, guidance, regularisers = load(EVALUATION), load(GUIDANCE), load(REGULARISERS)
    whole = model_card(figures, {}, {}, guidance, regularisers)
    heads = [line for line in whole.splitlines() if line.startswith("## ")]
    assert heads == ["## Figures", "## Does guidance move the maps?", "## Two losses on the attention"]
    assert figures["setup"]["about"]["note"] in whole
    assert "## Two losses" not in model_card(figures, {}, {}, guidance, {})
    assert "guidance move" not in model_card(figures, {}, {}, {}, regularisers)


def test_the_bench_table_has_a_row_for_each_mode() -> None:
    mode = {"ratio": 1.015, "recorder_share": 0.011, "added_bytes": 2_000_000, "recording_bytes": 1_500_000}
    table = bench_text({"modes": {"none": {**mode, "ratio": 1.0}, "keep_all": mode}})
    assert "| keep all | 1.015 | 0.011 | 2 | 1.5 |" in table


def test_bench_text_tells_the_setup_what_was_short_and_the_proof() -> None:
    mode = {"ratio": 1.0, "recorder_share": None, "added_bytes": 0, "recording_bytes": 0, "notes": ["the budget was short"]}
    setup = {"size": [512, 384], "device": "cpu", "threads": 2, "tokens": 257, "steps": 4, "schedule": 50}
    layer = {"queries": 12288, "keys": 4096, "heads": 8, "block_bytes": 1_610_612_736, "added_bytes": 466_000_000, "held": True}
    memory = {"budget": [{"steps": 50, "held": True}], "layer": [layer, {**layer, "added_bytes": 64_000_000}]}
    text = bench_text({"modes": {"per_head": mode}, "setup": setup, "memory": memory})
    assert (
        "512 × 384 pixels, batch 2 for guidance, 257 reference tokens; 4 timed steps per mode, taken in turns (cpu, 2 threads)"
        in text
    )
    assert "*per head*: the budget was short." in text
    assert "whole block would take 1,611 MB, at most 466 MB were added" in text
    layer["held"] = False
    assert "at most" not in bench_text({"modes": {"per_head": mode}, "setup": setup, "memory": memory})


def _in_host(model: str, tokens: int, share: float, **setup: object) -> dict[str, object]:
    about = {"host": "ComfyUI 9", "threads": 2, "steps": 6, "model": model, "tokens": tokens, **setup}
    mode = {"ratio": 1.0, "recorder_share": share}
    return {"setup": about, "modes": {"none": mode, "pairwise": mode}}


def test_what_recording_costs_in_a_host() -> None:
    benches = [_in_host("SD1.5's size", 257, 0.0249), _in_host("StableVITON", 3072, 0.112)]
    said = "2.5% for a U-Net of SD1.5's size (257 reference tokens), 11.2% for StableVITON (3,072 reference tokens)."
    assert said in cost_sentence(benches)
    assert "| StableVITON | 3,072 | ComfyUI 9 | 6 | pairwise | 1.000 | 0.112 |" in comfyui_text(benches)
    assert "| none |" not in comfyui_text(benches)
    assert comfyui_text([]) == ""
    with pytest.raises(ValueError, match="several hosts"):
        cost_sentence([*benches, _in_host("StableVITON", 3072, 0.2, host="ComfyUI 8")])


def test_the_readmes_own_figures_follow_the_evaluation() -> None:
    figures, plain = load(EVALUATION), load(PLAIN)
    said = checked_text(figures, plain)
    figures["sram"]["never_supervised"]["within_1"] = 0.4321
    figures["where"]["paired"]["R2G"]["auc"] = 0.7654
    plain["sram"]["all_layers"]["within_1"] = 0.1234
    changed = checked_text(figures, plain)
    for share in ("43.2%", "0.77", "12.3%"):
        assert share not in said
        assert share in changed


def test_weights_and_card_lie_together() -> None:
    assert (CARD.parent / "unet.safetensors").is_file()
    assert CARD.is_file()
    assert README.is_file()
