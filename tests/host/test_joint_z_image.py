"""Z-Image with references: its texts, vision tokens and pictures are each filled up, and it takes whole tokens alone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint
from host_tests.cut_case import Lib as CutLib
from host_tests.test_cut_joint import close, truth_of

NAME = "z-image-omni"
FAMILY = tiny_joint.EVERY[NAME]
HERE = NAME in tiny_joint.TAKING


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.fixture(scope="module")
def cuts(pack: ModuleType) -> Any:
    return CutLib(pack)


@pytest.mark.where(HERE)
def test_what_is_filled_up_is_nobodys(lib: Any) -> None:
    """Shares of the two references, their texts, the prompt, the vision tokens, the filling and the picture add up to 1."""
    run = joint_case.run(lib, NAME, tiny_joint.conditioning(NAME, *FAMILY.sizes), steps=1, options={"pairwise": None})
    heat = lib.share.share(run.maps, lib.choice.Choice(layers="double.0"))
    names = ("reference 1", "reference 2", "text", "text around the references", "other", "vision tokens", "generated")
    assert sorted(heat.labels) == sorted(names)
    assert torch.allclose(heat.values.sum(0), torch.ones(()), atol=1e-5)
    truth = run.truth[0, "double.0", "cond"].mean((0, 1))
    spans = {"text": run.arranged("cond").words, "generated": run.spans("cond")[0], "reference 2": run.spans("cond")[2]}
    start = 32 + 64 + 32 + 32  # behind the four texts
    spans["vision tokens"] = [*range(start, start + 6), *range(start + 32, start + 32 + 36)]
    for name, span in spans.items():
        want = truth[:, span].sum(1).view(heat.values.shape[1:]).float()
        assert torch.allclose(heat.values[heat.labels.index(name)], want, atol=1e-5), name
    assert run.maps.layers[0].words == (("cond", 7 + 5 + 40 + 3),)
    assert any("look at each other without the text" in note for note in run.maps.notes)


@pytest.mark.where(HERE)
def test_pieces_that_are_full_already_are_not_filled_up(lib: Any) -> None:
    """8 x 4 and 8 x 8 tokens of pictures, as a picture of 1024 x 1024 pixels has 4096."""
    sizes, size = ((16, 8), (16, 16)), (16, 16)
    run = joint_case.run(lib, NAME, tiny_joint.conditioning(NAME, *sizes), steps=1, size=size, options={"pairwise": None})
    assert [(r.grid.rows, r.grid.columns) for r in run.maps.references] == [(8, 4), (8, 8)]
    truth = run.truth[0, "double.0", "cond"].mean((0, 1))
    heat = lib.share.share(run.maps, lib.choice.Choice(layers="double.0"))
    want = truth[:, run.spans("cond")[2]].sum(1).view(heat.values.shape[1:]).float()
    assert torch.allclose(heat.values[heat.labels.index("reference 2")], want, atol=1e-5)


@pytest.mark.where(HERE)
def test_the_first_words_are_those_of_the_prompt(cuts: Any) -> None:
    """Although the texts around the references come before them."""
    positive, base = tiny_joint.conditioning(NAME, *FAMILY.sizes), tiny_joint.model(NAME)
    words = tiny_joint.arranged(NAME, 7, FAMILY.sizes).words
    cut = tiny_joint.sample(NAME, cuts.cut(base, what="text", tokens=(1, 4)), positive)
    want = truth_of([words.start + 1, words.start + 4], None)
    assert close(cut, tiny_joint.sample(NAME, want.attach(base), positive))
    assert not close(cut, tiny_joint.sample(NAME, base, positive))


@pytest.mark.where(HERE)
@pytest.mark.parametrize("size", [(5, 8), (4, 7)], ids=str)
def test_a_reference_of_half_tokens_is_refused(lib: Any, size: tuple[int, int]) -> None:
    """The host itself fails at it, with a message about shapes."""
    positive = tiny_joint.conditioning(NAME, (4, 4), size)
    with pytest.raises(RuntimeError, match="shape"):
        tiny_joint.sample(NAME, tiny_joint.model(NAME), positive)
    recorded, _ = lib.record.attach(tiny_joint.model(NAME), lib.record.Options())
    says = rf"reference latent 2 is 1 x 16 x {size[0]} x {size[1]} .*multiples of 2 rows and columns.*multiples of 16 pixels"
    with pytest.raises(lib.errors.LayoutError, match=says):
        tiny_joint.sample(NAME, recorded, positive)


@pytest.mark.where(not HERE)
def test_a_host_that_ignores_references_is_named(lib: Any) -> None:
    recorded, _ = lib.record.attach(tiny_joint.model("z-image"), lib.record.Options())
    with pytest.raises(lib.errors.LayoutError, match=r"this version of ComfyUI does not give .* to this model.*update ComfyUI"):
        tiny_joint.sample("z-image", recorded, tiny_joint.conditioning("z-image", (4, 4)))
