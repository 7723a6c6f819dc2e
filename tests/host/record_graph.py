"""A graph of a model, I²AM Record, KSampler and I²AM Collect."""

from __future__ import annotations

from typing import Any

import torch

RECORD = {
    "detail": "pairwise",
    "layers": "",
    "branch": "cond",
    "budget_mb": 300,
    "groups": 5,
    "reference_tokens": "rows x columns",
    "rows": 3,
    "columns": 4,
    "leading_tokens": 0,
}
LATENT = {"samples": torch.zeros(1, 4, 16, 12)}


def sampler(model: Any, seed: int = 1, **inputs: Any) -> dict[str, Any]:
    given = {
        "model": model,
        "seed": seed,
        "steps": 3,
        "cfg": 5.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": ["give_positive", 0],
        "negative": ["give_negative", 0],
        "latent_image": ["give_latent", 0],
        "denoise": 1.0,
    }
    return {"class_type": "KSampler", "inputs": {**given, **inputs}}


def graph(seed: int = 1, **record: Any) -> dict[str, Any]:
    return {
        "record": {"class_type": "I2AM_Record", "inputs": {"model": ["give_model", 0], **RECORD, **record}},
        "sampler": sampler(["record", 0], seed),
        "collect": {"class_type": "I2AM_Collect", "inputs": {"latent": ["sampler", 0], "recording": ["record", 1]}},
    }


WATCH = {"maps": ("collect", 1), "latent": ("collect", 0)}
