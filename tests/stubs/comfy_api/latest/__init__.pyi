from abc import ABC, abstractmethod

from . import io, ui

__all__ = ["ComfyExtension", "io", "ui"]

class ComfyExtension(ABC):
    async def on_load(self) -> None: ...
    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...
