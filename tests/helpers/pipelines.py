"""Tiny diffusers pipelines with random weights, their calls, and what their attention was really computed from."""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from planted import CONTEXT, HEADS, LATENT, LAYERS, attention_of, tiny_unet
from torch import Tensor, nn

from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.hosts.diffusers.record import DiffusersRecording, record
from i2am.maps.value import AttributionMaps

LAYOUT = Layout((Reference(TokenGrid(4, 3, 1), 1, "shirt"),), keys=16)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
STEPS = 4
EMBED = 6
"""Channels of an IP-Adapter's picture embedding."""


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def _vae() -> AutoencoderKL:
    torch.manual_seed(0)
    blocks = 4  # three halvings, as in SD
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(8,) * blocks,
        norm_num_groups=4,
    ).eval()


def pipeline(kind: Any = StableDiffusionPipeline, scheduler: Any = None, unet: Any = None, **other: Any) -> Any:
    """A pipeline without a text encoder: it is called with the prompt's embeddings."""
    pipe = kind(
        vae=_vae(),
        text_encoder=None,
        tokenizer=None,
        unet=unet or tiny_unet(sample_size=64),
        scheduler=scheduler or DDIMScheduler(**BETAS, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **other,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe: Any, steps: int = STEPS, guidance: float = 3.0, seed: int = 0, **other: Any) -> Tensor:
    """The latents that a pipeline makes."""
    keys = LAYOUT.key_count
    options = {
        "prompt_embeds": normal(1 + seed, 1, keys, CONTEXT).to(pipe.unet.dtype),
        "negative_prompt_embeds": normal(2, 1, keys, CONTEXT).to(pipe.unet.dtype),
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "generator": torch.Generator().manual_seed(5),
        "output_type": "latent",
    }
    if "image" not in other:
        options |= {"height": 8 * LATENT[0], "width": 8 * LATENT[1]}
    return pipe(**{name: value for name, value in {**options, **other}.items() if value is not None}).images


def recording_of(pipe: Any, layout: Layout | None = LAYOUT, **options: Any) -> DiffusersRecording:
    """A recording of all pairs, by head and step."""
    return record(pipe, layout, **{"pairwise": "heads", "groups": 1000, **options})


def recorded(pipe: Any, layout: Layout | None = LAYOUT, options: dict[str, Any] | None = None, **call: Any) -> Any:
    """A run's latents and maps."""
    recording = recording_of(pipe, layout, **(options or {}))
    with recording:
        out = run(pipe, **call)
    return out, recording.maps


class Truth:
    """Keeps, beside the host, what every evaluation projected: q and k of all layers, those of adapters included."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.evaluations: list[dict[str, list[Tensor]]] = []
        self._unet = unet

    def __enter__(self) -> Truth:
        self._handles = [self._unet.register_forward_pre_hook(lambda *_: self.evaluations.append({}))]
        for layer in LAYERS:
            attn = attention_of(self._unet, layer)
            for module in (attn.to_q, attn.to_k, *getattr(attn.processor, "to_k_ip", ())):
                self._handles.append(module.register_forward_hook(self._hook(layer)))
        return self

    def _hook(self, layer: str) -> Any:
        def hook(_module: nn.Module, _args: Any, out: Tensor) -> None:
            rows = out.flatten(1, -2).unflatten(2, (HEADS, -1)).transpose(1, 2)
            self.evaluations[-1].setdefault(layer, []).append(rows.double().clone())

        return hook

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def logits(self, evaluation: int, layer: str, softmax: int = 0) -> Tensor:
        """(rows, heads, N, S) of one evaluation: the layer's own, or those of the given one of its switched-on adapters."""
        q, *keys = self.evaluations[evaluation][layer]
        return q @ keys[softmax].transpose(2, 3) * q.shape[-1] ** -0.5


def assert_true(
    maps: AttributionMaps,
    truth: Truth,
    evaluations: dict[int, int],
    rows: slice = slice(1, 2),
    *,
    branch: str = "cond",
    reference: int = 0,
    softmax: int = 0,
) -> None:
    """A reference's maps equal, in each step, those of an evaluation's rows; ``softmax``: see `Truth.logits`."""
    own = maps.references[reference]
    tokens = slice(own.start, own.stop)
    assert set(maps.active[reference]) == set(evaluations)
    for layer in (x.name for x in maps.layers):
        r2g = maps.marginal("r2g", layer, branch, reference)
        pairs = maps.pairwise(layer, branch, reference) if own.grid.placed else None
        for step, evaluation in evaluations.items():
            logits = truth.logits(evaluation, layer, softmax)[rows]
            _assert_close(r2g[:, step], logits.softmax(2)[..., tokens].mean(-1), f"R2G of {layer}, step {step}")
            if pairs is not None:
                _assert_close(pairs[:, step], logits.softmax(3)[..., tokens], f"pairs of {layer}, step {step}")


def _assert_close(found: Tensor, stated: Tensor, what: str) -> None:
    torch.testing.assert_close(found.double(), stated, rtol=1e-4, atol=1e-6, msg=lambda text: f"{what}: {text}")
