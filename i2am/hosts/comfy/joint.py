"""Joint-attention models in ComfyUI: text, generated picture and references attend to each other in one sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import LayoutError
from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...geometry.sequence import Sequence as Tokens
from ...interventions.plan import Cut
from ...interventions.removal import hidden
from ..attention import Attention
from .adapters import Adapter
from .arguments import OVERRIDE, Arguments, observed
from .blocks import brings_kernels
from .call import Call
from .cutting import CutCall, notes_in, seen_in
from .joint_cut import JointCutter
from .joint_families import MODELS, family_of
from .joint_proof import Proof
from .joint_sequence import Given, sequence_of
from .latent_pictures import drawn, named
from .network import Told, check_named
from .packed import picture_shape


class Joint:
    """Networks whose calls have text, generated picture and references in one sequence, see `joint_families`."""

    takes = f"joint-attention models ({MODELS})"
    nulls = False
    stand_in = ""

    def fits(self, network: nn.Module) -> bool:
        """See `Network`."""
        return family_of(network) is not None and not brings_kernels(network)

    def frames(self, latent: Sequence[int]) -> int:
        """See `Network`."""
        return latent[2] if len(latent) == 5 else 1

    def layers(self, network: nn.Module) -> tuple[str, ...]:
        """See `Network`."""
        family = family_of(network)
        return () if family is None else family.layers(network)

    def remark(self, network: nn.Module, references: int) -> str:
        """See `Network`."""
        family = family_of(network)
        return "" if family is None else family.remark(references)

    def check_layers(self, network: nn.Module, patterns: Sequence[str], beside: Sequence[str]) -> None:
        """See `Network`."""
        check_named((*self.layers(network), *beside), patterns)

    def check_told(self, layout: Layout | None, _parts: Parts) -> None:
        """See `Network`."""
        if layout is not None:
            raise LayoutError(
                "the layout of this model's references comes from the run itself, but rows and columns were given; set "
                "reference_tokens on I²AM Record to 'auto'"
            )

    def token_widths(self, _network: nn.Module) -> set[int]:
        """See `Network`."""
        return set()

    def adapters(self, _options: dict[str, Any]) -> tuple[Adapter, ...]:
        """See `Network`."""
        return ()

    def layout_of(self, entry: dict[str, Any], told: Told, /) -> Layout | None:
        """See `Network`. It comes from the conditioning's own text and reference latents, and from the model's patches."""
        if told.layout is not None:
            raise LayoutError(
                "the conditioning is that of I²AM Try-On Conditioning, which is not for this model: it takes reference "
                "latents; add ReferenceLatent behind its prompt"
            )
        conds = {name: cond.cond for name, cond in entry["model_conds"].items()}
        given = _given(entry, told)
        if given.references or given.mask is not None or given.text.pictures:
            return sequence_of(given).layout()
        if conds.get("ref_latents"):
            raise LayoutError(
                "this model ignores the conditioning's reference latents as long as nothing says how to place them; add the "
                "node FluxKontextMultiReferenceLatentMethod (Edit Model Reference Method) with 'index' behind them"
            )
        if entry.get("reference_latents"):
            raise LayoutError(
                "this version of ComfyUI does not give the conditioning's reference latents to this model, so no attention "
                "goes to them; update ComfyUI, or record another model"
            )
        if "c_concat" in conds:
            raise LayoutError(
                "this model gets its other picture in channels of the latent (as FLUX.1 Fill, Canny and Depth do), so no "
                "attention goes to it; record a model that takes reference latents, or, where reference and result lie on one "
                "canvas, give the reference's rectangle in reference_parts"
            )
        return None

    def pictures(self, entry: dict[str, Any], told: Told, /) -> dict[str, Tensor]:
        """See `Network`."""
        family = family_of(told.model.diffusion_model)
        latents = None if family is None else entry["model_conds"].get(family.latents)
        beside, channels = entry["model_conds"].get("c_concat"), told.latent[1]
        shown: list[Tensor | None] = [None] * len(_given(entry, told).text.ahead)
        shown += [mark.thumbnail for mark in told.marks]
        if latents is not None:
            assert family is not None
            shown += drawn(told.model, family.held(latents.cond), told.parts)
        elif beside is not None and told.parts and beside.cond.shape[1] > channels:
            shown += drawn(told.model, [beside.cond[:, :channels]], told.parts)
        return named(shown)

    def no_reference(self, branch: str, contexts: Sequence[int]) -> LayoutError:
        """See `Network`."""
        seen = " and ".join(str(n) for n in contexts) or "no"
        return LayoutError(
            f"the {branch} conditioning has no reference latent (its text has {seen} tokens), so there is nothing to attribute "
            f"to a reference; add ReferenceLatent behind the prompt, connect picture and vae to TextEncodeQwenImageEditPlus, "
            f"or add I²AM Mark Redux behind Apply Style Model; of MiniMax H3, take the conditioning of MiniMax H3 Reference to "
            f"Video with a picture or a video"
        )

    def watch(self, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """See `Network`."""
        own = Given.of(call.model, given, picture_shape(given, given["x"]), call.parts, call.noise_mask)
        return _Observers(own, call).behind(given["transformer_options"])

    def check_cut(self, _cut: Cut) -> None:
        """See `Network`."""

    def cut(self, given: Mapping[str, Any], cut: CutCall) -> dict[str, Any]:
        """See `Network`."""
        own = Given.of(cut.call.model, given, picture_shape(given, given["x"]), cut.call.parts, cut.call.noise_mask)
        return JointCutter(own, cut).behind(given["transformer_options"])


def _given(entry: dict[str, Any], told: Told) -> Given:
    """What decides the sequence of a conditioning's calls."""
    conds = {name: cond.cond for name, cond in entry["model_conds"].items()}
    options = {"transformer_options": told.options}
    return Given.of(told.model, {**conds, **options}, told.latent, told.parts, told.noise_mask).marked(told.marks)


