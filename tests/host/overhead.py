"""What recording costs inside ComfyUI: real sizes, random weights, interleaved runs with and without I²AM Record.

By hand, in a host's folder and with its Python, nothing else running:

    cd ComfyUI && python <this repository>/tests/host/overhead.py [--model stableviton] [--rounds 4] [--json FILE]

`sd15` has the setup of `python -m i2am bench`: 512 x 384, guidance in one batch of 2, 257 reference tokens. `stableviton`
is that model at its full width (1.8 billion weights in fp32, some 10 GB of memory), without guidance, as its authors run it:
each of three layers of its warp has 3072 queries and 3072 keys.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

package = ModuleType("host_tests")
package.__path__ = [str(Path(__file__).resolve().parent)]
sys.modules[package.__name__] = package
sys.path.insert(0, str(Path.cwd()))

STEPS = 3
"""Of a run; the first is not counted."""
SD15 = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "channel_mult": (1, 2, 4, 4),
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "num_heads": 8,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "context_dim": 768,
    "legacy": False,
}
DETAIL = {"none": None, "marginals": "marginals", "pairwise": "pairwise"}


@dataclass
class Setup:
    """A model and what a run of it is given."""

    model: Any
    positive: Any
    negative: Any
    cfg: float
    facts: dict[str, Any]


def _sd15(pack: str, torch: Any) -> Setup:
    carried = importlib.import_module(f"{pack}.i2am.models.carried")
    layout = importlib.import_module(f"{pack}.i2am.geometry.layout")
    told = carried.Carried(layout.Layout.of(layout.TokenGrid(16, 16, leading=1)), (512, 384))
    positive, negative = (carried.carry([[torch.randn(1, 257, 768), {}]], told) for _ in range(2))
    return Setup(_model(torch), positive, negative, 5.0, {"model": "SD1.5's size", "tokens": 257})


def _stableviton(pack: str, torch: Any) -> Setup:
    """Loaded by the pack's own node from a checkpoint of random weights."""
    import folder_paths

    import nodes

    path = Path(__file__).resolve().parents[1] / "helpers" / "paper_models.py"
    spec = importlib.util.spec_from_file_location("paper_models", path)
    assert spec is not None
    assert spec.loader is not None
    paper = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(paper)
    folder = Path(folder_paths.get_folder_paths("checkpoints")[0])
    folder.mkdir(parents=True, exist_ok=True)
    importlib.import_module("safetensors.torch").save_file(
        {k: v.contiguous() for k, v in paper.checkpoint("stableviton", paper.Sizes()).items()}, folder / "full.safetensors"
    )
    given = nodes.NODE_CLASS_MAPPINGS
    with torch.inference_mode():
        model, vae, encoder = given["I2AM_LoadTryOn"].execute("full.safetensors", "auto").result
        person, cloth, dense = (torch.rand(1, 512, 384, 3) for _ in range(3))
        mask = torch.zeros(1, 512, 384)
        mask[:, 128:384, 96:288] = 1
        made = given["I2AM_TryOnConditioning"].execute(encoder, vae, cloth, person=person, inpaint_mask=mask, densepose=dense)
    (folder / "full.safetensors").unlink()
    return Setup(model, made[0], made[1], 1.0, {"model": "StableVITON", "tokens": 3072})


SETUPS = {"sd15": _sd15, "stableviton": _stableviton}


def _model(torch: Any) -> Any:
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        unet_extra_config: dict[str, Any] = {}  # noqa: RUF012 -- as the host declares it
        latent_format = comfy.latent_formats.SD15

    network = comfy.model_base.BaseModel(Config({**SD15, "dtype": torch.float32}), model_type=comfy.model_base.ModelType.EPS)
    with torch.no_grad():
        for weight in network.diffusion_model.parameters():
            weight.normal_(0, 0.02 if weight.ndim == 1 else weight[0].numel() ** -0.5)
    network.eval().requires_grad_(False)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=torch.device("cpu"))


def _meter(library: str) -> list[float]:
    """Adds the processor seconds of every call that the recorder gets to a list's only number."""
    recorder = importlib.import_module(f"{library}.recording.recorder").Recorder
    spent = [0.0]
    for name in ("observe", "end_step"):
        real = getattr(recorder, name)

        def timed(self: Any, *args: Any, real: Any = real, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return real(self, *args, **kwargs)
            finally:
                spent[0] += time.process_time() - start

        setattr(recorder, name, timed)
    return spent


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SETUPS), default="sd15", help="what to run (default sd15)")
    parser.add_argument("--rounds", type=int, default=4, help="runs of each mode that count (default 4)")
    parser.add_argument("--threads", type=int, help="processor threads (default: PyTorch's choice)")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args(argv)
    from host_tests.boot import boot, load

    with tempfile.TemporaryDirectory() as scratch:
        boot(Path(scratch))
        figures = _measure(load().__name__, args.model, args.rounds, args.threads)
    print(json.dumps(figures, indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _measure(pack: str, which: str, rounds: int, threads: int | None) -> dict[str, Any]:
    import comfy.sample
    import comfyui_version
    import torch

    import nodes

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    setup, spent = SETUPS[which](pack, torch), _meter(f"{pack}.i2am")
    noise = torch.randn(1, 4, 64, 48)
    seconds: dict[str, list[float]] = {name: [] for name in DETAIL}
    shares: dict[str, list[float]] = {name: [] for name in DETAIL}
    made: dict[str, Any] = {}
    for turn in range(rounds + 1):
        shift = turn % len(DETAIL)  # no mode always follows the same one
        for name in [*DETAIL][shift:] + [*DETAIL][:shift]:
            used = setup.model
            if DETAIL[name]:
                record = nodes.NODE_CLASS_MAPPINGS["I2AM_Record"]
                used = record.execute(setup.model, DETAIL[name], "", "cond", 300, 5, "auto", 16, 16, 1)[0]
            ends: list[tuple[float, float, float]] = []

            def step(*_: Any, ends: list[tuple[float, float, float]] = ends) -> None:
                ends.append((time.perf_counter(), time.process_time(), spent[0]))

            with torch.inference_mode():
                made[name] = comfy.sample.sample(
                    used,
                    noise,
                    STEPS,
                    setup.cfg,
                    "ddim",
                    "normal",
                    setup.positive,
                    setup.negative,
                    torch.zeros_like(noise),
                    callback=step,
                    seed=1,
                )
            if turn:
                for (a, b, c), (d, e, f) in zip(ends, ends[1:]):
                    seconds[name].append(d - a)
                    shares[name].append((f - c) / ((e - b) - (f - c)))
            print(f"round {turn}: {name}", file=sys.stderr, flush=True)
    return {
        "modes": {
            name: {
                "seconds_per_step": statistics.median(taken),
                "seconds_minimum": min(taken),
                "ratio": statistics.median(taken) / statistics.median(seconds["none"]),
                "recorder_share": statistics.median(shares[name]),
                "identical_output": torch.equal(made[name], made["none"]),
            }
            for name, taken in seconds.items()
        },
        "setup": {
            "host": f"ComfyUI {comfyui_version.__version__}",
            "size": [512, 384],
            **setup.facts,
            "steps": rounds * (STEPS - 1),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
