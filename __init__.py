"""What ComfyUI loads: the extension's entry point. Importing this alone imports nothing else.

Python run beside a clone named i2am finds this folder under the library's name, and then gets the library that lies in it.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The extension with all nodes of the pack."""
    from .nodes.extension import I2AMExtension

    return I2AMExtension()


def _become_the_library() -> None:
    inner = Path(__file__).with_name("i2am")
    spec = spec_from_file_location("i2am", inner / "__init__.py", submodule_search_locations=[str(inner)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["i2am"] = module_from_spec(spec)  # what an import gives is what stands here when it ends
    spec.loader.exec_module(sys.modules["i2am"])


if __name__ == "i2am":  # ComfyUI loads us under the folder's whole path
    _become_the_library()
