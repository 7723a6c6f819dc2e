"""Recording joint-attention models: nothing changes, and the maps are those of the attention that the model computed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint
from host_tests.joint_spy import JointSpy
from torch import Tensor

SIZES = ((4, 4), (5, 7))
Z_IMAGE = [name for name in tiny_joint.TAKING if name == "z-image"]
BOTH = {"branches": ("cond", "uncond")}


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.mark.parametrize("name", tiny_joint.TAKING)
def test_the_maps_are_of_the_attention_that_the_model_computed(lib: Any, name: str) -> None:
    """Two references of odd and unequal sizes and a batch of two, against float64."""
    sizes = tiny_joint.FAMILIES[name].sizes
    positive = tiny_joint.conditioning(name, *sizes)
    images = tiny_joint.FAMILIES[name].images
    run = joint_case.run(lib, name, positive, batch=images)
    run.check()
    family, maps = tiny_joint.FAMILIES[name], run.maps
    assert (maps.images, maps.recorded) == (images, (0, 1))
    assert len(run.calls) == 2 * len(family.layers)
    assert [(r.name, r.grid.rows, r.grid.columns) for r in maps.references] == [
        (f"reference {i}", *family.tokens(size)) for i, size in enumerate(sizes, 1)
    ]
    assert [r.grid.picture for r in maps.references] == [(h * family.factor, w * family.factor) for h, w in sizes]
    assert maps.generated_size == tuple(side * family.factor for side in tiny_joint.SIZE)
    other = tiny_joint.conditioning(name, tiny_joint.latent(name, sizes[0], 5), positive[0][1]["reference_latents"][1])
    assert not torch.equal(run.latent, tiny_joint.sample(name, tiny_joint.model(name), other, batch=images))


def first_keys(name: str, positive: Any) -> Tensor:
    """The keys of the first block in the first evaluation, (S, heads * d)."""
    spy = JointSpy()
    tiny_joint.sample(name, spy.attach(tiny_joint.model(name)), positive, steps=1)
    return spy.calls[0].k[0].transpose(0, 1).flatten(1)


@pytest.mark.parametrize("name", tiny_joint.APART)
def test_a_cell_of_a_reference_moves_exactly_its_key(lib: Any, name: str) -> None:
    """The proof of a layout: which keys of the first block one cell of one reference moves; the second is in an odd corner."""
    latents = [tiny_joint.latent(name, size, 50 + i) for i, size in enumerate(tiny_joint.FAMILIES[name].sizes)]
    before = first_keys(name, tiny_joint.conditioning(name, *latents))
    for index, row, column in ((0, 2, 1), (1, 4, 6)):
        changed = [r.clone() for r in latents]
        changed[index][..., row, column] += 1
        moved = (first_keys(name, tiny_joint.conditioning(name, *changed)) - before).abs().amax(1) > 0
        assert moved.nonzero()[:, 0].tolist() == [key_of(lib, name, latents, index, row, column)]


def key_of(lib: Any, name: str, latents: list[Tensor], index: int, row: int, column: int) -> int:
    """Which key the library takes for that of a cell of a reference latent."""
    words = max(7, tiny_joint.FAMILIES[name].text)
    given = {"c_crossattn": torch.zeros(1, words, 1), "ref_latents": latents, "ref_latents_method": "index"}
    family = tiny_joint.FAMILIES[name]
    given["ref_contexts"] = [torch.zeros(1, n, 1) for n in family.around]
    given["siglip_feats"] = [torch.zeros(1, *grid, 1) for grid in family.seen or ()]
    noise = tiny_joint.latent(name, tiny_joint.SIZE, 0)
    sequence = lib.sequence.sequence_of(lib.sequence.Given.of(tiny_joint.model(name).model, given, tuple(noise.shape), ()))
    span, patch = sequence.references[index], tiny_joint.FAMILIES[name].patch
    return int(span.positions()[row // patch * span.grid.columns + column // patch])


@pytest.mark.parametrize("name", ["kontext", "qwen-2511", "omnigen2", *Z_IMAGE])
@pytest.mark.parametrize("words", [7, 11], ids=["equal texts", "unequal texts"])
def test_both_branches(lib: Any, name: str, words: int) -> None:
    """Texts of one length are evaluated in one call, others in two; a negative with references of its own is no null."""
    sizes, length = tiny_joint.FAMILIES[name].sizes, words + 29 * (words > 7 and name in Z_IMAGE)  # more than is filled up
    positive = tiny_joint.conditioning(name, *sizes)
    negative = tiny_joint.conditioning(name, *sizes, tokens=length, seed=30)
    run = joint_case.run(lib, name, positive, negative, batch=2, options=BOTH)
    run.check(branches=("cond", "uncond"))
    assert run.maps.null_branches == ()
    assert {len(call.conditionings) for call in run.calls} == {2 if words == 7 else 1}


def test_a_negative_without_references_is_left_out_and_said(lib: Any) -> None:
    run = joint_case.run(
        lib, "kontext", tiny_joint.conditioning("kontext", *SIZES), tiny_joint.conditioning("kontext", seed=3), options=BOTH
    )
    assert run.maps.branches == ("cond",)
    assert "uncond is not recorded: its conditioning has no reference" in run.maps.notes
    run.calls[:] = [call for call in run.calls if call.k.shape[2] == run.spans("cond")[-1].stop]
    run.check()


@pytest.mark.parametrize("late", [False, True], ids=["first steps", "last steps"])
def test_references_in_some_steps_only_are_no_cache(lib: Any, late: bool) -> None:
    """Two conditionings by start and end, of which one alone has references, as ConditioningSetTimestepRange makes them."""
    parts: list[dict[str, float]] = [{"start_percent": 0.0, "end_percent": 0.5}, {"start_percent": 0.5, "end_percent": 1.0}]
    own, other = parts[::-1] if late else parts
    bare = tiny_joint.conditioning("kontext", seed=3, tokens=9, **other)
    given = tiny_joint.conditioning("kontext", *SIZES, **own)
    run = joint_case.run(lib, "kontext", [*given, *bare] if not late else [*bare, *given], steps=3)
    seen = len(run.maps.recorded)
    assert 0 < seen < 3
    want = f"the maps are of {seen} of 3 steps: in the others, the cond conditioning of these steps has no reference"
    assert want in run.maps.notes
    assert not any("cache" in note.lower() for note in run.maps.notes)


@pytest.mark.parametrize("last", [False, True], ids=["before", "after"])
def test_another_packs_override_stays(lib: Any, last: bool) -> None:
    """The spy is one; over the recording it sees every call too."""
    run = joint_case.run(lib, "qwen", tiny_joint.conditioning("qwen", *SIZES), spied_last=last)
    run.check()


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "euler_ancestral"])
def test_every_step_holds_its_last_evaluation(lib: Any, sampler: str) -> None:
    run = joint_case.run(lib, "kontext", tiny_joint.conditioning("kontext", (4, 4)), sampler=sampler, steps=3)
    layers = len(run.maps.layers)
    evaluations = [0, 2, 4] if sampler == "heun" else [0, 1, 2]  # the last one before a step is reported
    assert len(run.calls) == layers * (evaluations[-1] + 1)
    run.check(dict(enumerate(evaluations)))


@pytest.mark.parametrize("name", ["kontext", "qwen", "omnigen2"])
@pytest.mark.parametrize("size", [(4, 4), (7, 3)], ids=str)
def test_one_reference_of_any_size(lib: Any, name: str, size: tuple[int, int]) -> None:
    run = joint_case.run(lib, name, tiny_joint.conditioning(name, size), size=(5, 8), steps=1)
    run.check()
    assert [r.name for r in run.maps.references] == ["reference"]


def test_a_mask_of_the_text_is_kept(lib: Any) -> None:
    """Newer hosts attend to Qwen's text by its mask; older ones leave it out."""
    positive = tiny_joint.conditioning("qwen", (4, 4), attention_mask=torch.tensor([[1, 1, 1, 1, 1, 0, 0]]))
    joint_case.run(lib, "qwen", positive).check()


