"""The names of weights as a model has them, whatever a training program made of them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from torch import Tensor

from ...errors import WeightsFileError
from .kinds import shown

log = logging.getLogger("i2am")

WRAPPERS = ("module.", "_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.")
"""What DataParallel, torch.compile, Lightning's launchers and FSDP put before the name of every weight."""
EMA, UNET = "model_ema.", "model.diffusion_model."
_INNER = (
    *("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection", "op", "conv"),
    *("norm", "proj_in", "proj_out"),
    *(f"transformer_blocks.0.{name}" for name in ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2")),
    *(f"transformer_blocks.0.attn{i}.{name}" for i in (1, 2) for name in ("to_q", "to_k", "to_v", "to_out.0")),
)
"""The layers in a block of latent-diffusion's U-Net."""
_DOTTED = {name.replace(".", ""): name for name in _INNER}
_LEAF = "(?P<leaf>weight|bias)"
_PATTERNS = [
    (re.compile(rf"(?P<first>time_embed|out)(?P<a>\d){_LEAF}"), "{first}.{a}.{leaf}"),
    (re.compile(rf"input_blocks00{_LEAF}"), "input_blocks.0.0.{leaf}"),
    (
        re.compile(rf"(?P<first>input_blocks|output_blocks)(?P<a>\d\d?)(?P<b>\d)(?P<inner>[a-z]\w*?){_LEAF}"),
        "{first}.{a}.{b}.{inner}.{leaf}",
    ),
    (re.compile(rf"(?P<first>middle_block)(?P<b>\d)(?P<inner>[a-z]\w*?){_LEAF}"), "{first}.{b}.{inner}.{leaf}"),
    (re.compile(rf"(?P<first>warp_flow_blks)(?P<a>\d)(?P<inner>[a-z]\w*?){_LEAF}"), "{first}.{a}.{inner}.{leaf}"),
    (re.compile(rf"(?P<first>warp_zero_convs)(?P<a>\d){_LEAF}"), "{first}.{a}.{leaf}"),
]
"""Names without their dots, as the averages have them, and where the dots were."""


def plain_names(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under their model's own names.

    What a wrapper put before every name is taken off. A U-Net that is there only as latent-diffusion's average of its
    weights (EMA, ``model_ema.``, whose names have lost their dots) gets these under its own names.

    Raises:
        WeightsFileError: an averaged weight is of no U-Net that is known.
    """
    return _averaged(path, _unwrapped(path, tensors))


def _unwrapped(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    taken = ""
    for _ in WRAPPERS:
        taken += next((p for p in WRAPPERS if all(name.startswith(taken + p) for name in tensors)), "")
    if not taken or not tensors:
        return tensors
    log.info("%s: took %r off all names", path, taken)
    return {name[len(taken) :]: x for name, x in tensors.items()}


def _averaged(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    averages = [name for name in tensors if name.startswith(EMA + "diffusion_model")]
    if not averages or any(name.startswith(UNET) for name in tensors):
        return tensors
    named = {name: _dotted(name.removeprefix(EMA + "diffusion_model")) for name in averages}
    unknown = [name for name, ours in named.items() if ours is None]
    if unknown:
        raise WeightsFileError(
            f"{path} holds the U-Net only as averaged weights (EMA, {len(averages)} under '{EMA}'), and {shown(unknown[0])} is "
            f"of no U-Net that is known; take the checkpoint that also has '{UNET}', or save it from its own program inside "
            f"`with model.ema_scope():`"
        )
    log.info("%s: has the U-Net only as averaged weights (EMA); took these %d", path, len(averages))
    left = {name: x for name, x in tensors.items() if not name.startswith(EMA)}
    return {**left, **{f"{UNET}{ours}": tensors[name] for name, ours in named.items()}}


def _dotted(name: str) -> str | None:
    """A U-Net's weight with the dots that its average's name has lost."""
    for pattern, form in _PATTERNS:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        parts = match.groupdict()
        if "inner" in parts:
            if parts["inner"] not in _DOTTED:
                continue
            parts["inner"] = _DOTTED[parts["inner"]]
        return form.format(**parts)
    return None
