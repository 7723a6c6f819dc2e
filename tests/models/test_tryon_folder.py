"""Paint-by-Example from a folder in diffusers' layout, written by diffusers' own classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import paper_models as paper
import pytest
import torch
from safetensors.torch import load_file, save_file

from i2am.errors import WeightsFileError
from i2am.models.tryon.checkpoint import sort_checkpoint
from i2am.models.tryon.folder import is_folder, read_folder, read_model
from i2am.models.tryon.model import TryOnModel
from i2am.models.tryon.networks import unet_of, vae_of

STATE = paper.checkpoint("paint-by-example", paper.SMALL)
LAYERS = 9
"""Of the image encoder; a fifth of them, rounded, are the mapper's blocks."""


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder
    from transformers import CLIPVisionConfig

    torch.manual_seed(0)
    config = CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=1, image_size=56, patch_size=14, hidden_act="quick_gelu")  # fmt: skip # noqa: E501
    model = PaintByExampleImageEncoder(config, proj_size=paper.SMALL.context)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


@pytest.fixture(scope="module")
def written(encoder: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paint-by-example")
    parts = sort_checkpoint(STATE).parts
    unet_of(parts["unet"]).save_pretrained(folder / "unet")
    vae_of(parts["vae"]).save_pretrained(folder / "vae", safe_serialization=False)
    (folder / "image_encoder").mkdir()
    save_file({k: v.contiguous() for k, v in encoder.state_dict().items()}, folder / "image_encoder" / "model.safetensors")
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "model"))


def test_the_folder_holds_the_authors_model(folder: Path, encoder: torch.nn.Module) -> None:
    assert is_folder(folder)
    state = read_model(folder)
    for key, value in STATE.items():
        if key.startswith(("model.diffusion_model.", "first_stage_model.")):
            assert torch.equal(state[key], value), key
    model = TryOnModel.load(folder)
    assert model.encoder.name == "paint-by-example"
    picture = torch.rand(1, 3, 56, 56)
    mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in (paper.CLIP_MEAN, paper.CLIP_STD))
    with torch.inference_mode():
        expected, null = encoder((picture - mean) / spread, return_uncond_vector=True)
        assert torch.allclose(model.encoder.encode(picture), expected, atol=1e-5)
    assert torch.equal(model.encoder.null(1), null)


def test_the_names_of_older_folders_are_known(folder: Path) -> None:
    """transformers up to 4 wrote `vision_model.`, and diffusers before 0.17 called the autoencoder's attention otherwise."""
    expected = read_folder(folder)
    file = folder / "image_encoder" / "model.safetensors"
    weights = load_file(file)
    older = {k.replace("model.", "model.vision_model.", 1) if k.startswith("model.") else k: v for k, v in weights.items()}
    save_file({**older, "model.vision_model.embeddings.position_ids": torch.arange(17)[None]}, file)
    file = folder / "vae" / "diffusion_pytorch_model.bin"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(key: str) -> str:
        for new, name in old.items():
            key = key.replace(f".{new}.", f".{name}.")
        return key

    torch.save({renamed(k): v for k, v in torch.load(file).items()}, file)
    state = read_folder(folder)
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in state.items())


def test_what_is_missing_or_foreign_is_named(folder: Path) -> None:
    file = folder / "image_encoder" / "model.safetensors"
    save_file({**load_file(file), "text_model.weight": torch.zeros(1)}, file)
    with pytest.raises(WeightsFileError, match=r"image_encoder is not Paint-by-Example's: its image encoder has 'text_model"):
        read_folder(folder)
    file.rename(folder / "image_encoder" / "model-00001-of-00002.safetensors")
    with pytest.raises(WeightsFileError, match=r"holds no weights in one file .*00001-of-00002"):
        read_folder(folder)
    shutil.rmtree(folder / "image_encoder")
    assert not is_folder(folder)
    with pytest.raises(WeightsFileError, match="has no folder image_encoder"):
        TryOnModel.load(folder)