@pytest.mark.where("krea2" in tiny_joint.FAMILIES)
def test_krea2_ignores_references_until_it_is_told_how_to_place_them(lib: Any) -> None:
    positive = tiny_joint.conditioning("krea2", (4, 4), reference_latents_method=None)
    model, _ = lib.record.attach(tiny_joint.model("krea2"), lib.record.Options())
    with pytest.raises(
        lib.errors.LayoutError, match=r"ignores the conditioning's reference latents.*MultiReferenceLatentMethod"
    ):
        tiny_joint.sample("krea2", model, positive)


@pytest.mark.parametrize("name", ["kontext", "qwen", "omnigen2"])
def test_shares_of_references_text_and_picture_add_up_to_1(lib: Any, name: str) -> None:
    run = joint_case.run(lib, name, tiny_joint.conditioning(name, *SIZES), steps=1, options={"pairwise": None})
    generated, *references = run.spans("cond")
    spans = [*references, slice(0, 7), generated]
    for layer in tiny_joint.FAMILIES[name].layers:
        heat = lib.share.share(run.maps, lib.choice.Choice(layers=layer))
        assert heat.labels == ("reference 1", "reference 2", "text", "generated")
        assert torch.allclose(heat.values.sum(0), torch.ones(()), atol=1e-5)
        truth = run.truth[0, layer, "cond"].mean((0, 1))  # (N, S)
        want = torch.stack([truth[:, span].sum(1).view(heat.values.shape[1:]) for span in spans]).float()
        assert torch.allclose(heat.values, want, atol=1e-5)


