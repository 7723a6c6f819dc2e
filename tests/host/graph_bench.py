"""What a graph of a test is built with: nodes with their defaults, sampled demo graphs, links that carry any object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from host_tests import tiny, tiny_joint
from host_tests.demo_graph import demo_graph
from host_tests.edit_graph import edit_graph, load_from, random_edit_model
from host_tests.maps_case import defaults, library, picture, planted
from safetensors.torch import save

Prompt = dict[str, Any]
Link = list[Any]


@dataclass
class Bench:
    """What a case builds its graph with; ``folder`` holds the host's empty input and output folders for it."""

    pack: ModuleType
    pack_nodes: dict[str, Any]
    folder: Path
    patch: pytest.MonkeyPatch
    give: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def link(self, value: Any) -> Link:
        """A socket that carries this object, whatever a node's own socket may take."""
        name = str(len(self.give))
        self.give[name] = value
        return [f"give_{name}", 0]

    def maps(self, **how: Any) -> Link:
        """The planted maps, see `maps_case`."""
        return self.link(planted(self.pack, **how))

    def node(self, name: str, **inputs: Any) -> Prompt:
        """A node as it stands when it is put into a graph, with some inputs set; objects of Python become links."""
        linked = {k: self.link(v) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
        return {"class_type": name, "inputs": {**defaults(self.pack_nodes[name]), **linked}}

    def alone(self, name: str, *without: str, **inputs: Any) -> Prompt:
        """A graph of one node; what takes maps gets the planted ones, if nothing else is said."""
        if "maps" in self.pack_nodes[name].INPUT_TYPES()["required"] and "maps" not in without:
            inputs.setdefault("maps", self.maps())
        return {"node": self.node(name, **inputs)}

    def after_map(self, name: str, heat: dict[str, Any] | None = None, **inputs: Any) -> Prompt:
        """A node behind I²AM Map of the planted maps; TLAM in two groups: two images of two panels."""
        chosen = {"side": "mass", "level": "TLAM", "groups": 2, **(heat or {})}
        return {
            **{"map": self.node("I2AM_Map", maps=self.maps(), **chosen)},
            "node": self.node(name, heat=["map", 0], **inputs),
        }

    def file(self, name: str) -> Prompt:
        return {"node": {"class_type": "I2AM_LoadMaps", "inputs": {"file": name}}}

    def sampled(self, record: dict[str, Any] | None = None, images: int = 1, **sampler: Any) -> Prompt:
        """A tiny U-Net of 12 reference tokens, recorded, sampled in three steps and collected."""
        by_hand = {"reference_tokens": "rows x columns", "rows": 3, "columns": 4, "leading_tokens": 0}
        given = {"model": tiny.model(), "positive": tiny.positive(), "negative": tiny.negative()}
        linked = {k: self.link(sampler.pop(k, v)) for k, v in given.items()}
        drawn = {"seed": 1, "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
        start = self.link({"samples": torch.zeros(images, 4, 16, 12)})
        inputs = {**linked, **drawn, "latent_image": start, "model": ["record", 0], **sampler}
        return {
            "record": self.node("I2AM_Record", **{"model": linked["model"], **by_hand, **(record or {})}),
            "sampler": {"class_type": "KSampler", "inputs": inputs},
            "collect": self.node("I2AM_Collect", latent=["sampler", 0], recording=["record", 1]),
        }

    def behind(self, prompt: Prompt, name: str, **inputs: Any) -> Prompt:
        """The graph with one more node."""
        return {**prompt, "node": self.node(name, **inputs)}

    def look(self, prompt: Prompt, **inputs: Any) -> Prompt:
        sockets = {"latent": ["sampler", 0], "recording": ["record", 1], "image": picture((128, 96)), **inputs}
        del prompt["collect"]
        return self.behind(prompt, "I2AM_Look", **sockets)

    def try_on(self, *without: str, **conditioning: Any) -> Prompt:
        """The demo's model, pair and conditioning alone."""
        graph = {name: node for name, node in demo_graph().items() if name in ("model", "pair", "conditioning")}
        inputs = graph["conditioning"]["inputs"]
        inputs.update({k: self.link(v) if isinstance(v, torch.Tensor) else v for k, v in conditioning.items()})
        for name in without:
            del inputs[name]
        return graph

    def demo(self, **changes: dict[str, Any]) -> Prompt:
        """The demo try-on in one step, up to its maps."""
        graph = demo_graph(steps=1)
        del graph["decode"]
        for name, inputs in changes.items():
            graph[name]["inputs"].update(inputs)
        return graph

    def checkpoint(self, name: str, content: bytes | dict[str, Any], family: str = "auto") -> Prompt:
        """Load Try-On with this in a file of the host's checkpoints."""
        folder = Path(folder_paths.get_folder_paths("checkpoints")[0])
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            torch.save(content, folder / name)
        return {"node": {"class_type": "I2AM_LoadTryOn", "inputs": {"checkpoint": name, "family": family}}}

    def data_set(self, spoil: Callable[[Path], object] = lambda _: None, **inputs: Any) -> Prompt:
        """VITON-HD on three drawn pairs; ``spoil`` gets their folder, ``test``."""
        root = library(self.pack, "data.demo_folder").write_demo_folder(self.folder / "input" / "data", 0, 3)
        spoil(root / "test")
        return self.alone("I2AM_VitonHD", **{"folder": "data", **inputs})

    def demo_weights(self, content: bytes | None) -> Prompt:
        """The demo model's node where its weights' folder holds this instead."""
        load = library(self.pack, "models.demo.family").load_part
        if content is not None:
            (self.folder / "unet.safetensors").write_bytes(content)
        loader = self.pack_nodes["I2AM_DemoModel"].execute.__func__.__globals__
        self.patch.setitem(loader, "load_demo_model", lambda: load("unet", self.folder))
        return self.alone("I2AM_DemoModel")

    def edit(self, *given: str, changed: Callable[[dict[str, Any]], object] = lambda _: None, **changes: Any) -> Prompt:
        """The demo edit in one step, up to its maps, of weights that are random; ``changed`` gets them by name first."""
        state = {name: value.contiguous() for name, value in random_edit_model(self.pack).file_state().items()}
        changed(state)
        self.edit_weights(save(state))
        graph = edit_graph(given or ("person", "garment"), steps=1, **changes)
        del graph["decode"]
        return graph

    def edit_weights(self, content: bytes | None) -> Prompt:
        """The edit model's node where its weights' folder holds this instead."""
        if content is not None:
            (self.folder / "edit.safetensors").write_bytes(content)
        load_from(self.pack_nodes, self.patch, self.folder)
        return self.alone("I2AM_DemoEditModel")

    def network(self, name: str, module: str) -> Any:
        """A MODEL whose network is of a class that cannot be recorded."""
        network = type(name, (torch.nn.Module,), {"__module__": module})()
        return type("ModelPatcher", (), {"model": type("Model", (), {"diffusion_model": network})()})()

    def joint(
        self,
        name: str = "kontext",
        record: dict[str, Any] | None = None,
        references: Sequence[Any] = ((4, 4),),
        size: tuple[int, ...] = tiny_joint.SIZE,
        **sampler: Any,
    ) -> Prompt:
        """A tiny joint-attention model, recorded and sampled with references, latents or (h, w), in two steps."""
        positive = sampler.pop("positive", None) or tiny_joint.conditioning(name, *references)
        auto = {"reference_tokens": "auto", **(record or {})}
        start = {"samples": torch.zeros(1, tiny_joint.FAMILIES[name].channels, *size)}
        given = {"model": tiny_joint.model(name), "positive": positive, "negative": positive, "cfg": 1.0, "steps": 2, **sampler}
        prompt = self.sampled(auto, **given)
        prompt["sampler"]["inputs"]["latent_image"] = self.link(start)
        return prompt

    def merging(self) -> Any:
        """A MODEL whose tokens another pack merges before they attend."""
        model = tiny.model().clone()
        model.set_model_attn2_patch(lambda n, context, value, _options: (n[:, ::2], context, value))
        return model

    def carrying(self, conditioning: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
        """A conditioning with our token layout beside it, altered."""
        carried, layout = library(self.pack, "models.carried"), library(self.pack, "geometry.layout")
        grid = layout.TokenGrid(3, 4, picture=(30, 40))
        made = carried.carry(conditioning, carried.Carried(layout.Layout.of(grid), (128, 96)))
        change(made[0][1])
        return made


@contextmanager
def bench(pack: ModuleType, pack_nodes: dict[str, Any], folder: Path) -> Iterator[Bench]:
    """A bench whose folders and patches hold for one case."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("input", "output"):
            (folder / name).mkdir()
            patch.setattr(folder_paths, f"{name}_directory", str(folder / name))
        yield Bench(pack, pack_nodes, folder, patch)
