"""Cut edges of joint attention: some queries no longer see some keys, and their softmax is taken over those that are left.

What changes in the picture, at the same noise, was brought over these edges. A cut leaves what the model was trained on, so
that it shows which way something went, and not what a model without that way would have learned.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ....errors import LayoutError
from ....geometry.sequence import Sequence
from ....models.edit.blocks import Attend
from ...edit_model import sequence as sequence_of


@dataclass(frozen=True)
class Edge:
    """The way from one span of a sequence to another, both by name.

    Attributes:
        queries: the span whose tokens look.
        keys: the span that they look at.
    """

    queries: str
    keys: str


def seen_keys(sequence: Sequence, cut: Collection[Edge]) -> Tensor:
    """Which keys each query of a call still sees when edges are cut: (queries, S), True = it may look.

    Raises:
        LayoutError: the sequence has no span of a name, or several, or a query would be left without any key.

    >>> from i2am.geometry.layout import TokenGrid
    >>> from i2am.geometry.sequence import generated, reference
    >>> both = Sequence.of(generated(TokenGrid(1, 1)), reference(TokenGrid(1, 2), "shirt"))
    >>> seen_keys(both, [Edge("generated", "shirt")]).int().tolist()
    [[1, 0, 0], [1, 1, 1], [1, 1, 1]]
    """
    seen = torch.ones(sequence.keys, sequence.keys, dtype=torch.bool)
    for edge in cut:
        seen[_tokens(sequence, edge.queries)[:, None], _tokens(sequence, edge.keys)] = False
    if sequence.queries:
        seen = torch.cat([seen[first:stop] for first, stop in sequence.queries])
    blind = int((~seen.any(1)).sum())
    if blind:
        raise LayoutError(f"the cut leaves {blind} queries of the sequence ({sequence}) without any key; cut fewer edges")
    return seen


def attend_seen(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Attention over the keys that each query sees: softmax over them alone of q·k / sqrt(d), times their values.

    Args:
        q: (B, heads, queries, d).
        k, v: (B, heads, S, d).
        seen: (queries, S), True = it may look.
    """
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen.to(q.device))


def cut_attention(edges: Collection[Edge]) -> Attend:
    """Attention of a run of the edit model with both references in which some edges are cut, in every block."""
    seen = {short: seen_keys(sequence_of(short), edges) for short in (False, True)}

    def cut(_name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend_seen(q, k, v, seen[q.shape[2] < k.shape[2]])

    return cut


def _tokens(sequence: Sequence, name: str) -> Tensor:
    found = [span for span in sequence.spans if span.name == name]
    if len(found) != 1:
        there = ", ".join(repr(span.name) for span in sequence.spans)
        raise LayoutError(f"expected one span {name!r} in the sequence, which has {there}; name one of them")
    return found[0].positions()
