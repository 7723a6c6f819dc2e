"""Every map of each of several references is what a plain float64 softmax over all keys of the captured calls gives."""

from __future__ import annotations

import pytest
import statement
import torch
from joint_run import PICTURE, JointRun, flux_like
from torch import Tensor

from i2am.geometry.sequence import Sequence
from i2am.levels.choice import Choice
from i2am.levels.marginal import hlam, llam, tlam, ulam
from i2am.levels.patch import sram
from i2am.levels.share import share, which_reference
from i2am.maps.value import AttributionMaps
from i2am.pictures.look import Look, caption_of

RUN = JointRun({"cond": flux_like(7), "uncond": flux_like(11)}, layers=("double.0", "double.1", "single.0"), steps=3)
SIDES = ("R2G", "R2G-balanced", "mass", "G2R")


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return RUN.record(pairwise="heads", groups=3)


def sequence_of(branch: str) -> Sequence:
    return RUN.sequences[branch]


def block(branch: str, layer: str, step: int) -> Tensor:
    """(heads, N, S) float64: L of the first image."""
    return RUN.attention(layer, branch, step)[0]


def stated(side: str, branch: str, reference: int, layers: tuple[str, ...] = RUN.layers, step: int | None = None) -> Tensor:
    """(heads, N or tokens): the mean over layers and steps, scaled as the default preset scales one grid: not at all."""
    keys = sequence_of(branch).references[reference].positions()
    found = []
    for layer in layers:
        for one in range(RUN.steps) if step is None else [step]:
            logits = block(branch, layer, one)
            real = statement.real_attention(logits)[..., keys]
            found.append(
                {
                    "R2G": lambda logits=logits: statement.compared_attention(logits)[..., keys].mean(-1),
                    "R2G-balanced": lambda logits=logits: statement.balanced_attention(logits)[..., keys].mean(-1),
                    "mass": lambda real=real: real.sum(-1),
                    "G2R": lambda real=real: real.mean(-2),
                    "pairs": lambda real=real: real,
                }[side]()
            )
    return torch.stack(found).mean(0)


def same(seen: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(seen.flatten(1).double(), expected.flatten(1), rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("branch", ["cond", "uncond"])
@pytest.mark.parametrize("reference", [0, 1])
@pytest.mark.parametrize("side", SIDES)
def test_every_level(maps: AttributionMaps, side: str, reference: int, branch: str) -> None:
    choice = Choice(branch, reference)
    whole = stated(side, branch, reference)
    same(ulam(maps, side, choice).values, whole.mean(0)[None])
    same(hlam(maps, side, choice).values, whole)
    each = torch.stack([stated(side, branch, reference, (layer,)).mean(0) for layer in RUN.layers])
    same(llam(maps, side, choice).values, each)
    times = torch.stack([stated(side, branch, reference, step=step).mean(0) for step in range(RUN.steps)])
    same(tlam(maps, side, choice, groups=3).values, times)


@pytest.mark.parametrize("branch", ["cond", "uncond"])
@pytest.mark.parametrize("reference", [0, 1])
def test_sram_and_mirror(maps: AttributionMaps, reference: int, branch: str) -> None:
    choice, grid = Choice(branch, reference), maps.references[reference].grid
    pairs = stated("pairs", branch, reference).mean(0)
    for row, column in ((0, 0), (5, 3), (2, 1)):
        heat = sram(maps, (row, column), choice=choice)
        assert tuple(heat.values.shape) == (1, grid.rows, grid.columns)
        same(heat.values, pairs[row * PICTURE.columns + column][None])
    for row, column in ((0, 0), (grid.rows - 1, grid.columns - 1)):
        looked = pairs[:, row * grid.columns + column]
        same(sram(maps, (row, column), "generated", choice).values, (looked / looked.sum())[None])
    one = sram(maps, (1, 2), choice=Choice(branch, reference, layers="double.1", heads=[2], steps=(1, 2)))
    same(one.values, stated("pairs", branch, reference, ("double.1",), 1)[2, 1 * PICTURE.columns + 2][None])


def test_shares_of_all_layers(maps: AttributionMaps) -> None:
    for branch in RUN.sequences:
        real = torch.stack(
            [statement.real_attention(block(branch, x, t)).mean(0) for x in RUN.layers for t in range(RUN.steps)]
        ).mean(0)
        parts = {span.name: real[:, span.positions()].sum(-1) for span in sequence_of(branch).spans}
        heat = share(maps, Choice(branch))
        assert set(heat.labels) == set(parts)
        same(heat.values, torch.stack([parts[name] for name in heat.labels]))
        taken = torch.stack([parts["shirt"], parts["shoes"]])
        same(which_reference(maps, Choice(branch)).values, taken / taken.sum(0))


def test_a_map_says_which_of_several_references_it_is_of(maps: AttributionMaps) -> None:
    for reference, known in enumerate(maps.references):
        choice = Choice(reference=reference)
        for heat in (
            ulam(maps, "G2R", choice),
            sram(maps, (0, 0), "reference", choice),
            sram(maps, (0, 0), "generated", choice),
        ):
            assert heat.of == known.name
            assert known.name in caption_of(heat, 0, Look().resolve(heat)).partition("\n")[0]
    assert len({r.name for r in maps.references}) == len(maps.references) > 1
    assert share(maps).of == ""
