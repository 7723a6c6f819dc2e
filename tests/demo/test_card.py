"""The model card, the README and the page on cost say what the committed JSON says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2am.demo.card import card
from i2am.demo.card.card import CARD, COST, EDIT_CARD, README, build, main
from i2am.demo.card.cost_text import bench_text, comfyui_text
from i2am.demo.card.data_set_text import data_set_text
from i2am.demo.card.edit_card import edit_card
from i2am.demo.card.figures_text import figures_text
from i2am.demo.card.markdown import replace
from i2am.demo.card.model_card import model_card
from i2am.demo.card.readme_text import checked_text, cost_sentence, trust_paragraph
from i2am.demo.card.sources import (
    BENCH,
    COMPARED,
    EDIT,
    EQUAL,
    EVALUATION,
    GUIDANCE,
    IN_COMFYUI,
    PLAIN,
    REGULARISERS,
    TRUST,
    VERDICTS,
    Figures,
    load,
)
from i2am.evaluation.compare.claim import answers
from i2am.evaluation.compare.correlation import Bootstrap, Estimate
from i2am.evaluation.compare.relations import Relation


def test_the_pages_are_made_from_the_committed_figures() -> None:
    for path in (EVALUATION, PLAIN, EQUAL, BENCH, *IN_COMFYUI, GUIDANCE, REGULARISERS, VERDICTS):
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
    readme = (
        "before\n<!-- checked -->\nold\n<!-- /checked -->\nmiddle\n<!-- cost -->\n<!-- /cost -->\n"
        "<!-- compared -->\n<!-- /compared -->\n<!-- trust -->\nold\n<!-- /trust -->\nafter\n"
    )
    cost = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n"
    made = build(readme, cost)
    assert set(made) == {CARD, README, COST} | ({EDIT_CARD} if EDIT.is_file() else set())
    assert made[README].startswith("before\n<!-- checked -->\nOver ")
    assert "\n<!-- /checked -->\nmiddle\n<!-- cost -->\nIn " in made[README]
    assert "<!-- /cost -->\n<!-- compared -->\nDoes " in made[README]
    assert made[README].endswith("<!-- /trust -->\nafter\n")
    assert made[COST].startswith("before\n<!-- bench -->\n")
    assert made[COST].endswith("<!-- /bench -->\nafter\n")
    assert not any("\nold\n" in made[page] for page in (README, COST))
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
    figures, guidance, regularisers, verdicts = map(load, (EVALUATION, GUIDANCE, REGULARISERS, VERDICTS))
    whole = model_card(figures, {}, {}, guidance, regularisers, verdicts, {})
    heads = [line for line in whole.splitlines() if line.startswith("## ")]
    assert heads == [
        "## Figures",
        "## Does guidance move the maps?",
        "## Does the answer in words tell which letter was lost?",
        "## Two losses on the attention",
    ]
    assert figures["setup"]["about"]["note"] in whole
    assert "## Two losses" not in model_card(figures, {}, {}, guidance, {}, {}, {})
    assert "guidance move" not in model_card(figures, {}, {}, {}, regularisers, {}, {})


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


@pytest.mark.parametrize("model", TRUST)
def test_the_readme_says_how_far_maps_foretell_effects(model: str) -> None:
    study, none = load(TRUST[model]), "is surpassed by none of them"
    said = trust_paragraph({model: study, "other": {}}, {})
    study["knock_out"]["layer"]["mean"] = -0.4321
    for maps in study["deletion"].values():
        for found in maps["maps"].values():
            found["map_minus_random"]["low"] = -1
            if "map_minus_truth" in found:
                found["map_minus_truth"]["low"] = 1 if none in said else -1
    changed = trust_paragraph({model: study, "other": {}}, {})
    for words in ("layers at −0.43", " 0 of "):
        assert words not in said
        assert words in changed
    assert (none in said) != (none in changed)
    assert trust_paragraph({"other": {}}, {}) == ""
    for sha256, is_said in ((study["setup"]["sha256"], False), ("other", True)):
        assert ("as it was after" in trust_paragraph({model: study}, {model: sha256})) == is_said


def test_weights_and_card_lie_together() -> None:
    assert (CARD.parent / "unet.safetensors").is_file()
    assert CARD.is_file()
    assert README.is_file()


def test_the_answers_about_imacs_are_those_of_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def row(n: int, ssim: float, imacs: float) -> Figures:
        values = {"ssim (paired)": {"value": ssim, "n": n}, "imacs_r.default (paired)": {"value": imacs, "n": n}}
        return {"values": values}

    answers = [{"level": "model", "preset": p, "answer": a} for p, a in (("default", "yes"), ("paper", "no"), ("x", "yes"))]
    found = [("imacs_g.default", "follows", 0.5), ("imacs_r.default", "follows", 0.25), ("imacs_r.default", "not shown", 0.75)]
    found += [("imacs_g.paper", "against", -0.5), ("entropy", "follows", 0.9)]
    relations = [{"level": "image", "measure": m, "verdict": v, "spearman": {"value": n}} for m, v, n in found]
    compared = {"table": {"bad": row(9, 0.5, 0.125), "good": row(9, 0.75, 0.25)}, "answers": answers, "relations": relations}
    compared["runs"] = {"bad": {"steps": 7}, "good": {"steps": 7}}
    text = data_set_text(compared)
    assert "2 models" in text
    assert "9 drawn persons, each in two garments, in 7 steps." in text
    assert "image by image: default 2 of 3 (at most 0.50); paper 0 of 1, 1 the opposite. Model by model: yes (" in text
    assert "yes (preset default, x); no (preset paper). " in text
    assert "0.25 at 0.75 (good), 0.12 at 0.50 (bad)" in text
    with pytest.raises(ValueError, match=r"runs of \[8, 9\] images in \[7\] steps"):
        data_set_text({**compared, "table": {**compared["table"], "few": row(8, 0, 0)}})

    results = {**load(COMPARED), "sensitivity": [1], "examples": {}}
    results["relations"] = [*results["relations"], {"of": "one run"}]
    (tmp_path / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(card, "COMPARED", tmp_path / "kept.json")
    assert main(["--compared", str(tmp_path / "results.json")]) == 0
    assert load(tmp_path / "kept.json") == load(COMPARED)


def test_a_comparison_that_names_no_networks_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "COMPARED", tmp_path / "kept.json")
    nameless = {key: value for key, value in load(COMPARED).items() if key != "networks"}
    (tmp_path / "results.json").write_text(json.dumps(nameless))
    with pytest.raises(ValueError, match="names no networks; compare the runs again"):
        main(["--compared", str(tmp_path / "results.json")])
    assert not (tmp_path / "kept.json").exists()


def test_the_committed_comparison_says_what_every_figure_was_made_through() -> None:
    compared = load(COMPARED)
    named = {line.partition(":")[0] for line in compared["networks"]}
    made = {name for row in compared["table"].values() for name in row["values"] if name.split()[0] in ("fid", "kid", "lpips")}
    assert made
    assert named == {name.replace(" (", ", ").removesuffix(")") for name in made}


def test_the_four_models_are_the_shipped_one_and_worse_ones_over_all_of_the_data_set() -> None:
    compared = load(COMPARED)
    assert len(compared["runs"]) == len(compared["table"]) == 4
    assert len({run["sha256"] for run in compared["runs"].values()}) == 4
    for row in compared["table"].values():
        assert {row["values"][f"ssim ({kind})"]["n"] for kind in ("paired", "unpaired")} == {100}


def test_the_committed_answers_follow_from_the_committed_correlations() -> None:
    compared = load(COMPARED)
    found = [
        Relation(**{**x, **{name: Estimate(**x[name]) for name in ("spearman", "pearson")}}) for x in compared["relations"]
    ]
    told = [
        {"level": one.level, "preset": one.preset, "of": one.of, "answer": one.answer, "text": one.text}
        for one in answers(found, Bootstrap(**compared["bootstrap"]))
    ]
    assert compared["answers"] == told


def _edit_figures() -> Figures:
    """An edit model's evaluation in which nothing reaches its aim but the share map."""
    agreement = {"roc": 0.995, "roc_by_picture": 0.9, "iou": 0.875, "right": 0.75, "inside": 0.8, "outside": 0.1, "patches": 90}
    early, late = ("double.0", "double.1", "single.0"), ("single.1", "single.2", "single.3")
    near = {of: {"within_1": 0.5, "within_2": 0.75, "cells": 1234, "pairs": 7} for of in ("garment", "person")}
    sets = ("default", "taught", "untaught", "all")
    picture = {f"psnr_{region}": 12.25 for region in ("garment", "kept", "revealed")} | {"ssim_garment": 0.5, "pairs": 7}
    picture |= {"glyph": 0.25, "pattern": 0.5, "colour": 1.0, "glyphs_read": 9}
    change = {"change_garment": 0.125, "change_kept": 0.0625, "change_revealed": None, "roc": 0.9375, **picture}
    candidates = {f"last {n}": {"blocks": [*early, *late][-n:], "roc": 0.9 + 0.01 * (n == 2), "iou": 0.5} for n in range(1, 7)}
    return {
        "setup": {
            "samples": 1728,
            "about": {"recipe": {"samples": 150000}},
            "pairs": 7,
            "steps": 25,
            "few": 10,
            "changed_pairs": 5,
            "blocks": {"default": [*late], "taught": ["single.1", "single.2"]},
        },
        "choice": {
            "candidates": candidates,
            "best": "last 2",
            "default": [*late],
            "iou_by_threshold": {"0.5": 0.5, "0.6": 0.625},
            "best_threshold": 0.6,
            "pairs": 6,
        },
        "share": {
            **dict.fromkeys(sets, agreement),
            "by_block": {name: {**agreement, "roc": 0.25} for name in (*early, *late)},
            "baselines": {"mean_garment": {**agreement, "roc": 0.9375}},
            "where_mean_garment_errs": dict.fromkeys(sets, agreement),
        },
        "sram": {
            **dict.fromkeys(sets, near),
            "by_block": dict.fromkeys((*early, *late), near),
            "baselines": {"chance": near, "same_place": {"garment": {**near["garment"], "within_1": 0.375}}},
        },
        "picture": dict.fromkeys(("generated", "autoencoder", "untouched"), picture)
        | {"drawn": {**picture, "psnr_garment": 100.0}},
        "changes": {
            "unchanged": picture,
            "without": dict.fromkeys(("person", "garment", "both"), change),
            "cuts": {"generated→garment": change},
            "direct_of_isolated": 0.85,
        },
    }


