"""Networks that cannot be watched: compiled code bypasses hooks that are set later, and wrappers run copies."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import RecordingError


def refuse_compiled(network: nn.Module, place: str) -> None:
    """Refuse a network that is compiled or wrapped, as a whole or in part.

    Args:
        network: the network.
        place: where a pipeline holds it, for the error's text.

    Raises:
        RecordingError: it is; names the part.
    """
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise RecordingError(
            f"this network is wrapped in a {type(network).__name__}, which runs copies of it that cannot be watched; record "
            f"and run the one inside: {place} = {place}.module"
        )
    if hasattr(network, "_orig_mod"):
        raise RecordingError(
            f"this network is compiled (torch.compile), and compiled code cannot be watched; record and run the one it "
            f"was made from: {place} = {place}._orig_mod"
        )
    for name, module in network.named_modules():
        if _is_compiled(module):
            part = f"{name!r} of this network" if name else "this network"
            raise RecordingError(
                f"{part} is compiled (torch.compile or Module.compile), and compiled code cannot be watched; record and run "
                f"the network before it is compiled"
            )


def inside(network: nn.Module) -> nn.Module:
    """The network in a wrapper that `refuse_compiled` refuses as a whole; any other network itself."""
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        wrapped: nn.Module = network.module
        return wrapped
    return vars(network)["_modules"].get("_orig_mod", network)


def without_adapter(network: Any) -> Any:
    """The network that peft's ``get_peft_model`` wrapped, which it calls; any other as it is."""
    found: Any = network
    while callable(inner := getattr(found, "get_base_model", None)):
        found = inner()
    return found


def _is_compiled(module: Any) -> bool:
    own = vars(module)  # lookups by getattr would take long where a module lacks a name
    in_place = own.get("_compiled_call_impl") is not None
    own_forward = own.get("forward")  # network.forward = torch.compile(network.forward)
    return in_place or "_orig_mod" in own["_modules"] or hasattr(own_forward, "_torchdynamo_orig_callable")
