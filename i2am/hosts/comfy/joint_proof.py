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
from .joint_text import INPUT, Text, TextWatch

LEFT_OVER = ("block_type", "block_index", "img_slice", "reference_image_num_tokens")
"""What a network writes into a call's options; older hosts leave it there for the next call."""
CACHED = (
    "a cache (such as FluxKVCache) keeps the references' keys of the first evaluation: later steps attend to those, and where "
    "cond and uncond are evaluated apart, both attend to the keys of whichever came first"
)


class Proof:
    """The sequences of one call's rows."""

    def __init__(self, given: Given, call: Call) -> None:
        self._call, self._given = call, given
        self._own = [None if row is None else given.marked(row.marks) for row in call.rows]
        self._text = TextWatch(given.text)
        self._known: dict[Text, Sequence] = {}
        self._layers = given.family.layers(call.network)
        for own in self._own:
            canvas = None if own is None else own.canvas
            for note in () if canvas is None else canvas.notes:
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
            fresh["patches"] = {**patches, INPUT: self._text.around(patches[INPUT])}
        if self._given.family.counted:
            keys = next(sequence_of(own).keys for own in self._own if own is not None)
            fresh.setdefault(COUNT, Count(self._layers, keys, type(self._call.network).__name__))
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

    def _given_of(self, row: int) -> Given:
        """What decides the sequence of a row, after all that other packs did to the text before the first block."""
        given, added = self._own[row], self._text.added
        assert given is not None
        if not added:
            return given
        if given.text.pictures:
            what = f"adds {added} tokens to the text" if added > 0 else "changes the text's tokens"
            raise LayoutError(
                f"the text holds a picture's tokens (of Redux or USO), and another node {what} before the first block, so "
                f"their places are not known; switch that node off to record"
            )
        self._call.notes.add(f"another node adds {added} tokens to the text; they count as text")
        return replace(given, text=replace(given.text, own=given.text.own + added))

    def _arranged(self, given: Given) -> Sequence:
        """The sequence of rows of a call, which differ in their texts alone; made once."""
        if given.text not in self._known:
            self._known[given.text] = sequence_of(given)
        return self._known[given.text]

    def sequence(self, layer: str, options: Mapping[str, Any], queries: int, keys: int, row: int) -> Sequence:
        """The sequence of a row in a block's call, if all that the host says about it agrees.

        Raises:
            LayoutError: it does not.
        """
        given = self._given_of(row)
        sequence = self._arranged(given)
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
