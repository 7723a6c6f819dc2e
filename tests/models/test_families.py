"""One file per family: the facts agree with an independent statement, and a made-up family needs nothing but its facts."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import paper_models as paper
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from i2am.commands import cli
from i2am.errors import I2AMError, WeightsFileError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.hosts.diffusers import tryon as diffusers_host
from i2am.models import conditioning
from i2am.models.carried import carried_by
from i2am.models.conditioning import assemble
from i2am.models.demo.family import DEMO
from i2am.models.families import FAMILIES, titles
from i2am.models.family import KEEP_MASK, REPAINT_MASK, Companion, Family, PartPrefix
from i2am.models.tryon import checkpoint, encoder, mapper, model, networks
from i2am.models.tryon.checkpoint import sort_checkpoint
from i2am.models.tryon.encoder import TryOnEncoder
from i2am.models.tryon.model import TryOnModel

SIDE, CELLS = 64, 8
MADE_UP = Family(
    name="made-up",
    title="the made-up model",
    channels=17,
    inputs=("densepose", REPAINT_MASK, "darker", "person"),
    size=(SIDE, SIDE),
    needs=("person", "densepose", "inpaint_mask"),
    composed={"darker": lambda pictures: pictures["agnostic"] / 2},
    start="darker",
    cfg=2.0,
    steps=3,
    single_token=False,
)


def checkpoint_of(family: Family, like: str = "custom") -> dict[str, Tensor]:
    """A small checkpoint of another family whose U-Net takes this family's channels."""
    state = paper.checkpoint(like, paper.SMALL)
    first = "model.diffusion_model.input_blocks.0.0.weight"
    state[first] = torch.randn(len(state[first]), family.channels, 3, 3) / 10
    return state


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Family:
    """Registered for one test."""
    monkeypatch.setitem(FAMILIES, MADE_UP.name, MADE_UP)
    return MADE_UP


def pictures() -> dict[str, Tensor | None]:
    source = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 10:40, 20:50] = 1
    return {
        "person": torch.rand(1, SIDE, SIDE, 3, generator=source),
        "densepose": torch.rand(1, SIDE, SIDE, 3, generator=source),
        "inpaint_mask": mask,
    }


def encode(shown: Tensor) -> Tensor:
    """Stands for an autoencoder of factor 8: 4 channels that tell the pictures apart."""
    small = torch.nn.functional.avg_pool2d(shown.movedim(-1, 1), 8)
    return torch.cat([small, small.mean(1, keepdim=True)], 1)


# ------------------------------------------------------------------------------------------------------ the facts


def test_the_families_take_the_channels_of_the_statement_and_have_their_own_names() -> None:
    assert {name: family.channels for name, family in FAMILIES.items()} == paper.CHANNELS
    assert all(name == family.name for name, family in FAMILIES.items())
    assert DEMO.name not in FAMILIES  # its weights ship with the pack


def test_sizes_guidance_and_steps_are_the_authors() -> None:
    assert {name: (family.size, family.cfg, family.steps) for name, family in FAMILIES.items()} == {
        "paint-by-example": ((512, 512), 5.0, 50),
        "dci-vton": ((512, 512), 1.0, 100),
        "stableviton": ((512, 384), 1.0, 50),
        "custom": ((512, 384), 5.0, 50),
    }


def test_channels_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="made-up says 16 channels, but its inputs and the noisy latents have 17"):
        replace(MADE_UP, channels=16)


def test_titles_read_as_text() -> None:
    assert titles([DEMO]) == "the demo"
    assert titles([DEMO, MADE_UP], "or") == "the demo or the made-up model"


GENERIC = (conditioning, checkpoint, encoder, mapper, model, networks, diffusers_host)


@pytest.mark.parametrize("module", GENERIC, ids=lambda module: module.__name__)
def test_generic_files_name_no_family(module: ModuleType) -> None:
    name_no_family(inspect.getsource(module))


def test_the_comfy_loader_names_no_family() -> None:
    loader = Path(diffusers_host.__file__).parents[1] / "comfy" / "loaders" / "tryon.py"
    name_no_family(loader.read_text(encoding="utf-8"))


def name_no_family(source: str) -> None:
    words = ["stableviton", "dci", "warp", "vgg", "lastzc", *(f'"{name}"' for name in FAMILIES)]
    assert not [word for word in words if word in source.lower()]


# ------------------------------------------------------------------------------------------------ a made-up family


def test_a_made_up_family_is_told_by_its_channels(made_up: Family) -> None:
    state = checkpoint_of(made_up)
    found = sort_checkpoint(state)
    assert found.family is made_up
    assert set(found.parts) == {"unet", "vae", "vision", "mapper", "null"}
    assert sort_checkpoint(state, "made-up").family is made_up
    with pytest.raises(WeightsFileError, match=r"'custom' with 12 channels, .* U-Net takes 17; set family to made-up"):
        sort_checkpoint(state, "custom")