class _Observers(Proof):
    """The observers of one call."""

    def behind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, with these observers added behind the hooks that are already there."""
        return {**self.fresh(options), OVERRIDE: observed(options.get(OVERRIDE), lambda: self._observe)}

    def _observe(self, q: Any, k: Any, v: Any, heads: int, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """One call of the host's attention function; those outside of the blocks, such as a text's own, are not ours."""
        options = kwargs.get("transformer_options") or {}
        axis = 2 if kwargs.get("skip_reshape", False) else 1
        layer = self.called(options, q, q.shape[axis], k.shape[axis])
        if layer is not None:
            again = layer in self._call.seen
            self._call.seen.add(layer)
            self._call.observe(layer, self._attentions(layer, again, options, (q, k, v, heads, args, kwargs, out)))

    def _attentions(self, layer: str, again: bool, options: dict[str, Any], arguments: tuple[Any, ...]) -> Iterator[Attention]:
        """One block's attention, conditioning by conditioning; ``again``: the evaluation had one under this name before."""
        if again:
            raise LayoutError(
                f"layer {layer!r} attended twice in one evaluation, so another node runs several blocks under one name, or one "
                f"block several times (as WaveSpeed's first-block cache or NAG do); switch it off to record"
            )
        seen = Arguments.of(*arguments)
        batch = len(seen.q) // len(self._call.rows)
        for note in notes_in(options):
            self._call.notes.add(note)
        for i, row in enumerate(self._call.rows):
            if row is None:
                continue
            sequence = self.sequence(layer, options, seen.q.shape[2], seen.k.shape[2], i)
            part = slice(i * batch, (i + 1) * batch)
            left = _seen(options, i, seen.q, sequence)
            attention = Attention.joint(
                layer,
                sequence,
                row.branch,
                seen.q[part],
                seen.k[part],
                None,
                scale=seen.scale,
                mask=hidden(seen.mask_of(part, sequence.keys), left),
            )
            frames = self._given.frames
            yield attention if frames == 1 else attention.by_frame(frames, self._given.frame)


def _seen(options: dict[str, Any], row: int, q: Tensor, sequence: Tokens) -> Tensor | None:
    """What a cut leaves for a conditioning's recorded queries to see, (1, H or 1, queries or 1, S); None: all."""
    rows = sequence.recorded_queries
    left = seen_in(options, 0, row, q, sequence.keys, lambda every: every[rows])
    if left is None or left.shape[2] == 1:
        return left
    whole = left.new_ones(1, left.shape[1], q.shape[2], sequence.keys)
    whole[:, :, rows] = left
    return whole
