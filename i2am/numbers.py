"""Numbers as text for people."""

from __future__ import annotations


def fixed(value: float, digits: int) -> str:
    """A number with so many digits behind the point; what rounds to nought has no sign.

    >>> fixed(-0.0004, 3), fixed(-0.25, 2)
    ('0.000', '-0.25')
    """
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def typeset(value: float, digits: int) -> str:
    """As `fixed`, with the sign that stands in print.

    >>> typeset(-0.0004, 3), typeset(-0.25, 2)
    ('0.000', '−0.25')
    """
    return fixed(value, digits).replace("-", "−")
