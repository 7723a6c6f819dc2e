# comfy_api/latest/_io.py, which the host also offers under this name; ids and tooltips default to None there
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor

from .ui import UIOutput

class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"

class Input:
    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
        raw_link: bool | None = None,
        advanced: bool | None = None,
    ) -> None: ...

class WidgetInput(Input):
    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: Any = None,
        socketless: bool | None = None,
        widget_type: str | None = None,
        force_input: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
        raw_link: bool | None = None,
        advanced: bool | None = None,
    ) -> None: ...

class Output:
    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None: ...

_SocketInput = Input
_SocketOutput = Output

class ComfyTypeIO:
    io_type: str
    class Input(_SocketInput): ...
    class Output(_SocketOutput): ...

def Custom(io_type: str) -> type[ComfyTypeIO]: ...

class Boolean(ComfyTypeIO):
    Type = bool
    class Input(WidgetInput):
        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: bool | None = None,
            label_on: str | None = None,
            label_off: str | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None: ...

class Int(ComfyTypeIO):
    Type = int
    class Input(WidgetInput):
        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: int | None = None,
            min: int | None = None,
            max: int | None = None,
            step: int | None = None,
            control_after_generate: bool | None = None,
            display_mode: Any = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None: ...

class Float(ComfyTypeIO):
    Type = float
    class Input(WidgetInput):
        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: float | None = None,
            min: float | None = None,
            max: float | None = None,
            step: float | None = None,
            round: float | None = None,
            display_mode: Any = None,
            gradient_stops: list[dict[str, Any]] | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None: ...

class String(ComfyTypeIO):
    Type = str
    class Input(WidgetInput):
        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            multiline: bool = False,
            placeholder: str | None = None,
            default: str | None = None,
            dynamic_prompts: bool | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None: ...

class Combo(ComfyTypeIO):
    Type = str
    class Input(WidgetInput):
        def __init__(
            self,
            id: str,
            options: list[str] | list[int] | None = None,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: str | int | None = None,
            control_after_generate: bool | None = None,
            upload: Any = None,
            image_folder: Any = None,
            remote: Any = None,
            socketless: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None: ...

class Image(ComfyTypeIO):
    Type = Tensor

class Mask(ComfyTypeIO):
    Type = Tensor

class Latent(ComfyTypeIO): ...
class Clip(ComfyTypeIO): ...
class ClipVisionOutput(ComfyTypeIO): ...
class StyleModel(ComfyTypeIO): ...
class Conditioning(ComfyTypeIO): ...
class Vae(ComfyTypeIO): ...
class Model(ComfyTypeIO): ...
class Noise(ComfyTypeIO): ...
class Guider(ComfyTypeIO): ...
class Sampler(ComfyTypeIO): ...
class Sigmas(ComfyTypeIO): ...

@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[_SocketInput] = field(default_factory=list)
    outputs: list[_SocketOutput] = field(default_factory=list)
    hidden: list[Any] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_dev_only: bool = False
    is_api_node: bool = False
    price_badge: Any = None
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    essentials_category: str | None = None
    has_intermediate_output: bool = False

class NodeOutput:
    args: tuple[Any, ...]
    def __init__(
        self,
        *args: Any,
        ui: UIOutput | dict[str, Any] | None = None,
        expand: dict[str, Any] | None = None,
        block_execution: str | None = None,
    ) -> None: ...
    @property
    def result(self) -> tuple[Any, ...] | None: ...

class ComfyNode(ABC):
    hidden: Any
    @classmethod
    @abstractmethod
    def define_schema(cls) -> Schema: ...
    # the host declares **kwargs alone and calls by name; *args lets each node name its own inputs
    @classmethod
    @abstractmethod
    def execute(cls, *args: Any, **kwargs: Any) -> NodeOutput: ...
    @classmethod
    def validate_inputs(cls, *args: Any, **kwargs: Any) -> bool | str: ...
    @classmethod
    def fingerprint_inputs(cls, *args: Any, **kwargs: Any) -> Any: ...
    @classmethod
    def check_lazy_status(cls, *args: Any, **kwargs: Any) -> list[str]: ...
