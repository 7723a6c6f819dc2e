"""What the tokens of a joint model's calls are, proven from all that the host says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...errors import LayoutError
from ...geometry.sequence import Sequence
from .call import Call
from .joint_count import COUNT, Count
from .joint_families import is_derived
from .joint_sequence import Given, sequence_of

LEFT_OVER = ("block_type", "block_index", "img_slice", "reference_image_num_tokens")
"""What a network writes into a call's options; older hosts leave it there for the next call."""
INPUT = "post_input"
"""Where patches of a network's tokens are, in a call's options."""
CACHED = (
    "a cache (such as FluxKVCache) keeps the references' keys of the first evaluation: later steps attend to those, and where "
    "cond and uncond are evaluated apart, both attend to the keys of whichever came first"
)


class Proof:
    """The sequence of one call, all of whose rows have the same."""

    def __init__(self, given: Given, call: Call) -> None:
        self._call, self._given = call, given
        self._sequence = sequence_of(given)
        self._layers = given.family.layers(call.network)
        for note in () if given.canvas is None else given.canvas.notes:
            call.notes.add(note)
        remark = given.family.remark(len(given.references))
        if remark:
            call.notes.add(remark)
        if is_derived(call.network, given.family):
            whose = "of ComfyUI" if type(call.network).__module__.startswith("comfy.") else "of another pack"
            call.notes.add(
                f"the network is a {type(call.network).__name__} {whose}, derived from ComfyUI's {given.family.name}: "
                f"the order of its tokens is taken to be the same, which only the number of them confirms"
            )

    def fresh(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, without what an earlier call left there, and with a look at what other packs do to the text."""
        fresh = {name: value for name, value in options.items() if name not in LEFT_OVER}
        patches = options.get("patches", {})
        if patches.get(INPUT):
            fresh["patches"] = {**patches, INPUT: [*patches[INPUT], self._after_input]}
        if self._given.family.counted:
            fresh.setdefault(COUNT, Count(self._layers, self._sequence.keys, type(self._call.network).__name__))
        return fresh

    def called(self, options: Mapping[str, Any], q: Tensor, queries: int, keys: int) -> str | None:
        """The block whose attention is being called, with these queries; None: see `layer`."""
        if self._given.family.counted:
            options[COUNT].see(q, queries, keys)
        return self.layer(options)

    def layer(self, options: Mapping[str, Any]) -> str | None:
        """The block whose attention is called; None: it is not one of the blocks', such as a text's own."""
        if self._given.family.counted:
            count: Count = options[COUNT]
            return count.layer
        layer = f"{options.get('block_type')}.{options.get('block_index')}"
        return layer if layer in self._layers else None

    def _after_input(self, tokens: dict[str, Any]) -> dict[str, Any]:
        """After all that other packs do to the tokens before the first block: how long the text has become."""
        words = int(tokens["txt"].shape[1])
        if words != self._given.words:
            self._call.notes.add(
                f"another node adds {words - self._given.words} tokens to the text (as Apply USO Style Reference does with its "
                f"picture's); they count as text"
            )
            self._given = replace(self._given, words=words)
            self._sequence = sequence_of(self._given)
        return tokens

    def sequence(self, layer: str, options: Mapping[str, Any], queries: int, keys: int) -> Sequence:
        """The sequence of a block's call, if all that the host says about it agrees.

        Raises:
            LayoutError: it does not.
        """
        sequence, given = self._sequence, self._given
        own = sequence.generated.stop if sequence.references[0].start >= sequence.generated.stop else keys
        said = options.get("reference_image_num_tokens", given.counts)
        text = (options.get("img_slice") or (given.words,))[0]
        if keys != sequence.keys or queries not in (keys, own) or list(said) != given.counts or text != given.words:
            raise LayoutError(
                f"layer {layer!r} was called with {queries} queries and {keys} keys (references of {list(said)} tokens, text "
                f"of {text}), but the run's latents and text make {sequence.keys}: {sequence}; another node changes the tokens "
                f"(such as one that adds, merges or drops some), so switch it off to record"
            )
        if queries == keys:
            return sequence
        self._call.notes.add(CACHED)
        return replace(sequence, queries=((0, own),))
