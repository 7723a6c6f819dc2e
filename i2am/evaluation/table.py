"""A summary as lines of text."""

from __future__ import annotations

from ..numbers import fixed
from .compare.measures import INVERTED, inverted, measure
from .facts import OfKind, Summary
from .metrics.names import OF_MAPS, OF_PICTURE, OF_SET

ORDER = (*OF_PICTURE, *OF_SET, *OF_MAPS)


def lines_of(summary: Summary) -> list[str]:
    """The figures of each kind of pair with the number of images behind them, and what is missing, and why.

    >>> from .facts import Mean, OfKind
    >>> for line in lines_of(Summary(kinds={"paired": OfKind(images=2, values={"ssim": Mean(mean=0.5, n=2)})})):
    ...     print(line)
    paired, 2 images
      SSIM                              0.5000  (2)
    """
    lines: list[str] = []
    missing = {kind: _missing(found) for kind, found in summary.kinds.items()}
    several = len(missing) > 1
    of_all = [one for one in next(iter(missing.values()), []) if several and all(one in told for told in missing.values())]
    for kind, found in summary.kinds.items():
        lines.append(f"{kind}, {found.images} images")
        figures = {name: (one.mean, one.n) for name, one in found.values.items()}
        figures |= {name: (one.value, one.n) for name, one in found.sets.items()}
        for name in [*(x for x in ORDER if x in figures), *(x for x in figures if x not in ORDER)]:
            value, n = figures[name]
            lines.append(f"  {measure(name).label:<32}  {fixed(value, 4)}  ({n})")
        lines += _seconds(found)
        lines += [f"  unavailable: {one}" for one in missing[kind] if one not in of_all]
    lines += [f"unavailable, {' and '.join(missing)}: {one}" for one in of_all]
    return lines + [INVERTED] * any(inverted(name) for found in summary.kinds.values() for name in found.values)


def _missing(found: OfKind) -> list[str]:
    """What is missing, and why: a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, lacking in found.unavailable.items():
        by_reason.setdefault(lacking.reason, []).append(measure(name).label)
    return [f"{', '.join(labels)}: {reason}" for reason, labels in by_reason.items()]


def _seconds(found: OfKind) -> list[str]:
    """What an image took, and what recording and scoring added to it."""
    taken = {name: one.mean for name, one in found.seconds.items()}
    if not taken.get("sample"):
        return []
    record, score = taken.get("record", 0.0), taken.get("score", 0.0)
    return [
        f"  seconds of the processor or device per image: sampling {taken['sample']:.2f}, recording {record:.2f}, scoring "
        f"{score:.2f} (together {100 * (record + score) / taken['sample']:.1f} % of sampling)"
    ]
