"""What recording costs, from the figures of `i2am bench` and of `tests/host/overhead.py`."""

from __future__ import annotations

from collections.abc import Sequence

from .markdown import number, table
from .sources import Figures

MODES_HEAD = ("mode", "time ÷ unwatched", "recorder ÷ model, processor time", "peak memory added, MB", "recording, MB")
JOINT_HEAD = ("mode", "recorder ÷ the attention call", "recorder ÷ the whole block", "peak memory added, MB")
HOST_HEAD = (
    "model",
    "reference tokens",
    "host",
    "steps",
    "mode",
    "time ÷ unwatched, medians",
    "recorder ÷ model, processor time",
)


def bench_text(bench: Figures) -> str:
    """The setup, a row per mode, what the budget left out, and the proof of its bounds."""
    rows = [_mode_row(name, f) for name, f in bench["modes"].items()]
    return _setup(bench.get("setup", {})) + table(MODES_HEAD, rows) + _shortened(bench) + _proof(bench.get("memory", {}))


def comfyui_text(benches: Sequence[Figures]) -> str:
    """What it costs inside a host; nothing where none was measured."""
    rows = [_host_row(bench["setup"], name, f) for bench in benches for name, f in bench["modes"].items() if name != "none"]
    if not rows:
        return ""
    return f"\nInside ComfyUI (`tests/host/overhead.py`), at the same picture size:\n\n{table(HOST_HEAD, rows)}"


def joint_text(bench: Figures) -> str:
    """What joint attention costs: the block that was measured, a row per mode, and the proof of its bounds."""
    if not bench:
        return ""
    setup, memory = bench["setup"], bench.get("memory", {})
    rows = [_joint_row(name, f) for name, f in bench["modes"].items()]
    run = next(f["run"] for f in bench["modes"].values() if f.get("run"))
    proof = (
        f"\n{memory['blocks']} blocks, recorded by default, added {memory['added_bytes'] / 1e6:,.0f} MB to the process, working "
        f"room included (`--memory`).\n"
        if memory.get("held")
        else ""
    )
    return (
        f"\nJoint attention (`i2am bench --joint`): a double block of FLUX's shape with random weights, {setup['queries']:,} "
        f"generated tokens, {setup['keys']:,} keys with the text and {len(setup['references'])} references, {setup['heads']} heads "
        f"of {setup['width']}, in {setup['dtype']}; {setup['rounds']} rounds, taken in turns ({setup['device']}, "
        f"{setup['threads']} thread). *default* keeps a quarter of the queries and pooled pairs, *all* all queries and no pairs, "
        f"*pairwise* all queries and pooled pairs; the baseline *keep all* makes the softmax of all generated tokens.\n\n"
        + table((*JOINT_HEAD, f"{run['blocks']} blocks, {run['steps']} steps: recording, MB"), rows)
        + proof
    )


def cuts_text(bench: Figures) -> str:
    """What cuts cost in joint attention; nothing where it was not measured."""
    if not bench:
        return ""
    setup = bench["setup"]
    each = "; ".join(
        f"{name} {of['of_block']:.2f} (aim: at most {bench['targets'][name]:.2f}; of the attention call alone {of['of_attention']:.2f})"
        for name, of in bench["cuts"].items()
    )
    return (
        f"\nCuts (`i2am bench --cuts`), processor time ÷ that of the same block uncut, the median of {setup['rounds']} rounds on "
        f"{setup['threads']} thread{'s' * (setup['threads'] != 1)} ({setup['device']}), {setup['queries']:,} generated tokens, "
        f"{setup['keys']:,} keys: {each}.\n"
    )


def evaluation_text(cost: Figures) -> str:
    """What recording and scoring add to an evaluation; nothing where it was not measured."""
    if not cost:
        return ""
    setup = cost["setup"]
    return (
        f"\nAn evaluation (`i2am bench --evaluation`): recording and scoring added {100 * cost['added']:.1f} % to the processor "
        f"time of sampling alone, the median of {setup['pairs']} pairs, each dressed both ways in turns: the bundled model, "
        f"{setup['steps']} steps, one of every {setup['every']} recorded, {setup['values']} values per image "
        f"({cost['alone']:.2f} s alone, {cost['whole']:.2f} s evaluated; {setup['threads']} "
        f"thread{'s' * (setup['threads'] != 1)}).\n"
    )


def _joint_row(name: str, f: Figures) -> tuple[str, ...]:
    run = f.get("run")
    return (
        name.replace("_", " "),
        number(f["of_attention"], ".3f"),
        number(f["of_step"], ".3f"),
        f"{f['added_bytes'] / 1e6:,.0f}",
        "–" if run is None else number(run["bytes"] / 1e6, ".0f"),
    )


def _mode_row(name: str, f: Figures) -> tuple[str, ...]:
    def megabytes(key: str, form: str) -> str:
        return number(f[key] / 1e6, form) if f.get(key) is not None else "–"

    return (
        name.replace("_", " "),
        number(f.get("ratio"), ".3f"),
        number(f.get("recorder_share"), ".3f"),
        megabytes("added_bytes", ".0f"),
        megabytes("recording_bytes", ".1f"),
    )


def _host_row(setup: Figures, mode: str, f: Figures) -> tuple[str, ...]:
    return (
        setup["model"],
        f"{setup['tokens']:,}",
        setup["host"],
        f"{setup['steps']}",
        mode,
        number(f["ratio"], ".3f"),
        number(f["recorder_share"], ".3f"),
    )


def _setup(setup: Figures) -> str:
    if not setup:
        return ""
    (height, width), on = setup["size"], f"{setup['device']}, {setup['threads']} threads"
    return (
        f"A U-Net of Stable Diffusion 1.5's shape with random weights, {height} × {width} pixels, batch 2 for guidance, "
        f"{setup['tokens']} reference tokens; {setup['steps']} timed steps per mode, taken in turns ({on}). The recording is that of "
        f"{setup['schedule']} steps.\n\n"
    )


def _shortened(bench: Figures) -> str:
    notes = {name: f["notes"] for name, f in bench["modes"].items() if f.get("notes")}
    return "".join(f"\n*{name.replace('_', ' ')}*: {'; '.join(said)}.\n" for name, said in notes.items())


def _proof(memory: Figures) -> str:
    """Whether memory stayed within its bounds; nothing unless every proof held."""
    proofs = [proof for several in memory.values() for proof in several]
    if not proofs or not all(proof["held"] for proof in proofs):
        return ""
    layer, most = memory["layer"][-1], max(proof["added_bytes"] for proof in memory["layer"])
    return (
        f"\nMemory stayed within the budget over {memory['budget'][0]['steps']} steps at reduced width. For one layer of "
        f"{layer['queries']:,} × {layer['keys']:,} tokens and {layer['heads']} heads, whose whole block would take "
        f"{layer['block_bytes'] / 1e6:,.0f} MB, at most {most / 1e6:,.0f} MB were added (`--memory`).\n"
    )
