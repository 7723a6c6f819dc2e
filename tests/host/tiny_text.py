"""Small text encoders with random weights: the host's own classes, tokenizers and templates, in a real CLIP."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.sd
import comfy.sd1_clip
import comfy.text_encoders.flux
import comfy.text_encoders.qwen_image
import comfy.text_encoders.qwen_vl
import pytest
import torch

WIDTH = 24
"""Numbers of a token, as `tiny_joint` takes them."""
CLIP_L = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
T5 = {"d_model": WIDTH, "d_ff": 16, "d_kv": 8, "num_heads": 2, "num_layers": 2}
LLM = {"intermediate_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1}
EYES = {"hidden_size": 32, "intermediate_size": 16, "num_heads": 2, "num_layers": 2}


KINDS = ("l", "flux", "qwen", *(["klein"] if hasattr(comfy.text_encoders.flux, "klein_te") else []))
"""Those that this host has."""


def clip(kind: str, patch: pytest.MonkeyPatch | None = None) -> Any:
    """A CLIP "l", "flux", "klein" or "qwen"; of "qwen" the vision encoder is made small by ``patch``."""
    flux, qwen = comfy.text_encoders.flux, comfy.text_encoders.qwen_image
    float32 = torch.float32
    if kind == "qwen":
        assert patch is not None
        whole = comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer
        patch.setattr(comfy.text_encoders.qwen_vl, "Qwen2VLVisionTransformer", lambda **given: whole(**{**given, **EYES}))
    made: dict[str, tuple[Any, Any]] = {
        "l": (comfy.sd1_clip.SD1ClipModel, comfy.sd1_clip.SD1Tokenizer),
        "flux": (flux.flux_clip(dtype_t5=float32), flux.FluxTokenizer),
        "qwen": (qwen.te(dtype_llama=float32), qwen.QwenImageTokenizer),
    }
    if "klein" in KINDS:
        made["klein"] = flux.klein_te(dtype_llama=float32), flux.KleinTokenizer
    model, tokenizer = made[kind]
    options = {
        "clip_l_model_config": CLIP_L,
        "t5xxl_model_config": T5,
        "qwen3_4b_model_config": {**LLM, "hidden_size": WIDTH // 3, "num_hidden_layers": 28},
        "qwen25_7b_model_config": {**LLM, "hidden_size": WIDTH, "num_hidden_layers": 2},
        "dtype": float32,
    }
    out = comfy.sd.CLIP(SimpleNamespace(params={}, clip=model, tokenizer=tokenizer), model_options=options)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in out.cond_stage_model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=source))
    return out