def test_the_edit_models_card_tells_its_figures_and_its_missed_aims() -> None:
    figures = _edit_figures()
    card = edit_card(figures, {}, {}, {}, {})
    assert "**1,728 of 150,000 samples; training goes on**" in card
    assert "training goes on" not in edit_card({**figures, "setup": {**figures["setup"], "samples": 150000}}, {}, {}, {}, {})
    assert "Maps are made from `single.1`, `single.2`, `single.3` unless others are chosen" in card
    assert "0.25 (`double.0`), 0.25 (`double.1`), 0.25 (`single.0`)" in card
    assert "on 6 other pairs: of the last 1 to 6 blocks the last 2 had" in card
    assert "| which reference: area under the ROC curve | 0.990 | 0.995 | yes |" in card
    assert "| PSNR in the garment, dB | 18.0 | 12.2 | **no** |" in card
    assert "| peak within 1 patch on the garment | 0.970 | 0.500 | **no** |" in card
    assert "| `single.1` alone (taught) | 0.250 |" in card
    assert "| baseline: how often a patch is garment on other pairs | 0.938 |" in card
    assert "| baseline: the same place | 0.38 | – |" in card
    assert "| the right answer itself (the reader's ceiling) | same | 12.2 |" in card
    assert "| cut: generated→garment | 0.125 | 0.062 | – | 0.94 | 12.2 | 12.2 | 1.00 |" in card
    assert "changes the garment's area 85% as much as hiding" in card
    assert "How far can a map be trusted" not in card
    assert "Without the attention loss" not in card
    trust = load(TRUST["edit"])
    for sha256, is_said in ((trust["setup"]["sha256"], False), ("other", True)):
        of = {**figures, "setup": {**figures["setup"], "sha256": sha256}}
        said = edit_card(of, trust, {}, {}, {}).partition("## How far can a map be trusted?")[2]
        assert "G2R" in said
        assert ("This section is of earlier weights, after" in said) == is_said


