"""Records the demo model's try-on."""

from __future__ import annotations

from typing import Any

from ..drawn.spec import PICTURE
from ..hosts.diffusers.record import DiffusersRecording, record
from ..models.demo.family import demo_layout
from ..models.demo.networks import FACTOR, LATENT
from ..models.demo.tryon import DemoModel


def recording_of(
    model: DemoModel, *, images: int, steps: int, cfg: float = 5.0, info: dict[str, Any] | None = None, **options: Any
) -> DiffusersRecording:
    """A recording that fits `try_on`'s batches; ``options`` as for `record`."""
    guided = cfg != 1
    return record(
        model.unet,
        demo_layout(),
        steps=steps,
        branches=("uncond", "cond") if guided else ("cond",),
        images=images,
        generated_size=PICTURE,
        info={"sampler": "DDIM", "cfg": cfg, "model": "demo", **(info or {})},
        **options,
    )


assert (LATENT[0] * FACTOR, LATENT[1] * FACTOR) == PICTURE
