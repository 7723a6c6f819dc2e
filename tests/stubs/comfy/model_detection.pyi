from collections.abc import Mapping
from typing import Any

from torch import Tensor

def detect_unet_config(
    state_dict: Mapping[str, Tensor], key_prefix: str, metadata: dict[str, Any] | None = None
) -> dict[str, Any]: ...
