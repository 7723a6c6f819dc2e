# comfy_api/latest/_ui.py, which the host also offers under this name
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from .io import ComfyNode

class UIOutput(ABC):  # _UIOutput there
    @abstractmethod
    def as_dict(self) -> dict[str, Any]: ...

class PreviewImage(UIOutput):
    def __init__(self, image: Tensor, animated: bool = False, cls: type[ComfyNode] | None = None, **kwargs: Any) -> None: ...
    def as_dict(self) -> dict[str, Any]: ...

class PreviewText(UIOutput):
    def __init__(self, value: str, **kwargs: Any) -> None: ...
    def as_dict(self) -> dict[str, Any]: ...
