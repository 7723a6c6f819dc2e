"""Files of other well-known models: the error says what they are and what to do."""

from __future__ import annotations

import paper_models as paper
import pytest
import torch
from torch import Tensor

from i2am.errors import WeightsFileError
from i2am.models.tryon.checkpoint import sort_checkpoint

FIRST = f"{paper.UNET}.input_blocks.0.0.weight"


def of_text(**more: Tensor) -> dict[str, Tensor]:
    """Stable Diffusion 1.5's keys at a tenth of its width."""
    beside = ("proj_out.", "learnable_vector", "cond_stage_model.")
    state = {k: v for k, v in paper.checkpoint("custom", paper.SMALL).items() if not k.startswith(beside)}
    state[FIRST] = state[FIRST][:, :4]
    return {**state, "cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.zeros(1), **more}


OTHERS = {
    "IP-Adapter": (
        {"image_proj.proj.weight": torch.zeros(1), "ip_adapter.1.to_k_ip.weight": torch.zeros(1)},
        "none of the paper's models: it is an IP-Adapter, .* load it with the host's own",
    ),
    "LCM": (
        of_text(**{f"{paper.UNET}.time_embed.cond_proj.weight": torch.zeros(1)}),
        r"takes 4 channels, .*; it is a latent consistency model \(LCM\), .* load it with the host's own",
    ),
    "Stable Diffusion": (of_text(), "takes 4 channels, .*; it has a text encoder, so it makes pictures from text"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_called_by_their_name(name: str) -> None:
    state, text = OTHERS[name]
    with pytest.raises(WeightsFileError, match=text):
        sort_checkpoint(state)
