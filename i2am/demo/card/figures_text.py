"""The tables of an evaluation, one after another."""

from __future__ import annotations

from .causal_table import causal_table
from .compared import WITHOUT, Compared
from .layer_table import layer_table
from .picture_table import picture_table
from .pointing_table import pointing_table
from .sources import Figures
from .where_table import where_table


def figures_text(figures: Figures, plain: Figures, equal: Figures | None = None) -> str:
    """All tables of an evaluation, beside those of the model without attention loss.

    Args:
        figures: the shipped model's evaluation.
        plain: that of the model without attention loss, or nothing.
        equal: the shipped model's when it had seen as many samples as the plain one, where it has seen more since.
    """
    models = Compared(figures, plain, equal or {})
    tables = (write(models) for write in (picture_table, pointing_table, layer_table, where_table, causal_table))
    return "\n".join([_about(models), *filter(None, tables)])


def _about(models: Compared) -> str:
    setup = models.own["setup"]
    text = (
        f"Measured with `python -m i2am.demo.evaluate` after {setup['samples']:,} training samples, with "
        f"{setup['steps']} DDIM steps and cfg {setup['cfg']:g}, on the number of held-out pairs in each row. A dash: not measured, "
        f"or too few cells.\n"
    )
    if models.plain:
        text += (
            f"Beside it stands a model of the same shape, {WITHOUT} for {models.plain['setup']['samples']:,} samples, with the same "
            f"noise and layers from its start. The end of its training was shared by two processes, each with half of every batch. "
            f"It was measured in paired runs only.\n"
        )
    return text
