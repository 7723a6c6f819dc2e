"""The networks that LPIPS, FID and KID look through: the usual ones where their weights lie on this machine, or a given one.

Nothing is downloaded. A missing network is told with the file that would bring it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from ..digest import sha256_of
from ..errors import EvaluationError
from ..facts import Lacking

INCEPTION_SCRIPT = "inception-2015-12-05.pt"
"""The FID network as TorchScript, as published with StyleGAN2-ADA and 3."""
INCEPTION_STATE = "weights-inception-2015-12-05-6726825d.pth"
"""The same weights as published with torch-fidelity, which must then be installed."""
ALEXNET = "alexnet-owt-7be5be79.pth"
"""LPIPS's backbone, as torchvision downloads it."""
DIGITS = 8
"""Of a file's sha256, to name it by."""


def weights_folder() -> Path:
    """Where PyTorch keeps weights that it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def told(path: Path) -> str:
    """A path for people, with ~ for their home."""
    home = Path.home()
    return str(Path("~") / path.relative_to(home)) if path.is_relative_to(home) else str(path)


class Lpips:
    """LPIPS of two pictures.

    Args:
        network: takes pictures (1, 3, H, W) in -1 to 1 twice and gives their distance, one number.
        name: of its file.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], name: str, device: str | torch.device) -> None:
        self._network, self.name, self._device = network, name, device

    @torch.inference_mode()
    def __call__(self, generated: Tensor, truth: Tensor) -> float:
        """The distance of two pictures (3, H, W) in 0-1.

        Raises:
            EvaluationError: the network gives anything but one finite number.
        """
        given = (picture[None].to(self._device) * 2 - 1 for picture in (generated, truth))
        try:
            distance = self._network(*given)
        except (RuntimeError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"{self.name} cannot compare pictures of shape (1, 3, {generated.shape[1]}, {generated.shape[2]}) "
                f"({_brief(error)}); expected a network of two such pictures in -1 to 1"
            ) from error
        if not isinstance(distance, Tensor) or distance.numel() != 1 or not bool(distance.isfinite()):
            raise EvaluationError(f"{self.name} gave {_shape(distance)} for two pictures, expected one finite number")
        return float(distance)


def lpips_of(file: Path | None = None, device: str | torch.device = "cpu") -> Lpips | Lacking:
    """LPIPS with AlexNet, or with a given network; why there is none, otherwise.

    Args:
        file: a TorchScript (or ``.pt2``) network; None: torchmetrics' own, whose backbone comes from torchvision.
        device: where it runs.

    Raises:
        EvaluationError: the given file is no such network.
    """
    if file is not None:
        return Lpips(_scripted(file, device), named(file), device)
    place = weights_folder() / ALEXNET
    if not place.is_file():
        return Lacking(
            reason=f"AlexNet's weights are not there: place {ALEXNET} (download.pytorch.org/models/{ALEXNET}) as "
            f"{told(place)}, or give a network of your own by --lpips",
            file=told(place),
        )
    if find_spec("torchvision") is None:
        return Lacking(reason="torchvision, which builds AlexNet, is not there: install the one that belongs to your torch")
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity(net_type="alex").net.to(device)
    return Lpips(network, named(place), device)


class FeatureNetwork(nn.Module):
    """Features of pictures, for FID and KID.

    Args:
        network: takes pictures (B, 3, H, W) uint8 and gives features (B, D).
        name: of its file.
        device: where it runs.
        **options: further arguments of the network.
    """

    def __init__(self, network: Callable[..., Tensor], name: str, device: str | torch.device, **options: Any) -> None:
        super().__init__()
        self._call, self.name, self._device, self._options = network, name, device, options

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        """Features (B, D) in float64 of pictures (B, 3, H, W) uint8.

        Raises:
            EvaluationError: the network gives anything else.
        """
        try:
            features = self._call(pictures.to(self._device), **self._options)
        except (RuntimeError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"{self.name} cannot take pictures of shape {tuple(pictures.shape)}, uint8 ({_brief(error)}); expected a "
                f"network from (B, 3, H, W) uint8 to (B, D)"
            ) from error
        fits = isinstance(features, Tensor) and features.ndim == 2 and len(features) == len(pictures)
        if not fits or not features.is_floating_point() or not bool(features.isfinite().all()):
            raise EvaluationError(
                f"{self.name} gave {_shape(features)} for pictures of shape {tuple(pictures.shape)}, expected "
                f"({len(pictures)}, D) finite numbers"
            )
        return features.double().cpu()


def features_of(file: Path | None = None, device: str | torch.device = "cpu") -> FeatureNetwork | Lacking:
    """The Inception network of FID and KID, or a given one; why there is none, otherwise.

    Args:
        file: a TorchScript (or ``.pt2``) network from (B, 3, H, W) uint8 to (B, D); or, ending in ``.pth``, the state dict of
            torch-fidelity's Inception. None: whichever of the two usual files lies where PyTorch keeps weights.
        device: where it runs.

    Raises:
        EvaluationError: the given file is no such network.
    """
    if file is not None:
        return _inception(file, device) if file.suffix == ".pth" else _script_features(file, device)
    script, state = weights_folder() / INCEPTION_SCRIPT, weights_folder() / INCEPTION_STATE
    if script.is_file():
        return _script_features(script, device)
    if state.is_file() and find_spec("torch_fidelity") is not None:
        return _inception(state, device)
    return Lacking(
        reason=f"the Inception network is not there: place {INCEPTION_SCRIPT} (published with StyleGAN2-ADA's metrics) as "
        f"{told(script)}, or {INCEPTION_STATE} beside it where torch-fidelity is installed, or give a network of your own by "
        f"--features",
        file=told(script),
    )


def named(file: Path) -> str:
    """A file's name with the first digits of its sha256."""
    return f"{file.name} ({sha256_of([file])[:DIGITS]})"


def _script_features(file: Path, device: str | torch.device) -> FeatureNetwork:
    network = _scripted(file, device)
    schema = getattr(getattr(network, "forward", None), "schema", None)
    options = {"return_features": True} if schema is not None and "return_features" in str(schema) else {}
    return FeatureNetwork(network, named(file), device, **options)


def _inception(file: Path, device: str | torch.device) -> FeatureNetwork:
    if find_spec("torch_fidelity") is None:
        raise EvaluationError(
            f"{file} is a state dict, which needs torch-fidelity: pip install torch-fidelity, or give TorchScript"
        )
    from torchmetrics.image.fid import NoTrainInceptionV3

    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(file)).to(device)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{file} is not the state dict of torch-fidelity's Inception ({_brief(error)})") from error
    return FeatureNetwork(network, named(file), device)


def _scripted(file: Path, device: str | torch.device) -> Callable[..., Tensor]:
    """A network out of a TorchScript or a torch.export file."""
    if not file.is_file():
        raise EvaluationError(f"there is no {file}; give a network as TorchScript (torch.jit.save) or .pt2 (torch.export.save)")
    try:
        if file.suffix == ".pt2":
            return torch.export.load(file).module().to(device)
        return torch.jit.load(str(file), map_location=device).eval()  # type: ignore[no-any-return]
    except (RuntimeError, ValueError, OSError, KeyError, AssertionError, BadZipFile) as error:
        raise EvaluationError(
            f"{file} holds no network ({_brief(error)}); give one as TorchScript (torch.jit.save) or .pt2 (torch.export.save)"
        ) from error


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return inspect.cleandoc(lines[-1])[:200]


def _shape(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
