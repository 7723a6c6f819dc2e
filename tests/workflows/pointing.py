"""Makes web/docs/pointing.webp, the moving picture of pointing at I²AM Explorer, against a running ComfyUI with this pack.

From the repository's root::

    NODE_PATH=<folder with playwright-core> python tests/workflows/pointing.py http://127.0.0.1:8188

It runs workflow 17 there; pointing.js beside it moves the pointer and photographs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "web" / "docs" / "pointing.webp"
LARGEST = 1_500_000
"""Bytes of the moving picture."""
WIDTH = 800


def film(folder: Path, out: Path) -> None:
    """Write the frames of a folder as one animated picture that repeats, as good as its size allows."""
    listed = json.loads((folder / "frames.json").read_text(encoding="utf-8"))
    frames = [Image.open(folder / name).convert("RGB") for name, _ in listed]
    size = (WIDTH, round(frames[0].height * WIDTH / frames[0].width))
    frames = [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]
    for quality in range(90, 20, -10):
        frames[0].save(
            out,
            save_all=True,
            append_images=frames[1:],
            duration=[ms for _, ms in listed],
            loop=0,
            quality=quality,
            method=6,
            minimize_size=True,
        )
        if out.stat().st_size <= LARGEST:
            return
    raise SystemExit(f"{out} takes {out.stat().st_size} bytes at the lowest quality; take fewer frames")


def main() -> None:
    """Photograph and write."""
    parser = argparse.ArgumentParser(description="Makes the moving picture of pointing at I²AM Explorer.")
    parser.add_argument("url", help="a running ComfyUI with this pack, such as http://127.0.0.1:8188")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default {OUT.name} in web/docs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["node", str(HERE / "pointing.js"), args.url, folder], check=True)
        film(Path(folder), args.out)


if __name__ == "__main__":
    main()
