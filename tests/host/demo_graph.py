"""The demo try-on as an API-format prompt: model, pair, conditioning, recording, sampler, maps."""

from __future__ import annotations

from typing import Any


def demo_graph(
    *, record: bool = True, steps: int = 4, cfg: float = 5.0, seed: int = 3, **changes: dict[str, Any]
) -> dict[str, Any]:
    """Node ids are words; ``changes`` replace inputs of a node by its id."""
    graph: dict[str, Any] = {
        "model": {"class_type": "I2AM_DemoModel", "inputs": {}},
        "pair": {
            "class_type": "I2AM_DemoPair",
            "inputs": {
                "seed": 5,
                "garment": "another garment",
                "pattern": "as drawn",
                "colour": "as drawn",
                "letter": "as drawn",
            },
        },
        "conditioning": {
            "class_type": "I2AM_TryOnConditioning",
            "inputs": {
                "encoder": ["model", 2],
                "vae": ["model", 1],
                "reference": ["pair", 3],
                "agnostic": ["pair", 1],
                "densepose": ["pair", 2],
            },
        },
        "record": {
            "class_type": "I2AM_Record",
            "inputs": {
                "model": ["model", 0],
                "detail": "pairwise",
                "layers": "",
                "branch": "cond",
                "budget_mb": 300,
                "groups": 5,
                "reference_tokens": "auto",
                "rows": 16,
                "columns": 16,
                "leading_tokens": 1,
            },
        },
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["record", 0] if record else ["model", 0],
                "seed": seed,
                "steps": steps,
                "cfg": cfg,
                "sampler_name": "ddim",
                "scheduler": "ddim_uniform",
                "positive": ["conditioning", 0],
                "negative": ["conditioning", 1],
                "latent_image": ["conditioning", 2],
                "denoise": 1.0,
            },
        },
        "collect": {"class_type": "I2AM_Collect", "inputs": {"latent": ["sampler", 0], "recording": ["record", 1]}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["model", 1]}},
    }
    if not record:
        del graph["record"], graph["collect"]
    for node, inputs in changes.items():
        graph[node]["inputs"].update(inputs)
    return graph
