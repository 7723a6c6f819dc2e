"""The edit model's training: its data, its losses, its steps, and that stopping changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2am.demo.train.edit import shards as data
from i2am.demo.train.edit.attention import Attention
from i2am.demo.train.edit.attention_loss import TOKENS, attention_loss, garment_target
from i2am.demo.train.edit.batches import BOTH, DROP, GARMENT_FIRST, GARMENT_SECOND, NONE, PERSON, draw_batch, given_by
from i2am.demo.train.edit.export import export
from i2am.demo.train.edit.loop import Ranks, Recipe, Trainer
from i2am.demo.train.edit.optimiser import Optimiser, orthogonal, parts
from i2am.demo.train.edit.start import untrained
from i2am.demo.train.edit.watch import Watch
from i2am.demo.train.edit.whole import main
from i2am.drawn.groups import EDITS, draw_groups
from i2am.drawn.spec import REFERENCE
from i2am.models.edit.family import GARMENT_GRID, GARMENT_LATENT, GRID, LATENT, TAUGHT, TEXT
from i2am.models.edit.model import EditModel, load_edit

RECIPE = Recipe(samples=8, batch=2)
Shard = dict[str, Tensor]


@pytest.fixture(scope="module")
def shard() -> Shard:
    return data.group_rows(data.load_vae(), range(4))


def _same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_a_shard_holds_latents_and_truth_of_every_edit(shard: Shard) -> None:
    groups = draw_groups(range(4))
    assert shard["person"].shape == (4, 4, 4, *LATENT)
    assert shard["garment"].shape == (4, 4, 4, *GARMENT_LATENT)
    assert float(shard["person"].float().std()) == pytest.approx(1, abs=0.2)
    vae = data.load_vae()
    with torch.no_grad():
        again = vae.encode(groups.garment[1, 2:3] * 2 - 1).latent_dist.mode()
    assert float((again - shard["garment"][1, 2].float()).abs().mean()) < 0.01  # encoded in bf16
    for i, edit in enumerate(EDITS):
        share = groups.kept(*edit).unfold(-2, 8, 8).unfold(-2, 8, 8).mean((-2, -1))[:, 0]
        torch.testing.assert_close(shard["kept"][:, i].float(), share, atol=1e-3, rtol=0)


def test_finished_shards_are_read_and_others_are_made(tmp_path: Path, shard: Shard) -> None:
    save_file(shard, data.shard_path(tmp_path, 0))
    vae = data.load_vae()
    assert torch.equal(data.shard(tmp_path, 0, vae)["person"], shard["person"])
    made = data.shard(tmp_path, 1, vae, groups=1)
    want = draw_groups([data.SHARD])
    assert torch.equal(made["cover"][0, :, 0, 0].float(), want.cloth[0, :, 0, :4, :4].mean((-2, -1)))
    assert [p.name for p in tmp_path.glob("*.part")] == []


def test_each_reference_is_dropped_in_a_tenth_of_the_samples() -> None:
    seen = [given_by((i + 0.5) / 4000) for i in range(4000)]
    share = {given: seen.count(given) / len(seen) for given in {*seen}}
    assert set(share) == {BOTH, NONE, PERSON, GARMENT_FIRST, GARMENT_SECOND}
    for reference in ("person", "garment"):
        without = sum(s for given, s in share.items() if not getattr(given, reference))
        assert without == pytest.approx(DROP, abs=1e-3)
    assert share[NONE] == share[PERSON] == pytest.approx(DROP / 2, abs=1e-3)
    assert share[GARMENT_FIRST] == share[GARMENT_SECOND] == pytest.approx(DROP / 4, abs=1e-3)


def test_a_batch_is_edits_of_its_shards_with_what_is_dropped_left_out(shard: Shard) -> None:
    batch = draw_batch([shard], 200, seed=1)
    assert {part.given for part in batch} == {BOTH, NONE, PERSON, GARMENT_FIRST, GARMENT_SECOND}
    assert sum(len(part.worn) for part in batch) == 200
    for part in batch:
        shapes = [tuple(r.shape[2:]) for r in part.references]
        assert shapes == [LATENT] * part.given.person + [GARMENT_LATENT] * part.given.garment
        assert len(part.given.indices) == len(shapes)
        group, edit = next(
            (g, e) for g in range(4) for e in EDITS if torch.equal(shard["person"][g, list(e)].float(), _pair(part, 0))
        )
        assert torch.equal(part.garment[0], shard["garment"][group, edit[1]].float())
        assert torch.equal(part.kept[0], shard["kept"][group, EDITS.index(edit)].float())
        assert float(part.sigma.min()) > 0
        assert float(part.sigma.max()) < 1


def _pair(part: object, row: int) -> Tensor:
    return torch.stack([part.person[row], part.worn[row]])  # type: ignore[attr-defined]


def test_ranks_share_a_batch_out(shard: Shard) -> None:
    whole = sorted(float(n.sum()) for part in draw_batch([shard], 7, 3) for n in part.noise)
    shared = sorted(float(n.sum()) for rank in (0, 1) for part in draw_batch([shard], 7, 3, rank, 2) for n in part.noise)
    assert shared == whole


def test_attention_by_sample_is_attention_in_value_and_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    tokens = TEXT + 2 * TOKENS + GARMENT_GRID[0] * GARMENT_GRID[1]
    for rows in (tokens, TOKENS):  # the last layer has the generated rows alone
        q, k, v = (torch.randn(2, 4, n, 8, generator=rng).requires_grad_() for n in (rows, tokens, tokens))
        attend = Attention(["taught"])
        weights = (q @ k.mT * 8**-0.5).softmax(-1)
        generated = slice(None) if rows == TOKENS else slice(TEXT, TEXT + TOKENS)
        want, kept = weights @ v, weights.mean(1)[:, generated, TEXT + TOKENS :]
        got = attend("taught", q, k, v)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(attend.kept["taught"], kept)
        there = torch.autograd.grad(want.sin().sum() + kept.square().sum() * 100, (q, k, v), retain_graph=True)
        here = torch.autograd.grad(got.sin().sum() + attend.kept["taught"].square().sum() * 100, (q, k, v))
        for a, b in zip(here, there):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        assert torch.equal(attend("other", q, k, v), got)
        assert set(attend.kept) == {"taught"}


def test_garment_target_puts_its_weight_at_the_place() -> None:
    place = torch.tensor([37.0, 81.5]).view(1, 2, 1, 1)
    indices, weights = garment_target(place)
    rows, columns = indices // GARMENT_GRID[1], indices % GARMENT_GRID[1]
    x = ((columns + 0.5) * REFERENCE[1] / GARMENT_GRID[1] * weights).sum()
    y = ((rows + 0.5) * REFERENCE[0] / GARMENT_GRID[0] * weights).sum()
    assert (float(x), float(y)) == pytest.approx((37.0, 81.5))


def test_attention_loss_is_least_where_attention_is_true(shard: Shard) -> None:
    place, cloth, same = (shard[n].float()[:, 1] for n in ("place", "cloth", "kept"))
    indices, target = garment_target(place)
    true = torch.zeros(4, TOKENS, TOKENS + GARMENT_GRID[0] * GARMENT_GRID[1])
    garment = cloth.flatten(1) > 0.5
    true.scatter_add_(2, TOKENS + indices, target * garment[..., None])
    true[..., :TOKENS] += torch.eye(TOKENS) * ~garment[..., None]
    others = [torch.full_like(true, 0.01), true.roll(3, 2), true.roll(TOKENS, 2)]
    best = float(attention_loss([true], place, cloth, same))
    assert all(best < float(attention_loss([other], place, cloth, same)) - 0.5 for other in others)
    assert float(attention_loss([true * 0.1], place, cloth, same)) == pytest.approx(best)  # whatever the text takes
    assert float(attention_loss([others[0], true], place, cloth, same)) > best


def test_muons_updates_are_about_orthogonal() -> None:
    x = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))
    for matrix in (x, x.mT):
        got = torch.linalg.svdvals(orthogonal(matrix))
        assert float(got.min()) > 0.5
        assert float(got.max()) < 1.4


def test_the_parts_of_a_matrix_are_all_of_it() -> None:
    model = untrained(0)
    for name, matrix in Optimiser(model).matrices.items():
        assert sum(part.numel() for part in parts(name, matrix)) == matrix.numel()
    assert len(list(parts("single_blocks.0.linear1.weight", torch.zeros(896, 128)))) == 4
    assert [p.shape[1] for p in parts("single_blocks.0.linear2.weight", torch.zeros(128, 640))] == [128, 512]


def test_everything_but_the_blocks_matrices_is_trained_as_adamw_does() -> None:
    ours, theirs = untrained(0), untrained(0)
    optimiser = Optimiser(ours)
    names = set(optimiser.others)
    assert {"context", "network.img_in.weight", "network.single_blocks.0.norm.query_norm.scale"} <= names
    adamw = torch.optim.AdamW(
        [p for n, p in theirs.named_parameters() if n in names], lr=1e-2, betas=(0.9, 0.99), weight_decay=0
    )
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        for a, b in zip(ours.parameters(), theirs.parameters()):
            a.grad = torch.randn(a.shape, generator=rng)
            b.grad = a.grad.clone()
        optimiser.step(1e-2)
        adamw.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
        assert name not in names or torch.allclose(a, b, atol=1e-6)


def test_an_untrained_model_gives_nothing_and_has_its_gates_open() -> None:
    network = untrained(0).network
    noise = torch.randn(1, 4, *LATENT)
    with torch.no_grad():
        assert not bool(network(noise, torch.ones(1), torch.zeros(1, TEXT, 32)).any())
    for modulation in (network.double_blocks[0].img_mod, network.single_blocks[1].modulation):
        parts_of = modulation.lin.bias.detach().view(modulation.parts, -1)
        assert bool((parts_of[2::3] == 1).all())
        assert float(parts_of.sum()) == 128 * modulation.parts / 3


def test_a_training_that_stopped_goes_on_as_if_it_had_not(tmp_path: Path, shard: Shard) -> None:
    through = Trainer(tmp_path / "through.safetensors", RECIPE)
    losses = [through.step([shard]) for _ in range(2)]
    through.save()
    for part in range(2):
        stopped = Trainer(tmp_path / "stopped.safetensors", RECIPE)
        assert stopped.done == part * 2
        assert stopped.step([shard]) == losses[part]
        stopped.save()
    assert _same(tmp_path / "through.safetensors", tmp_path / "stopped.safetensors")


def test_several_processes_train_as_one_does(tmp_path: Path, shard: Shard) -> None:
    alone = Trainer(tmp_path / "alone.safetensors", RECIPE)
    given: list[Tensor] = []
    second = Trainer(tmp_path / "a.safetensors", RECIPE, Ranks(1, 2, lambda flat: given.append(flat.clone())))
    first = Trainer(tmp_path / "b.safetensors", RECIPE, Ranks(0, 2, lambda flat: flat.add_(given[0])))
    want = alone.step([shard])
    second.step([shard])
    assert first.step([shard]) == pytest.approx(want, rel=2e-3)  # bf16, and each takes the mean over its own tokens
    ours, theirs = (torch.cat([p.grad.flatten() for p in t.model.parameters()]) for t in (first, alone))
    assert float((ours - theirs).norm() / theirs.norm()) < 0.02


def test_attention_is_taught_in_the_first_half_alone(tmp_path: Path, shard: Shard) -> None:
    trainer = Trainer(tmp_path / "edit.safetensors", Recipe(samples=8, batch=4))
    assert trainer.step([shard])["attention"] > 0
    assert trainer.step([shard])["attention"] == 0
    plain = Trainer(tmp_path / "plain.safetensors", Recipe(samples=8, attention_weight=0, batch=4))
    assert plain.step([shard])["attention"] == 0
    assert set(TAUGHT) == {"single.1", "single.2"}


def test_the_rate_warms_up_and_falls_late() -> None:
    recipe = Recipe(samples=12_000)
    assert recipe.rate_at(0) == pytest.approx(recipe.rate / 60)
    assert recipe.rate_at(59 * 12) == recipe.rate_at(7000) == recipe.rate
    assert recipe.rate_at(12_000) == pytest.approx(0.02 * recipe.rate)
    assert recipe.rate_at(1200, start=1200) == pytest.approx(recipe.rate / 60)
    assert [recipe.shards_at(n) for n in (0, 999, 1000, 10**6)] == [1, 1, 2, recipe.shards]


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edit.safetensors"
    Trainer(path, RECIPE).save()
    assert Trainer(path, Recipe(samples=80, batch=2)).done == 0  # longer is no other recipe
    with pytest.raises(ValueError, match=r"seed 0 instead of 1.*another name"):
        Trainer(path, Recipe(samples=8, batch=2, seed=1))


def test_a_training_begins_with_exported_weights_and_then_goes_on_from_its_own(tmp_path: Path, shard: Shard) -> None:
    first = Trainer(tmp_path / "first.safetensors", RECIPE)
    first.step([shard])
    first.save()
    weights = export(tmp_path / "first.safetensors", tmp_path / "weights")
    begun = Trainer(tmp_path / "second.safetensors", RECIPE, weights=weights)
    assert (begun.done, begun.start) == (2, 2)
    for model in (begun.model, begun.average):
        for name, value in first.average.file_state().items():
            torch.testing.assert_close(model.file_state()[name], value, atol=1e-3, rtol=1e-3)
    begun.step([shard])
    begun.save()
    resumed = Trainer(tmp_path / "second.safetensors", RECIPE, weights=weights)
    assert (resumed.done, resumed.start) == (4, 2)
    with pytest.raises(ValueError, match="seed 0 instead of 1"):
        Trainer(tmp_path / "third.safetensors", Recipe(samples=8, batch=2, seed=1), weights=weights)


def test_the_average_is_exported_in_half_precision_with_what_it_is(tmp_path: Path, shard: Shard) -> None:
    trainer = Trainer(tmp_path / "edit.safetensors", RECIPE)
    trainer.step([shard])
    trainer.save()
    path = export(tmp_path / "edit.safetensors", tmp_path / "weights", {"note": "tiny"})
    assert path.stat().st_size < 5_000_000
    state, about = load_edit(tmp_path / "weights")
    assert (about["samples"], about["recipe"]["batch"], about["note"]) == (2, 2, "tiny")
    for name, value in trainer.average.file_state().items():
        assert torch.equal(state[name], value.half().float())
    assert EditModel.load(tmp_path / "weights").about == about
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no checkpoint of the edit model"):
        export(tmp_path / "other.safetensors", tmp_path / "weights")
    with safe_open(path, "pt") as file:
        assert file.get_tensor("context").dtype == torch.float16


def test_weights_that_are_not_finite_in_half_precision_do_not_replace_others(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "edit.safetensors", RECIPE)
    trainer.save()
    export(tmp_path / "edit.safetensors", tmp_path)
    trainer.average.context.data.fill_(1e6)
    trainer.save(tmp_path / "spoilt.safetensors")
    with pytest.raises(ValueError, match="context is not finite"):
        export(tmp_path / "spoilt.safetensors", tmp_path / "weights")
    assert not list((tmp_path / "weights").glob("*")) if (tmp_path / "weights").exists() else True


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"edit\.safetensors is missing"):
        EditModel.load(tmp_path)


def test_a_look_at_held_out_edits_is_one_line_of_json(tmp_path: Path) -> None:
    watch = Watch(data.load_vae(), tmp_path / "edit.jsonl", count=2, sampled=1)
    row = watch.look(untrained(0).eval(), {"samples": 5})
    assert json.loads((tmp_path / "edit.jsonl").read_text(encoding="utf-8"))["samples"] == 5
    assert set(row["blocks"]) == {"double.0", "double.1", "single.0", "single.1", "single.2", "single.3"}
    assert all(0 <= value <= 1 for figures in row["blocks"].values() for value in figures.values())
    assert 0 < row["psnr_garment"] < 20


def test_attention_at_the_truth_gets_full_marks_from_the_watch(tmp_path: Path) -> None:
    watch = Watch(data.load_vae(), tmp_path / "edit.jsonl", count=2, sampled=1)
    x, y = watch.true_cell.round().long().unbind(-1)
    true = torch.zeros(2, TOKENS, TOKENS + GARMENT_GRID[0] * GARMENT_GRID[1])
    index = (TOKENS + y * GARMENT_GRID[1] + x).clamp(TOKENS, true.shape[2] - 1)
    true.scatter_(2, index[..., None], watch.on_garment[..., None].float())
    true[..., :TOKENS] += torch.eye(TOKENS) * ~watch.on_garment[..., None]
    full = {"share_roc": 1.0, "garment_within_1": 1.0, "person_within_1": 1.0}
    assert watch._figures(true) == full
    shifted = watch._figures(true.roll((3 * GRID[1], 3), (1, 2)))
    assert all(shifted[name] < 0.9 for name in full)


def test_the_whole_training_stops_resumes_and_exports(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "data").mkdir()
    save_file(shard, data.shard_path(tmp_path / "data", 0))
    given = ["--out", str(tmp_path), "--samples", "36", "--watch-every", "0", "--snapshots", "12"]
    for until in (12, 24):
        assert main([*given, "--until", str(until)]) == 0
        assert EditModel.load(tmp_path / "weights").about["samples"] == until
    assert (tmp_path / "edit-12.safetensors").exists()
    assert main([*given, "--seed", "1"]) == 2  # the checkpoint is of another seed
    with pytest.raises(SystemExit):
        main([*given, "--until", "37"])
