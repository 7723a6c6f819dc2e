"""The bundled autoencoder as a network of features: what it gives, and that it is what `--features` takes."""

from __future__ import annotations

from pathlib import Path

import torch

from i2am.demo.evaluate.features import Features, main
from i2am.drawn.draw import draw_pairs
from i2am.drawn.spec import draw_pair


def test_the_exported_network_gives_the_pooled_latents_of_any_batch_and_size(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "features.pt")]) == 0
    network = torch.jit.load(str(tmp_path / "features.pt"))
    pictures = (draw_pairs([draw_pair(i) for i in range(3)]).person * 255).round().byte()
    large = pictures.repeat_interleave(2, -1).repeat_interleave(2, -2)
    with torch.inference_mode():
        got, of_large, here = network(pictures), network(large), Features().eval()(pictures)
    assert got.shape == (3, 48)
    torch.testing.assert_close(got, here)
    torch.testing.assert_close(of_large, got, atol=0.15, rtol=0.1)  # the same picture, twice as large
    assert float((got[0] - got[1]).abs().mean()) > 0.1