def test_without_its_row_the_family_is_unknown() -> None:
    with pytest.raises(WeightsFileError, match=r"takes 17 channels, which is none of .* \(paint-by-example 9, "):
        sort_checkpoint(checkpoint_of(MADE_UP))


def test_a_made_up_family_is_assembled_in_its_own_order(made_up: Family) -> None:
    null, project = torch.zeros(1, 1, 6), torch.nn.Linear(5, 6)
    encoder = TryOnEncoder(made_up, lambda x: (x.new_ones(len(x), 17, 5), x.new_ones(len(x), 5)), project, null, 56, 14)
    given = pictures()
    ready = assemble(encoder, encode, torch.rand(1, 30, 20, 3), given)
    tokens, options = ready.positive[0]
    person, densepose, mask = given["person"], given["densepose"], given["inpaint_mask"]
    assert person is not None
    assert densepose is not None
    assert mask is not None
    darker = encode(torch.where(mask[..., None] == 1, torch.tensor(0.5), person) / 2)
    cells = mask.reshape(1, CELLS, 8, CELLS, 8)[:, :, 3:5, :, 3:5].mean((2, 4))[:, None]  # bilinear at an eighth
    scaled = [made_up.scale * latents for latents in (encode(densepose), darker, encode(person))]
    expected = torch.cat([scaled[0], cells, scaled[1], scaled[2]], 1)
    assert torch.allclose(options["noise_concat"], expected, atol=1e-6)
    assert torch.allclose(ready.latent, darker, atol=1e-6)
    told = carried_by(options)
    assert told is not None
    assert (tokens.shape, told.generated_size, told.layers) == ((1, 17, 6), (SIDE, SIDE), {})
    assert told.layout == Layout.of(TokenGrid(4, 4, leading=1, picture=(30, 20)))
    with pytest.raises(I2AMError, match="the made-up model also needs densepose; connect it"):
        assemble(encoder, encode, torch.rand(1, 30, 20, 3), {**given, "densepose": None})


def test_a_made_up_family_runs_from_its_checkpoint(made_up: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in checkpoint_of(made_up).items()}, file)
    loaded = TryOnModel.load(file)
    assert (loaded.encoder.name, loaded.unet.config["in_channels"], loaded.companion) == ("made-up", 17, None)
    ready = assemble(loaded.encoder, loaded.encode, torch.rand(1, 56, 56, 3), pictures())
    latents = model.try_on(loaded, ready, seeds=[1], steps=1, cfg=made_up.cfg)
    assert latents.shape == (1, 4, CELLS, CELLS)
    assert bool(latents.isfinite().all())
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "stableviton,custom,made-up}" in said
    assert "the body's part map; for StableVITON, the custom model and the made-up model" in said


def test_families_of_as_many_channels_are_told_apart_by_their_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what only their training needed, or by the parts of what runs beside the U-Net."""
    beside = Companion(
        network="other",
        inputs=("reference",),
        weights=(PartPrefix("side_model.", "side"),),
        layers=lambda latent: {"side.0": Layout.of(TokenGrid(*latent))},
    )
    mask = {"channels": 5, "inputs": (KEEP_MASK,)}
    plain, left = replace(MADE_UP, name="plain", **mask), replace(MADE_UP, name="left", leftovers=("loss_net.",), **mask)
    joined = replace(MADE_UP, name="joined", companion=beside, **mask)
    for family in (left, joined, plain):
        monkeypatch.setitem(FAMILIES, family.name, family)
    state = checkpoint_of(plain)
    assert sort_checkpoint(state).family is plain
    marked = sort_checkpoint({**state, "loss_net.conv.weight": torch.zeros(1)})
    assert (marked.family.name, marked.unused["loss_net"]) == ("left", 1)
    found = sort_checkpoint({**state, "side_model.weight": torch.zeros(1)})
    assert (found.family.name, list(found.companion), list(found.companion["side"])) == ("joined", ["side"], ["weight"])
    with pytest.raises(WeightsFileError, match="unknown: side"):
        sort_checkpoint({**state, "side_model.weight": torch.zeros(1)}, "plain")
    with pytest.raises(WeightsFileError, match=r"missing: side_model\."):
        sort_checkpoint(state, "joined")
    encoder = TryOnEncoder(joined, lambda x: (x, x), torch.nn.Identity(), torch.zeros(1, 1, 6))
    assert encoder.layers() == {"side.0": Layout.of(TokenGrid(CELLS, CELLS))}
