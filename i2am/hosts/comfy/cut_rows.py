"""Which rows of a model's call something is cut from: those of every conditioning that has a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...models.carried import carried_by
from .adapters import Adapter, with_adapters
from .call import Rows
from .network import Network, told_of
from .rows import BRANCH_OF, check_whole


class CutRows:
    """The conditionings of one sampler's run.

    Args:
        network: the kind of the model's network.
        guider: the sampler's guider.
        latent: the shape of the sampler's latent.
        branches: in which something is cut.
        layout: what the keys are, by hand; None: what the conditioning carries.
        parts: the rectangles of pictures that are stitched into one reference.
        noise_mask: of the sampler, see `Told`.

    Attributes:
        adapters: those applied in the model's options.
    """

    def __init__(
        self,
        network: Network,
        guider: Any,
        latent: tuple[int, ...],
        branches: Sequence[str],
        layout: Layout | None,
        parts: Parts,
        noise_mask: Tensor | None = None,
    ) -> None:
        self._network, self._guider, self._latent, self._branches = network, guider, latent, branches
        self._layout, self._parts, self._noise_mask = layout, parts, noise_mask
        self.adapters: tuple[Adapter, ...] = ()
        self._hosts: dict[str, Any] = {}
        self._rows: dict[Any, tuple[Rows, bool]] = {}  # by the host's uuid of a conditioning

    def name(self, called: Any, conds: Sequence[list[dict[str, Any]] | None], model_options: dict[str, Any]) -> None:
        """Find out, before a batch is evaluated, what the keys of its conditionings are.

        Args:
            called: the model that evaluates them.
            conds: for each role, the host's list of entries, or None.
            model_options: the model's options.

        Raises:
            LayoutError: no entry of the positive conditioning, or of the only branch that is cut, has a reference.
        """
        self._hosts = model_options.get("transformer_options", {})
        check_whole(self._hosts)
        if not self._rows and self._layout is None:
            self.adapters = self._network.adapters(self._hosts)
        foreign = called is not getattr(self._guider, "inner_model", called)  # a second model, as the negative
        roles = {id(entries): BRANCH_OF.get(role, role) for role, entries in self._guider.conds.items()}
        for entries in conds:
            branch = None if entries is None else "uncond" if foreign else roles.get(id(entries))
            if entries is not None and branch is not None and branch in self._branches:
                self._take(branch, entries)

    def _take(self, branch: str, entries: list[dict[str, Any]]) -> None:
        lengths = []
        for entry in entries:
            context = entry["model_conds"].get("c_crossattn")
            tokens = 0 if context is None else int(context.cond.shape[1])
            lengths.append(tokens)
            carried, model = carried_by(entry), self._guider.model_patcher.model
            told = told_of(entry, self._layout, self._parts, self._latent, model, self._noise_mask, self._hosts)
            layout = with_adapters(self._network.layout_of(entry, told), self.adapters)
            if layout is None:
                continue
            layers = {} if carried is None or self._layout is not None else carried.layers
            null = self._network.nulls and branch != "cond" and (carried is None or carried.null)
            self._rows[entry["uuid"]] = Rows(branch, layout, tokens, layers, told.marks), null
        found = any(rows.branch == branch for rows, _ in self._rows.values())
        if not found and (branch == "cond" or "cond" not in self._branches):
            raise self._network.no_reference(branch, lengths)

    def of(self, uuids: Sequence[Any]) -> tuple[tuple[Rows | None, ...], tuple[bool, ...]] | None:
        """The rows of a call by its conditionings' uuids, and which of them stand for "no reference"; None: nothing is cut."""
        found = [self._rows.get(name, (None, False)) for name in uuids]
        if all(rows is None for rows, _ in found):
            return None
        return tuple(rows for rows, _ in found), tuple(null for _, null in found)

    def stand_in(self) -> Tensor | None:
        """(1, T, C), the tokens of the negative conditioning; None: there is none."""
        for entry in self._guider.conds.get("negative") or ():
            context = entry.get("model_conds", {}).get("c_crossattn")
            if context is not None:
                tokens: Tensor = context.cond
                return tokens[:1]
        return None
