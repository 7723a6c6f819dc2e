"""The bundled model's card: what it is, and every figure about it."""

from __future__ import annotations

from .figures_text import figures_text
from .guidance_text import guidance_text
from .regularisers_text import regularisers_text
from .sources import Figures
from .trust_text import trust_text
from .verdicts_text import verdicts_text

HEAD = """\
---
license: mit
tags: [virtual-try-on, attribution, demo]
---

<!-- Written by `python -m i2am.demo.card` from the JSON files beside it and in i2am/demo/card. Edit i2am/demo/card/model_card.py instead. -->

# The I²AM demo model

A small try-on model, trained from scratch on people and garments that this repository draws (`i2am/drawn/draw.py`). Their true correspondence is
known, so maps can be checked against the truth. It stands in for the paper's custom model: 12 input channels, cross-attention to all patch tokens on
two grids, classifier-free guidance with learned null tokens. It is not a tool for real photographs.

| part | what |
|---|---|
| `unet.safetensors` | 12 input channels (noisy, agnostic and densepose latents of 4 each), widths 64 and 128, 4 heads, cross-attention at 32×24 and 16×12 tokens |
| `encoder.safetensors` | garment picture of 160×112 → 1 leading token without a place + 20×14 tokens of 128 numbers; learned null tokens for guidance |
| `vae.safetensors` | AutoencoderKL, factor 4, 4 channels, latents normalised per channel |
| `reader.safetensors` | small classifiers that read letters, pattern and colour; used by the evaluation only |

**Schedule.** β √-linear from 0.00085 to 0.012, ε-prediction.

**Attention.** A light auxiliary loss, which ends before the training does, teaches four of the seven cross-attention layers to look at the true place
("supervised" below). Their figures show that the maps read this out. The other three layers are never taught and are reported separately. What
attention does on its own is shown by a model of the same shape, trained without that loss: one of its layers learned to point, the others hardly did.
Compare it with this model after as many samples, which has rows of its own. A model's map is only as good as the layers it is made of, which is why
every level can be taken from single layers.

**Training.** `make train` trains a model like it from scratch in a single run (hours on two cores; resumable) and leaves its weights in
`out/train/weights`; seeds below 10,000,000. The weights here were made in stages, as time on two processor cores allowed{history}. Some of
the training multiplied attention in bf16.

**Evaluation.** `make evaluate` measures these weights, `python -m i2am.demo.evaluate --weights out/train/weights` new ones; seeds from 10,000,000 on,
which training never draws (asserted).

## Figures

"""
GUIDANCE = "\n## Does guidance move the maps?\n\n"
VERDICTS = "\n## Does the answer in words tell which letter was lost?\n\n"
TRUST = "\n## How far can a map be trusted?\n\n"
LOSSES = """
## Two losses on the attention

Training can add two losses on the attention, `--tv-weight` (total variation: neighbours look at neighbours) and `--alignment-weight` (attribution
stays inside the masks); both are functions in `i2am.train.losses` for your own training.

"""


def model_card(
    figures: Figures,
    plain: Figures,
    equal: Figures,
    guidance: Figures,
    regularisers: Figures,
    verdicts: Figures,
    trust: Figures,
) -> str:
    """The whole card; a section without figures is left out."""
    note = figures["setup"].get("about", {}).get("note", "")
    text = HEAD.replace("{history}", f" ({note})" if note else "") + figures_text(figures, plain, equal)
    if guidance:
        text += GUIDANCE + guidance_text(guidance)
    if trust:
        text += TRUST + trust_text(trust)
    if verdicts:
        text += VERDICTS + verdicts_text(verdicts)
    if regularisers.get("result"):
        text += LOSSES + regularisers_text(regularisers)
    return text