def test_by_default_a_quarter_of_the_queries_is_kept(lib: Any) -> None:
    """Their shares of the references are exact; Record's ``queries`` sets ``stride``."""
    positive = tiny_joint.conditioning("flux2", *SIZES)
    quarter, whole = (
        joint_case.run(lib, "flux2", positive, size=(8, 8), steps=1, options={"stride": stride}).maps for stride in (None, 1)
    )
    layer = quarter.layers[0]
    assert (layer.grid.rows, layer.grid.columns) == (4, 4)
    kept, exact = (maps.marginal("mass", layer.name).flatten(0, 2).mean(0) for maps in (quarter, whole))
    assert all(float((exact - value).abs().min()) < 1e-6 for value in kept)


@pytest.mark.parametrize("kernel", ["basic", "pytorch", "split", "sub_quad"])
def test_with_every_attention_of_the_host(lib: Any, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.ldm.flux.math
    import comfy.ldm.modules.attention

    function = getattr(comfy.ldm.modules.attention, f"attention_{kernel}")
    monkeypatch.setattr(comfy.ldm.flux.math, "optimized_attention", function)
    joint_case.run(lib, "kontext", tiny_joint.conditioning("kontext", (4, 4)), steps=1).check()


@pytest.mark.parametrize("short", ["cond", "uncond"])
@pytest.mark.parametrize("words", [7, 11], ids=["equal texts", "unequal texts"])
def test_a_branch_with_references_in_fewer_steps_is_left_out_and_said(lib: Any, short: str, words: int) -> None:
    """Maps of other steps do not mix; what the reader is told names the branch, and why it is not there."""
    parts: list[dict[str, float]] = [{"start_percent": 0.0, "end_percent": 0.5}, {"start_percent": 0.5, "end_percent": 1.0}]
    given = {
        "cond": tiny_joint.conditioning("kontext", *SIZES),
        "uncond": tiny_joint.conditioning("kontext", *SIZES, tokens=words, seed=30),
    }
    now, bare = (
        tiny_joint.conditioning("kontext", *sizes, tokens=7 if short == "cond" else words, seed=3, **part)
        for sizes, part in zip((SIZES, ()), parts, strict=True)
    )
    given[short] = [*now, *bare]
    run = joint_case.run(lib, "kontext", given["cond"], given["uncond"], steps=3, options=BOTH)
    kept = "uncond" if short == "cond" else "cond"
    assert run.maps.branches == (kept,)
    assert run.maps.recorded == (0, 1, 2)
    assert run.maps.notes == (
        f"the branch {short!r} was left out: it has maps of 2 of 3 steps (in the others, the {short} conditioning of these "
        f"steps has no reference), and {kept} has maps of all; record the branch {short} alone to have them",
    )
    alone = joint_case.run(lib, "kontext", given["cond"], given["uncond"], steps=3, options={"branches": (short,)}).maps
    assert (alone.branches, alone.recorded) == ((short,), (0, 1))
