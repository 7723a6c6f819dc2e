"""What rounds to nought stands in tables, pages and pictures without a sign."""

from __future__ import annotations

import pytest

from i2am.evaluation.compare.charts import _plain
from i2am.evaluation.compare.page_tables import _plain as in_table
from i2am.evaluation.compare.page_tables import _shade
from i2am.evaluation.facts import Mean, OfKind, Summary
from i2am.evaluation.table import lines_of
from i2am.numbers import fixed, typeset
from i2am.outputs.look_details import _cells
from i2am.outputs.score_card import _number
from i2am.outputs.table_picture import _short
from i2am.pictures.lettering import tick_labels
from i2am.scores.imacs import Score
from i2am.scores.table import score_table

TINY = -0.00001


def test_nought_has_no_sign_anywhere() -> None:
    shown = [
        *(in_table(TINY), _plain(-0.0), str(_shade(TINY, own=True)), _number(TINY), _short("-0.00001", fact=False)),
        *lines_of(Summary(kinds={"paired": OfKind(images=1, values={"kid": Mean(mean=TINY, n=1)})})),
        *score_table({"": {"g": Score(TINY, 0.5, 0.5, shifted=TINY)}}),
        *_cells(Score(TINY, 0.5, 0.5, shifted=TINY)),
        *tick_labels([-1e-9, 1.0])[0],
    ]
    assert not [text for text in shown if "-0" in text or "−0" in text]


@pytest.mark.parametrize(("value", "text"), [(-0.0049, "0.00"), (-0.0051, "-0.01"), (0.0, "0.00"), (-10.0, "-10.00")])
def test_other_numbers_keep_their_sign(value: float, text: str) -> None:
    assert fixed(value, 2) == text
    assert typeset(value, 2) == text.replace("-", "−")
