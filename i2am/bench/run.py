"""`python -m i2am bench`: what recording costs, on a U-Net of Stable Diffusion 1.5's shape with random weights.

With `--joint` on a block of FLUX's shape, whose attention joins text, picture and two references; see `joint`. With `--cuts`
what cuts in such a block cost; see `cuts`.

All modes take turns within one run, so that other load on the machine affects them all; ratios are to the
unwatched model's time in the same round. Memory is measured in the warm-up rounds, which are not timed.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import sys
import time
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import I2AMError
from ..geometry.layout import Layout, TokenGrid
from ..hosts.diffusers.record import record
from ..maps.value import AttributionMaps
from ..options import MOST_AT_ONCE, integer, whole
from .cuts import run_cuts
from .joint import run_joint
from .memory import PeakMemory, prove_budget, prove_layer
from .modes import MODES, Mode, Run, make, shared_copy

log = logging.getLogger("i2am")

WARM_UP = 2
MOST_SIDE, MOST_WIDTH, MOST_TOKENS = 8192, 4096, 16385
"""Of a picture in pixels, of a U-Net in channels, of a reference: more fit into no memory."""
SCHEDULE = 50
NARROW = 1 << 16
"""Bytes of a chunk in memory proofs with small models, where larger chunks would hide what is measured."""
TARGETS = {"marginals": 1.02, "pairwise": 1.03}


@dataclass(frozen=True)
class Setup:
    """What is measured: picture (H, W) in pixels, the U-Net's base width and layers per block, tokens and their width."""

    size: tuple[int, int] = (512, 384)
    width: int = 320
    layers: int = 2
    tokens: int = 257
    context: int = 768


