"""Which of the paper's models a checkpoint holds, and its weights by part; every key of the file is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ...errors import WeightsFileError

PREFIXES = {
    "model.diffusion_model.warp_": "warp",
    "control_model.": "control",
    "model.diffusion_model.": "unet",
    "first_stage_model.": "vae",
    "cond_stage_model.transformer.vision_model.": "vision",
    "cond_stage_model.mapper.": "mapper",
    "cond_stage_model.final_ln.": "mapper",
    "proj_out.": "mapper",
    "learnable_vector": "null",
}
"""The authors' own names for the parts of their models."""
KEPT = {
    "model.diffusion_model.warp_": "model.diffusion_model.",
    "cond_stage_model.final_ln.": "cond_stage_model.",
    "proj_out.": "",
}
"""Prefixes that do not go off whole, to tell a part's pieces apart, and what of them goes."""
GARMENT = ("warp", "control")
"""The parts that StableVITON alone has."""
SCHEDULE = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
    "logvar",
}
"""Tables that every host computes itself."""
UNUSED = ("vgg.", "model_ema.", "lastzc.", "cond_stage_model.transformer.vision_model.embeddings.position_ids")
"""What training needed, or what says nothing."""
FIRST = "input_blocks.0.0.weight"
TEXT_MODEL = (
    "it has a text encoder, so it makes pictures from text, with a mask or without; choose the checkpoint of a model that "
    "takes a reference picture"
)
FAMILIES = {"paint-by-example": 9, "dci-vton": 9, "stableviton": 13, "custom": 12}
"""Input channels of each family's U-Net."""


class Part(dict[str, Tensor]):
    """The weights of one part; asking for one that is not there says so."""

    def __missing__(self, key: str) -> Tensor:
        raise WeightsFileError(
            f"the file has no {key!r} among its weights, which every model of the paper has; download it again"
        )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's weights by part.

    Attributes:
        family: of `FAMILIES`.
        parts: "unet", "vae", "vision", "mapper" and "null" to their state dicts, without the part's prefix; StableVITON's
            also "control" and "warp".
        unused: groups of keys that are not needed, with how many there were.
    """

    family: str
    parts: Mapping[str, Part]
    unused: Mapping[str, int] = field(default_factory=dict)


def sort_checkpoint(state: Mapping[str, Tensor], family: str = "auto") -> Checkpoint:
    """Tell the family of a state dict in the authors' layout, and sort its weights into parts.

    Args:
        state: keys as the authors' training code saves them.
        family: of `FAMILIES`, or "auto".

    Raises:
        WeightsFileError: the keys are another model's, a part is missing, or keys are left over; listed by group.
    """
    parts = {name: Part() for name in dict.fromkeys(PREFIXES.values())}
    unused: Counter[str] = Counter()
    unknown: list[str] = []
    for key, value in state.items():
        prefix = next((p for p in PREFIXES if key.startswith(p)), None)
        if key in SCHEDULE or key.startswith(UNUSED):
            unused["schedule" if key in SCHEDULE else key.split(".")[0]] += 1
        elif prefix is None:
            unknown.append(key)
        else:
            cut = KEPT.get(prefix, prefix)
            parts[PREFIXES[prefix]][key[len(cut) :] or "vector"] = value
    if not any(parts.values()):
        raise WeightsFileError(
            f"this file holds none of the paper's models: its keys are {_listed(state)}; choose a checkpoint of "
            f"{', '.join(FAMILIES)}"
        )
    name = _family(parts["unet"], unused, family)
    needed = [part for part in parts if part not in GARMENT or name == "stableviton"]
    missing = [prefix for prefix, part in PREFIXES.items() if part in needed and not parts[part]]
    unknown += [part for part in GARMENT if parts[part] and part not in needed]
    if missing or unknown:
        told = (_said("missing", missing), _said("unknown", _groups(unknown)), TEXT_MODEL if _reads_text(state) else None)
        raise WeightsFileError("; ".join(filter(None, told)))
    return Checkpoint(name, parts, dict(unused))


def _reads_text(state: Iterable[str]) -> bool:
    return any(key.startswith(("cond_stage_model.transformer.text_model.", "conditioner.")) for key in state)


def _family(unet: Mapping[str, Tensor], unused: Mapping[str, int], wanted: str) -> str:
    if FIRST not in unet:
        raise WeightsFileError(f"the U-Net has no {FIRST!r}, so this is no model of the latent-diffusion kind")
    channels = unet[FIRST].shape[1]
    fitting = [name for name, count in FAMILIES.items() if count == channels]
    if not fitting:
        known = ", ".join(f"{name} {count}" for name, count in FAMILIES.items())
        raise WeightsFileError(f"the U-Net takes {channels} channels, which is none of the paper's models ({known})")
    if wanted != "auto" and wanted not in fitting:
        raise WeightsFileError(
            f"family is {wanted!r} with {FAMILIES.get(wanted, 'other')} channels, but this file's U-Net takes {channels}; "
            f"set family to {' or '.join(fitting)}, or to auto"
        )
    if wanted != "auto":
        return wanted
    # only DCI-VTON's training carries the loss network along
    return "dci-vton" if "vgg" in unused and "dci-vton" in fitting else fitting[0]


def check_keys(part: str, expected: Iterable[str], given: Iterable[str]) -> None:
    """Refuse a part whose keys are not exactly those that its architecture has.

    Raises:
        WeightsFileError: lists missing and unexpected keys by group.
    """
    expected, given = set(expected), set(given)
    missing, left = sorted(expected - given), sorted(given - expected)
    if missing or left:
        told = (_said("missing", _groups(missing)), _said("unexpected", _groups(left)))
        raise WeightsFileError(f"the weights of the {part} do not fit: {'; '.join(filter(None, told))}")


def _said(what: str, groups: list[str]) -> str:
    return f"{what}: {', '.join(groups)}" if groups else ""


def _groups(keys: Iterable[str]) -> list[str]:
    """ "input_blocks.1.* (12)", at most ten of them."""
    count = Counter(".".join(key.split(".")[:2]) for key in keys)
    shown = [f"{group}.* ({n})" if n > 1 else group for group, n in count.most_common(10)]
    return [*shown, f"{len(count) - 10} more groups"] if len(count) > 10 else shown


def _listed(state: Mapping[str, Tensor]) -> str:
    return ", ".join(_groups(state)[:3]) or "none at all"
