"""What recording joint attention costs, on a block of FLUX's shape with random weights: `i2am bench --joint`.

The model's own work, one attention call of the whole sequence and the linear layers of a double block, takes turns with the
modes in each round, so that other load on the machine affects them all; ratios are to it, in the same round. On the CPU time is
the processor time of the process, by default of one thread, since threads that wait for each other count as busy.

What is measured on fewer heads or tokens than a block has is scaled up: attention is the same work for each head, and a linear
layer for each token.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ..geometry.layout import TokenGrid
from ..geometry.sequence import Sequence, generated, reference, text
from ..hosts.attention import Attention
from ..maps.facts import LayerInfo
from ..recording.budget import bytes_of
from ..recording.planning import Planning, cost_of
from ..recording.recorder import BUDGET, CELLS, STRIDE, Recorder
from .modes import Clock

WARM_UP = 1
BLOCKS, STEPS = 57, 28
"""Of a whole run of FLUX, whose maps must fit into the budget."""
RECORDED: dict[str, dict[str, Any]] = {
    "default": {},
    "all": {"stride": 1, "pairwise": None},
    "pairwise": {"stride": 1},
}
"""Options of `Recorder`: a quarter of the queries and pooled pairs; all queries and no pairs; all queries and pooled pairs."""
MODES = (*RECORDED, "keep_all")
TARGETS = {"default": {"of_attention": 0.12, "of_step": 0.05}, "all": {"of_attention": 0.45, "of_step": 0.19}}


@dataclass(frozen=True)
class Block:
    """What is measured: the grids of the picture and of each reference, text tokens, heads and their width, MLP ratio.

    ``measured`` heads and one of ``tokens_in`` tokens are computed; the rest is scaled up.
    """

    picture: tuple[int, int] = (64, 64)
    references: tuple[tuple[int, int], ...] = ((64, 64), (64, 64))
    text: int = 512
    heads: int = 24
    width: int = 128
    mlp: int = 4
    measured: int = 4
    tokens_in: int = 8

    def sequence(self) -> Sequence:
        """Text, picture, references."""
        references = [reference(TokenGrid(*grid), f"reference {i}") for i, grid in enumerate(self.references, 1)]
        return Sequence.of(text(self.text), generated(TokenGrid(*self.picture)), *references)

    def tensors(self, heads: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of the whole sequence, (1, heads, S, width)."""
        generator = torch.Generator().manual_seed(0)
        size = (1, heads, self.sequence().keys, self.width)
        q, k, v = (torch.randn(size, generator=generator).to(device, _dtype(device)) for _ in range(3))
        return q, k, v


FLUX = Block()
TINY = Block((8, 8), ((8, 8), (4, 8)), 8, 2, 16, measured=1, tokens_in=1)


class Linears(nn.Module):
    """The linear layers of a double block: q, k, v, the attention's output, and the MLP; both streams have the same shapes."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        width = block.heads * block.width
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, block.mlp * width), nn.Linear(block.mlp * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(1, n, width) to the same, without what attention does in between."""
        out = self.out(self.qkv(tokens)[..., : tokens.shape[-1]])
        return out + self.down(F.gelu(self.up(out), approximate="tanh"))  # type: ignore[no-any-return]


