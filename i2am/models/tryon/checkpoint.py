"""Which of the paper's models a checkpoint holds, and its weights by part; every key of the file is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from ...errors import I2AMError, WeightsFileError
from ..families import FAMILIES
from ..family import Family, PartPrefix

PREFIXES = (
    PartPrefix("model.diffusion_model.", "unet"),
    PartPrefix("first_stage_model.", "vae"),
    PartPrefix("cond_stage_model.transformer.vision_model.", "vision"),
    PartPrefix("cond_stage_model.mapper.", "mapper"),
    PartPrefix("cond_stage_model.final_ln.", "mapper", cut="cond_stage_model."),
    PartPrefix("proj_out.", "mapper", cut=""),
    PartPrefix("learnable_vector", "null"),
)
"""The parts that every model has, by the authors' own names."""
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
UNUSED = ("model_ema.", "cond_stage_model.transformer.vision_model.embeddings.position_ids")
"""What only training needed, and what holds no weights."""
FIRST = "input_blocks.0.0.weight"
"""The U-Net's first convolution, (C, input channels, 3, 3)."""
TEXT_MODEL = (
    "it has a text encoder, so it makes pictures from text, with a mask or without; choose the checkpoint of a model that "
    "takes a reference picture"
)

ADAPTER = (
    "it is an IP-Adapter, which adds image tokens to a model that makes pictures from text; load it with the host's own "
    "node or pipeline, whose attention can be recorded"
)
CONSISTENCY = (
    "it is a latent consistency model (LCM), which makes pictures from text in a few steps; load it with the host's own "
    "node or pipeline"
)


class Part(dict[str, Tensor]):
    """The weights of one part; a missing one raises an error that names it."""

    def __missing__(self, key: str) -> Tensor:
        raise WeightsFileError(
            f"the file has no {key!r} among its weights, which every model of the paper has; download it again"
        )


@dataclass(frozen=True)
class Split:
    """A state dict by part.

    Attributes:
        parts: of all families, to their weights without the part's prefix; those that the state dict lacks are empty.
        unused: groups of keys that are not needed, with how many there were.
        unknown: keys that are none of these.
    """

    parts: dict[str, Part]
    unused: Counter[str]
    unknown: list[str]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's weights by part.

    Attributes:
        family: whose it is.
        parts: "unet", "vae", "vision", "mapper", "null" and those of the family's companion to their state dicts, without
            the part's prefix.
        unused: groups of keys that are not needed, with how many there were.
    """

    family: Family
    parts: Mapping[str, Part]
    unused: Mapping[str, int] = field(default_factory=dict)

    @property
    def companion(self) -> dict[str, Part]:
        """The parts of the family's companion alone."""
        return {name: self.parts[name] for name in _companion_parts(self.family)}


def sort_checkpoint(state: Mapping[str, Tensor], family: str = "auto") -> Checkpoint:
    """Tell the family of a state dict in the authors' layout, and sort its weights into parts.

    Args:
        state: keys as the authors' training code saves them.
        family: of `FAMILIES`, or "auto".

    Raises:
        WeightsFileError: the keys are another model's, a part is missing, or keys are left over; listed by group.
    """
    split = split_parts(state)
    if not any(split.parts.values()):
        known = _known_model(state)
        raise WeightsFileError(
            f"this file holds none of the paper's models: {known or f'its keys are {_listed(state)}'}; choose a checkpoint of "
            f"{', '.join(FAMILIES)}"
        )
    with measured("U-Net"):
        chosen = _family(state, split.parts["unet"], family)
    own = (*_companion_parts(chosen), *(place.part for place in PREFIXES))
    missing = [place.prefix for place in _prefixes() if place.part in own and not split.parts[place.part]]
    foreign = [part for part, weights in split.parts.items() if weights and part not in own]
    unknown = [*split.unknown, *foreign]
    if missing or unknown:
        told = (_known_model(state), _said("missing", missing), _said("unknown", _groups(unknown)))
        raise WeightsFileError("; ".join(filter(None, told)))
    with measured("model"):
        _check_widths(split.parts)
    _check_numbers(split.parts)
    return Checkpoint(chosen, {part: split.parts[part] for part in dict.fromkeys(own)}, dict(split.unused))


def split_parts(state: Mapping[str, Tensor]) -> Split:
    """Sort the weights of a state dict in the authors' layout into parts, whatever model it holds."""
    places = _prefixes()
    left_out = (*UNUSED, *(prefix for family in FAMILIES.values() for prefix in family.leftovers))
    split = Split({place.part: Part() for place in places}, Counter(), [])
    for key, value in state.items():
        place = next((place for place in places if key.startswith(place.prefix)), None)
        if key in SCHEDULE or key.startswith(left_out):
            split.unused["schedule" if key in SCHEDULE else key.split(".")[0]] += 1
        elif place is None:
            split.unknown.append(key)
        else:
            cut = place.prefix if place.cut is None else place.cut
            split.parts[place.part][key[len(cut) :] or "vector"] = value
    return split


def _prefixes() -> tuple[PartPrefix, ...]:
    """Of all parts; those of companions first, since they may stand below the U-Net's."""
    companions = (family.companion for family in FAMILIES.values() if family.companion)
    return (*(place for companion in companions for place in companion.weights), *PREFIXES)


def _companion_parts(family: Family) -> dict[str, None]:
    """In the order of the family's file."""
    return dict.fromkeys(place.part for place in (family.companion.weights if family.companion else ()))