def test_the_edit_models_card_sets_its_sibling_beside_it_at_an_equal_count() -> None:
    figures = _edit_figures()
    equal = {**figures, "setup": {**figures["setup"], "samples": 60000}}
    blocks = {name: {"roc": 0.5, "iou": 0.25} for name in figures["share"]["by_block"]} | {
        "double.1": {"roc": 0.75, "iou": 0.5}
    }
    plain = {**equal, "share": {**equal["share"], "by_block": blocks}}
    said = edit_card(figures, {}, {}, equal, plain).partition("## Without the attention loss")[2].partition("## ")[0]
    assert "by the flow alone, for 60,000 samples" in said
    assert "on the same 7 pairs, 25 steps" in said
    assert "| this model after 60,000 samples: the last three blocks | 0.995 |" in said
    assert "| without attention loss, 60,000 samples: best block, `double.1` | 0.750 | 0.500 | 0.50 | 0.50 |" in said
    assert "| without attention loss, 60,000 samples | 12.2 | 12.2 |" in said
    assert "began anew" not in said
    restarted = {**equal, "setup": {**equal["setup"], "about": {**equal["setup"]["about"], "start": 9780}}}
    assert "after\n60,000 samples (its optimiser began anew after 9,780)" in edit_card(figures, {}, {}, restarted, plain)
    assert "Without the attention loss" not in edit_card(figures, {}, {}, equal, {})


def test_the_edit_models_card_tells_what_its_weights_note() -> None:
    figures = _edit_figures()
    about = {**figures["setup"]["about"], "note": "in two stretches"}
    assert "samples; training goes on** (in two stretches). Each" in edit_card(
        {**figures, "setup": {**figures["setup"], "about": about}}, {}, {}, {}, {}
    )