def run_joint(
    device: torch.device, *, rounds: int, tiny: bool, memory: bool, threads: int | None, file: Path | None
) -> tuple[str, bool]:
    """Measure, and write the JSON file if asked for.

    Returns:
        The figures as text, and whether the proof held that a whole run stays within its budget, if ``memory`` asks for it.
    """
    from .joint_peak import peaks, prove_run

    if device.type == "cpu":
        torch.set_num_threads(threads or 1)
    block = TINY if tiny else FLUX
    modes = measure(block, device, rounds)
    for name, count in peaks(block, device).items():
        modes[name]["added_bytes"] = count
    for name, options in RECORDED.items():
        modes[name]["run"] = planned(block, **options)
    proof = prove_run(block, device) if memory else {}
    facts = {
        **asdict(block),
        "queries": block.sequence().generated.grid.placed,
        "keys": block.sequence().keys,
        "rounds": rounds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": str(_dtype(device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        every = {"modes": modes, "targets": TARGETS, "setup": facts, "memory": proof}
        file.write_text(json.dumps(every, indent=2) + "\n")
    return _table(modes, facts) + _proof_text(proof), proof.get("held", True)


def measure(block: Block, device: torch.device, rounds: int) -> dict[str, dict[str, Any]]:
    """By mode: ``seconds`` of a whole block's heads, and the ratios ``of_attention`` and ``of_step`` (medians over rounds)."""
    q, k, v = block.tensors(block.measured, device)
    sequence, clock = block.sequence(), Clock(device)
    linears = Linears(block).to(device, _dtype(device)).eval()
    tokens = torch.randn(1, -(-sequence.keys // block.tokens_in), block.heads * block.width).to(device, _dtype(device))
    recorders = {name: Recorder(None, steps=WARM_UP + rounds, **options) for name, options in RECORDED.items()}
    taken: dict[str, list[float]] = {name: [] for name in ("attention", "linears", *MODES)}

    def seconds(function: Any, scale: float) -> float:
        clock.take()
        clock.timed(function)()
        return clock.take() * scale

    heads = block.heads / block.measured
    with torch.no_grad():
        for turn in tqdm(range(WARM_UP + rounds), unit="round", leave=False):
            found = {
                "attention": seconds(lambda: F.scaled_dot_product_attention(q, k, v), heads),
                "linears": seconds(lambda: linears(tokens), sequence.keys / tokens.shape[1]),
            }
            for name, recorder in recorders.items():
                found[name] = seconds(lambda r=recorder, step=turn: _observed(r, sequence, q, k, step), heads)
            found["keep_all"] = seconds(lambda: keep_all(sequence, q, k), heads)
            if turn >= WARM_UP:
                for name, time in found.items():
                    taken[name].append(time)
    attention, linear = taken["attention"], taken["linears"]
    return {
        name: {
            "seconds": statistics.median(taken[name]),
            "of_attention": statistics.median(t / a for t, a in zip(taken[name], attention, strict=True)),
            "of_step": statistics.median(t / (a + x) for t, a, x in zip(taken[name], attention, linear, strict=True)),
        }
        for name in MODES
    }


def observe(recorder: Recorder, sequence: Sequence, q: Tensor, k: Tensor, step: int, layer: str = "block 0") -> None:
    """One block's call, as a host brings it."""
    Attention.joint(layer, sequence, "cond", q, k, None, scale=q.shape[-1] ** -0.5).record(recorder, step)


def _observed(recorder: Recorder, sequence: Sequence, q: Tensor, k: Tensor, step: int) -> None:
    observe(recorder, sequence, q, k, step)
    recorder.end_step(step)


def keep_all(sequence: Sequence, q: Tensor, k: Tensor) -> Tensor:
    """The yardstick: the whole softmax of the generated tokens, which would have to be kept for every block and step."""
    span = sequence.generated
    logits = q[:, :, span.start : span.stop].float() @ k.float().transpose(2, 3) * q.shape[-1] ** -0.5
    return logits.softmax(-1)


def planned(block: Block, *, stride: int = STRIDE, cells: int = CELLS, pairwise: str | None = "mean") -> dict[str, Any]:
    """How a run of `BLOCKS` and `STEPS` is kept within the default budget: bytes, and what the plan had to coarsen."""
    rows, columns = block.picture
    references = block.sequence().layout().in_order()
    info = LayerInfo(
        "",
        TokenGrid(-(-rows // stride), -(-columns // stride)),
        block.heads,
        keys=block.sequence().keys,
        references=references,
        rest=("text", "generated"),
        queries=rows * columns if stride > 1 else 0,
        cells=cells,
        words=(("cond", block.text),),
        texts=("text",),
    )
    planning = Planning(STEPS, 5, pairwise, 1, BUDGET, False)
    layers = [LayerInfo(**{**vars(info), "name": str(i)}) for i in range(BLOCKS)]
    for layer in layers:
        planning.take_in(layer, late=False)
    size = bytes_of(planning.plan, [cost_of(layer, False) for layer in layers], 1)
    return {"blocks": BLOCKS, "steps": STEPS, "bytes": size, "budget": BUDGET, "notes": list(planning.plan.notes)}


def _dtype(device: torch.device) -> torch.dtype:
    """What models run in there."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _table(modes: dict[str, dict[str, Any]], facts: dict[str, Any]) -> str:
    lines = [
        f"joint attention of {facts['queries']:,} generated tokens and {facts['keys']:,} keys, {facts['heads']} heads of "
        f"{facts['width']}, {facts['dtype']}, on {facts['device']} with {facts['threads']} thread(s)",
        "",
        f"{'mode':10} {'of attention':>20} {'of a double block':>20} {'added':>12} {f'{BLOCKS} blocks':>12}",
    ]
    for name, figures in modes.items():
        cells = []
        for key in ("of_attention", "of_step"):
            target = TARGETS.get(name, {}).get(key)
            cells.append(f"{figures[key]:.3f}" + (f" (≤ {target:.2f})" if target else ""))
        run = figures.get("run")
        size = "–" if run is None else f"{run['bytes'] / 1e6:.0f} MB"
        lines.append(f"{name:10} {cells[0]:>20} {cells[1]:>20} {figures['added_bytes'] / 1e6:>9.0f} MB {size:>12}")
    lines += [
        "",
        "of attention: the recorder's time ÷ that of the model's own attention call; of a double block: ÷ that of all of it.",
        f"added: the process's peak memory above the unwatched one's. {BLOCKS} blocks: maps of {STEPS} steps of them all.",
        "keep_all: the softmax of the generated tokens, all at once; it would have to be kept for every block and step.",
    ]
    if facts["device"] != "cpu":
        lines.append("On CUDA these figures were never checked by the makers of this library.")
    return "\n".join(lines) + "\n"


def _proof_text(proof: dict[str, Any]) -> str:
    if not proof:
        return ""
    return (
        f"memory: {proof['blocks']} blocks in the first {proof['computed_steps']} of {proof['steps']} steps added "
        f"{proof['added_bytes'] / 1e6:.0f} MB to the process, working room included: "
        f"{'held' if proof['held'] else 'NOT HELD'}, within {proof['budget_bytes'] / 1e6:.0f} MB\n"
    )