def _known_model(state: Iterable[str]) -> str:
    """What another well-known model is and what to do with it; nothing: it is not known."""
    keys = list(state)
    if any(key.startswith(("image_proj.", "ip_adapter.")) for key in keys):
        return ADAPTER
    if any(key.endswith("time_embed.cond_proj.weight") for key in keys):
        return CONSISTENCY
    return (
        TEXT_MODEL if any(key.startswith(("cond_stage_model.transformer.text_model.", "conditioner.")) for key in keys) else ""
    )


def _family(state: Mapping[str, Tensor], unet: Mapping[str, Tensor], wanted: str) -> Family:
    """The family that the U-Net's input channels fit, or of several the one whose marks the keys bear."""
    if FIRST not in unet:
        raise WeightsFileError(f"the U-Net has no {FIRST!r}, so this is not a latent-diffusion model")
    channels = unet[FIRST].shape[1]
    fitting = {name: family for name, family in FAMILIES.items() if family.channels == channels}
    if not fitting:
        known = ", ".join(f"{name} {family.channels}" for name, family in FAMILIES.items())
        told = _known_model(state)
        raise WeightsFileError(
            f"the U-Net takes {channels} channels, which is none of the paper's models ({known}){f'; {told}' if told else ''}"
        )
    if wanted != "auto" and wanted not in fitting:
        expected = FAMILIES[wanted].channels if wanted in FAMILIES else "other"
        raise WeightsFileError(
            f"family is {wanted!r} with {expected} channels, but this file's U-Net takes {channels}; "
            f"set family to {' or '.join(fitting)}, or to auto"
        )
    if wanted != "auto":
        return fitting[wanted]
    marked = (family for family in fitting.values() if family.marks and any(key.startswith(family.marks) for key in state))
    unmarked = (family for family in fitting.values() if not family.marks)
    return next(marked, None) or next(unmarked, None) or next(iter(fitting.values()))


@contextmanager
def measured(part: str) -> Iterator[None]:
    """Where a network is built to the measure of its weights: tell of names and shapes that no such network has.

    Raises:
        WeightsFileError: instead of what building it raised.
    """
    try:
        yield
    except I2AMError:
        raise
    except (LookupError, ValueError, ArithmeticError, TypeError) as error:
        raise WeightsFileError(
            f"the weights of the {part} have names or shapes that no such network has ({type(error).__name__}: {error}); the "
            f"file is damaged or mixes two models, take another"
        ) from error


def _check_numbers(parts: Mapping[str, Part]) -> None:
    """Refuse weights of another type than floating point: cast to it, quantised ones would make another model."""
    odd = [(part, key, x.dtype) for part, weights in parts.items() for key, x in weights.items() if not x.is_floating_point()]
    if odd:
        part, key, dtype = odd[0]
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise WeightsFileError(
            f"{key} of the {part} is {str(dtype).removeprefix('torch.')}{more}, expected floating-point numbers; take the "
            f"checkpoint that was not quantised"
        )


def check_weights(part: str, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Refuse a part whose keys or shapes are not exactly those that its architecture has.

    Raises:
        WeightsFileError: lists missing and unexpected keys by group, or weights of another shape.
    """
    missing, left = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or left:
        told = (_said("missing", _groups(missing)), _said("unexpected", _groups(left)))
        raise WeightsFileError(f"the weights of the {part} do not fit: {'; '.join(filter(None, told))}")
    odd = [key for key, x in given.items() if _core(x) != _core(expected[key])]
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise WeightsFileError(
            f"the weights of the {part} do not fit: {odd[0]} is {_sides(given[odd[0]])}{more}, expected "
            f"{_sides(expected[odd[0]])} beside the others; the file mixes two models, take another"
        )


def _core(x: Tensor) -> tuple[int, ...]:
    """A shape as a 1 x 1 convolution and a matrix share it."""
    shape = tuple(x.shape)
    return shape[:-2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _sides(x: Tensor) -> str:
    return " x ".join(map(str, _core(x))) or "one number"


def _check_widths(parts: Mapping[str, Part]) -> None:
    """Refuse parts that were not made for each other: image encoder, projection, token for "no reference", U-Net."""
    to_k = parts["unet"].get("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    norm, projection, null = parts["vision"].get("pre_layrnorm.weight"), parts["mapper"].get("proj_out.weight"), parts["null"]
    pairs = (
        ("proj_out.weight takes", projection, -1, "the image encoder gives", norm, 0),
        ("proj_out.weight gives", projection, 0, "the U-Net takes", to_k, -1),
        ("learnable_vector has", null.get("vector"), -1, "the U-Net takes", to_k, -1),
    )
    for what, one, axis, other, two, place in pairs:
        if one is not None and two is not None and one.shape[axis] != two.shape[place]:
            raise WeightsFileError(
                f"{what} a width of {one.shape[axis]}, but {other} {two.shape[place]}; the file mixes two models, take another"
            )


def _said(what: str, groups: list[str]) -> str:
    return f"{what}: {', '.join(groups)}" if groups else ""


def _groups(keys: Iterable[str]) -> list[str]:
    """Such as "input_blocks.1.* (12)", at most ten of them."""
    count = Counter(".".join(key.split(".")[:2]) for key in keys)
    shown = [f"{group}.* ({n})" if n > 1 else group for group, n in count.most_common(10)]
    return [*shown, f"{len(count) - 10} more groups"] if len(count) > 10 else shown


def _listed(state: Mapping[str, Tensor]) -> str:
    return ", ".join(_groups(state)[:3]) or "none at all"