FULL = Setup()
TINY = Setup(size=(128, 96), width=32, layers=1, tokens=17, context=32)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench`."""
    parser.add_argument("--steps", type=whole(1), default=2, help="timed steps per mode, after two warm-up steps (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto: cuda where there is one (default auto)")
    parser.add_argument("--size", type=_size, metavar="HxW", help="picture size in pixels (default 512x384)")
    parser.add_argument(
        "--width", type=whole(1, MOST_WIDTH), help="channels of the U-Net's first level (default 320, as in SD 1.5)"
    )
    parser.add_argument(
        "--tokens",
        type=whole(1, MOST_TOKENS),
        help="number of reference tokens: a square, or a square and one leading token (default 257)",
    )
    parser.add_argument(
        "--joint",
        action="store_true",
        help="measure joint attention instead, on a block of FLUX's shape with two references; --steps are rounds, and the "
        "processor uses one thread unless --threads says otherwise (CUDA is untested)",
    )
    parser.add_argument(
        "--cuts",
        action="store_true",
        help="measure what cuts cost instead, on the same block as --joint; --steps are rounds",
    )
    parser.add_argument("--tiny", action="store_true", help="a small U-Net and picture, to try the command itself in seconds")
    parser.add_argument("--threads", type=whole(1, MOST_AT_ONCE), help="processor threads (default: PyTorch's choice)")
    parser.add_argument(
        "--memory", action="store_true", help="also prove that memory stays within its bounds: 50 steps, and one large layer"
    )


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (integer(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH in pixels, such as 512x384, got {text!r}") from None
    if not 64 <= min(height, width) <= max(height, width) <= MOST_SIDE or height % 8 or width % 8:
        raise argparse.ArgumentTypeError(f"height and width must be multiples of 8, 64 to {MOST_SIDE}, got {text!r}")
    return height, width


def run(args: argparse.Namespace) -> int:
    """Measure, print the table and write the JSON file; returns 0 unless a memory proof failed.

    Raises:
        I2AMError: no such device, or a width or number of tokens that cannot be used.
    """
    given = {name: getattr(args, name) for name in ("size", "width", "tokens") if getattr(args, name)}
    setup = replace(TINY if args.tiny else FULL, **given)
    device = _device(args.device)
    if args.cuts:
        refused = [*given, *(name for name in ("joint", "memory") if getattr(args, name))]
        if refused:
            raise I2AMError(f"--{', --'.join(refused)} cannot be used with --cuts; leave it out")
        _say(run_cuts(device, rounds=args.steps, tiny=args.tiny, threads=args.threads, file=args.json))
        return 0
    if args.joint:
        if given:
            raise I2AMError(f"--{', --'.join(given)} cannot be used with --joint; leave it out")
        text, held = run_joint(
            device, rounds=args.steps, tiny=args.tiny, memory=args.memory, threads=args.threads, file=args.json
        )
        _say(text)
        return 0 if held else 1
    layout = Layout.of(_grid(setup.tokens))
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = unet(setup).to(device).eval()
    facts = {
        **asdict(setup),
        "steps": args.steps,
        "schedule": max(SCHEDULE, args.steps + WARM_UP),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    _say(
        f"U-Net of width {setup.width} with random weights, {setup.size[0]} x {setup.size[1]} pixels, batch 2 (uncond, cond), "
        f"{setup.tokens} reference tokens, on {facts['device']} with {facts['threads']} threads\n"
    )
    modes = measure(model, setup, layout, device, args.steps, int(facts["schedule"]))
    _say(table(modes, int(facts["schedule"])))
    memory = prove(device, tiny=args.tiny) if args.memory else {}
    if memory:
        _say(_memory_text(memory))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"modes": modes, "setup": facts, "memory": memory}, indent=2) + "\n")
    return 0 if all(proof["held"] for proofs in memory.values() for proof in proofs) else 1


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":", maxsplit=1)[0] not in ("cpu", "cuda"):
        raise I2AMError(f"--device must be cpu, cuda or auto, got {name!r}")
    if name != "cpu" and not torch.cuda.is_available():
        raise I2AMError(f"--device {name}: PyTorch sees no CUDA device here; use cpu or auto")
    return torch.device(name)


def _grid(tokens: int) -> TokenGrid:
    for leading in (0, 1):
        side = math.isqrt(tokens - leading)
        if side and side**2 == tokens - leading:
            return TokenGrid(side, side, leading)
    raise I2AMError(f"--tokens must be a square, or a square and one more (such as 256 or 257), got {tokens}")


def unet(setup: Setup) -> nn.Module:
    """The U-Net of Stable Diffusion 1.5 with 12 input channels, or a narrower one of the same shape.

    Raises:
        I2AMError: the width does not divide into 8 heads and the groups of its norms.
    """
    from diffusers import UNet2DConditionModel

    groups = 32 if setup.width % 32 == 0 else 8
    if setup.width % groups:
        raise I2AMError(f"--width must be a multiple of 8, got {setup.width}")
    return UNet2DConditionModel(  # type: ignore[no-any-return]
        in_channels=12,
        out_channels=4,
        block_out_channels=(setup.width, 2 * setup.width, 4 * setup.width, 4 * setup.width),
        layers_per_block=setup.layers,
        cross_attention_dim=setup.context,
        attention_head_dim=8,  # diffusers' old name for the number of heads
        norm_num_groups=groups,
    )


def _inputs(setup: Setup, device: torch.device) -> tuple[Tensor, Tensor]:
    """The latents (2, 12, H/8, W/8) and the context (2, tokens, channels): uncond, cond."""
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(1, 12, setup.size[0] // 8, setup.size[1] // 8, generator=generator).expand(2, -1, -1, -1)
    context = torch.randn(2, setup.tokens, setup.context, generator=generator)
    return sample.to(device), context.to(device)


def measure(
    model: nn.Module, setup: Setup, layout: Layout, device: torch.device, steps: int, schedule: int
) -> dict[str, dict[str, Any]]:
    """Figures by mode: see `_figures`."""
    sample, context = _inputs(setup, device)
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in MODES}
    meters = {name: PeakMemory(device) for name in MODES}
    outputs: dict[str, Tensor] = {}
    modes: dict[str, Mode] = {}
    with ExitStack() as stack, torch.no_grad(), tqdm(total=(WARM_UP + steps) * len(MODES), unit="step", leave=False) as bar:
        for name in MODES:
            modes[name] = stack.enter_context(make(name, model, Run(layout, schedule, setup.size), device))
        for turn in range(WARM_UP + steps):
            shift = turn % len(MODES)  # no mode always follows the same one
            for name in (*MODES[shift:], *MODES[:shift]):
                bar.set_description(name)
                with meters[name].watch() if turn < WARM_UP else nullcontext():
                    outputs[name], *times = _step(modes[name], sample, context, 1000.0 - turn)
                if turn >= WARM_UP:
                    taken[name].append((times[0], times[1], times[2]))
                bar.update()
    return {
        name: {
            **_figures(taken[name], taken["none"], watched=modes[name].clock is not None),
            "added_bytes": max(0, meters[name].bytes - meters["none"].bytes),
            "recording_bytes": modes[name].stored_bytes(WARM_UP + steps),
            "notes": modes[name].notes(),
            "identical_output": torch.equal(outputs[name], outputs["none"]),
        }
        for name in MODES
    }


def _step(mode: Mode, sample: Tensor, context: Tensor, timestep: float) -> tuple[Tensor, float, float, float]:
    """One evaluation: its output, then seconds of wall time, of processor time, and spent watching."""
    cuda = sample.is_cuda
    if mode.clock is not None:
        mode.clock.take()
    if cuda:
        torch.cuda.synchronize()
    start, processor = time.perf_counter(), time.process_time()
    out = mode.model(sample, torch.tensor(timestep), encoder_hidden_states=context).sample
    if cuda:
        torch.cuda.synchronize()
    wall, processor = time.perf_counter() - start, time.process_time() - processor
    inside = mode.clock.take() if mode.clock is not None else 0.0
    return out, wall, wall if cuda else processor, inside


def _figures(
    taken: list[tuple[float, float, float]], plain: list[tuple[float, float, float]], watched: bool
) -> dict[str, float | None]:
    """Seconds per step (median and minimum) and ratios to the unwatched model, from the times of each round.

    ``recorder_share`` is the time spent watching divided by the rest of the step (processor time on the CPU);
    None for a mode that replaces the model's own work.
    """
    wall = [t[0] for t in taken]
    inside, whole = sum(t[2] for t in taken), sum(t[1] for t in taken)
    return {
        "seconds_per_step": statistics.median(wall),
        "seconds_minimum": min(wall),
        "ratio": statistics.median(t[0] / p[0] for t, p in zip(taken, plain, strict=True)),
        "processor_ratio": statistics.median(t[1] / max(p[1], 1e-9) for t, p in zip(taken, plain, strict=True)),
        "recorder_share": inside / max(whole - inside, 1e-9) if watched else None,
    }


def prove(device: torch.device, tiny: bool = False) -> dict[str, list[dict[str, Any]]]:
    """The memory proofs: 50 steps within the budget at reduced width, and one layer at 1024 x 768 with 4096 tokens."""
    setup = TINY
    model = unet(setup).to(device).eval()
    sample, context = _inputs(setup, device)
    layout = Layout.of(_grid(setup.tokens))

    def sampling(steps: int, pairwise: str | None, budget: int | None) -> AttributionMaps | None:
        watched = shared_copy(model)
        if budget is None:
            recording = None
        else:
            options: dict[str, Any] = {"pairwise": pairwise, "budget": budget, "chunk_bytes": NARROW}
            recording = record(watched, layout, steps=steps, generated_size=setup.size, **options)
        with torch.no_grad(), recording or nullcontext():
            for step in range(steps):
                watched(sample, torch.tensor(1000.0 - step), encoder_hidden_states=context)
        return recording.maps if recording else None

    steps = 10 if tiny else SCHEDULE
    layer: dict[str, Any] = {"grid": (128, 96), "reference": (64, 64)}
    if tiny:
        layer = {"grid": (64, 48), "reference": (32, 32), "budget": 20_000_000, "chunk_bytes": 1 << 20}
    log.info("memory: %d steps at width %d, then one layer of %d x %d", steps, setup.width, *layer["grid"])
    return {
        "budget": prove_budget(sampling, device, steps=steps, chunk_bytes=NARROW),
        "layer": [prove_layer(device, **layer, pairwise=pairwise) for pairwise in (None, "mean", "heads")],
    }


def table(modes: dict[str, dict[str, Any]], schedule: int) -> str:
    """The figures as text."""
    head = ("mode", "s/step", "minimum", "ratio", "CPU ratio", "recorder", "added", f"{schedule} steps", "output")
    rows = [head]
    for name, figures in modes.items():
        share = figures["recorder_share"]
        target = f" (≤ {TARGETS[name]:.2f})" if name in TARGETS else ""
        rows.append(
            (
                name,
                f"{figures['seconds_per_step']:.3f}",
                f"{figures['seconds_minimum']:.3f}",
                f"{figures['ratio']:.3f}{target}",
                f"{figures['processor_ratio']:.3f}",
                "–" if share is None else f"{share:.2%}",
                _size_text(figures["added_bytes"]),
                _size_text(figures["recording_bytes"]),
                "identical" if figures["identical_output"] else "differs",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) for row in rows]
    short = [f"{name}: {'; '.join(figures['notes'])}\n" for name, figures in modes.items() if figures["notes"]]
    notes = (
        "ratio: to the unwatched model in the same round. recorder: processor time spent watching ÷ the model's.\n"
        f"added: peak memory above the unwatched model's. {schedule} steps: size of the recording of such a run.\n"
    )
    return "\n".join(lines) + "\n\n" + notes + "".join(short)


def _memory_text(memory: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["\nmemory"]
    for proof in memory["budget"]:
        lines.append(
            f"  {proof['steps']} steps, budget {_size_text(proof['budget_bytes'])}: recording "
            f"{_size_text(proof['recording_bytes'])}, peak added {_size_text(proof['added_bytes'])}: {_held(proof)}"
        )
        lines += [f"    {note}" for note in proof["notes"]]
    for proof in memory["layer"]:
        lines.append(
            f"  one layer, {proof['queries']} queries x {proof['keys']} keys x {proof['heads']} heads, pairwise "
            f"{proof['pairwise']}{_kept(proof)}: peak added {_size_text(proof['added_bytes'])}, the whole block would take "
            f"{_size_text(proof['block_bytes'])}: {_held(proof)}"
        )
        lines += [f"    {note}" for note in proof["notes"]]
    return "\n".join(lines) + "\n"


def _kept(proof: dict[str, Any]) -> str:
    return "" if proof["kept"] == proof["pairwise"] else f" (kept: {proof['kept']})"


def _held(proof: dict[str, Any]) -> str:
    return "held" if proof["held"] else "NOT HELD"


def _size_text(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count else "–"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
