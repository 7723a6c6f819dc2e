"""The model card and the README say what the committed JSON says."""

from __future__ import annotations

from i2am.demo.card.card import EVALUATION, README, WEIGHTS, bench_text, build, figures_text, main


def test_card_and_readme_are_made_from_the_committed_figures() -> None:
    assert EVALUATION.is_file()
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
    assert "| this model after as many samples as that, paired | 0.50 |" in later
    assert "| this model after as many samples as that, all layers | 0.50 | 0.25 |" in later
    first = {"where": {"paired": where["unpaired"]}, "sram": {"supervised": pointing["supervised"]}, "setup": setup}
    assert "| this model after as many samples as that, supervised | 0.12 |" in figures_text(first, first, first)
    assert "| paired | trained without attention loss, paired | this model after as many samples as that, paired |" in (
        figures_text(first, first, first)
    )
    assert "as many samples as that" not in figures_text({"setup": setup, "picture": pictures}, plain)
    layers = {"up_blocks.0.attentions.0": {"within_1": 0.5}, "up_blocks.0.attentions.1": {"within_1": 0.75}}
    alone = figures_text({"setup": setup, "sram": {"by_layer": layers}}, {"setup": setup, "sram": {"by_layer": layers}})
    assert "| `up_blocks.0.attentions.0` | no | 0.50 | 0.50 |" in alone
    assert "| `up_blocks.0.attentions.1` | yes | 0.75 | 0.75 |" in alone
    assert "not pointing now" not in alone
    lost = {"setup": setup, "sram": {"by_layer": {"up_blocks.0.attentions.1": {"within_1": 0.25}}}}
    assert "Taught, and not pointing now: `up_blocks.0.attentions.1`." in figures_text(lost, {})
    assert "| pairs | 5 |" in both


def test_build_replaces_only_between_its_marks() -> None:
    text = "before\n<!-- figures -->\nold\n<!-- /figures -->\nmiddle\n<!-- bench -->\n<!-- /bench -->\n"
    text += "<!-- regularisers -->\n<!-- /regularisers -->\n<!-- guidance -->\n<!-- /guidance -->\nafter\n"
    _, made = build(text)
    assert made.startswith("before\n<!-- figures -->\n")
    assert "old" not in made
    assert made.endswith("<!-- /guidance -->\nafter\n")
    assert "\nmiddle\n" in made
    assert build(made)[1] == made


def test_bench_table_has_a_row_a_mode() -> None:
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
        "512 × 384 pixels, batch 2 for guidance, 257 reference tokens; 4 timed steps a mode in turns (cpu, 2 threads)" in text
    )
    assert "*per head*: the budget was short." in text
    assert "whole block would take 1,611 MB: at most 466 MB were added" in text
    layer["held"] = False
    assert "at most" not in bench_text({"modes": {"per_head": mode}, "setup": setup, "memory": memory})


def test_weights_and_card_lie_together() -> None:
    assert (WEIGHTS / "README.md").is_file()
    assert README.is_file()
