"""The demo edit through the host's custom sampler, and I²AM Proof in its place."""

from __future__ import annotations

from typing import Any

from host_tests.edit_graph import edit_graph, node

BY_HAND = {"reference_tokens": "auto", "rows": 16, "columns": 16, "leading_tokens": 1}
WIDGETS = {
    "question": "does each reference matter?",
    "reference": 1,
    "map": "G2R",
    "fractions": "0.25 1",
    "random_regions": 1,
    "random_seed": 0,
    **BY_HAND,
}


def proof_graph(steps: int = 2, sampler: bool = False, **inputs: Any) -> dict[str, Any]:
    """Node ids are words; ``sampler``: also the host's own custom sampler on the same inputs."""
    whole = edit_graph(recorded=False)
    graph = {name: one for name, one in whole.items() if name not in ("sampler", "decode")}
    graph |= {
        "noise": node("RandomNoise", noise_seed=3),
        "guider": node("CFGGuider", model=["model", 0], positive=["add_garment", 0], negative=["model", 3], cfg=1.0),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=steps, denoise=1.0),
    }
    sockets = {
        "noise": ["noise", 0],
        "guider": ["guider", 0],
        "sampler": ["euler", 0],
        "sigmas": ["sigmas", 0],
        "latent_image": ["pair", 2],
    }
    if sampler:
        graph["own"] = node("SamplerCustomAdvanced", **sockets)
        graph["decode"] = node("VAEDecode", samples=["own", 0], vae=["model", 1])
    graph["proof"] = node("I2AM_Proof", **{**sockets, "vae": ["model", 1], **WIDGETS, **inputs})
    return graph
