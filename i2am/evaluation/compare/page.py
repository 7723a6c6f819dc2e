"""The page of a comparison: one HTML file without scripts that needs neither network nor server."""

from __future__ import annotations

from .claim import Answer, in_words
from .correlation import LEAST
from .evaluated import Evaluated
from .html import Html, details, tag, text
from .page_examples import examples_section
from .page_relations import charts_section, relations_section
from .page_tables import sensitivity_section, tables_section
from .relations import ALL
from .results import Results
from .style import STYLE

ASKED = (
    "The answers are for these runs and this data set. Over images: are the pictures of a run with a higher IMACS better ones? "
    "Over models: do runs with a higher mean have better figures? In brackets: the {confidence} interval."
)
METHOD = """
ρ is Spearman's rank correlation, r Pearson's. Intervals are bootstrap intervals (BCa, {draws} draws, seed {seed}): what other \
images would give, or over models other models and other images. Of fewer than {least} of either none is given.
Over images, “all runs” is the mean of the runs' own correlations over the images that all of them have, so that differences \
between models do not pass for differences between images. A run in which one of the two is the same for all images has no \
correlation and is left out.
Over models, each run counts once, by its means. Whether so few runs tell anything is said by p: of all ways to pair their \
values, the share with a rank correlation as far from 0.
“follows”: the interval of ρ (over models: p below 0.05) excludes 0 on the side where a better value of the maps goes with a \
better figure. “against”: on the other side. FID, KID and LPIPS are better where they are lower.
FID and KID are of whole data sets; SSIM, PSNR and LPIPS compare each picture with the true one.
IMACS: mean of the thresholded map inside the mask − λ × its mean outside; 1 is the best, −λ the worst.
"""
_LEVEL = {"image": "Over images", "model": "Over models"}


HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
"""


def page_of(results: Results) -> str:
    """The whole page."""
    parts = [
        _header(results),
        _answers(results),
        *tables_section(results),
        *relations_section(results),
        *charts_section(results),
        *sensitivity_section(results),
        *examples_section(results),
        _method(results),
    ]
    body = "\n".join(parts)
    return f"{HEAD}<title>{text(results.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"


def _header(results: Results) -> Html:
    return tag("header", tag("h1", results.title), *(tag("p", _about(one), class_="quiet") for one in results.runs))


def _about(one: Evaluated) -> str:
    run = one.run
    images = ", ".join(f"{len(rows)} {kind}" for kind, rows in one.by_kind.items())
    words = (f"{one.label}: {run.model}", run.family, run.data, f"{images} images", run.sampler, f"{run.steps} steps")
    return " · ".join((*words, f"cfg {run.cfg:g}", f"seed {run.seed}"))


def _answers(results: Results) -> Html:
    parts: list[str] = [tag("h2", "Does IMACS follow quality?")]
    if results.unlike:
        said = tag("ul", *(tag("li", one) for one in results.unlike))
        why = tag("p", "These runs are not alike, so that their figures differ for other reasons too:")
        parts.append(tag("div", why, said, class_="notice"))
    if not results.answers:
        parts.append(tag("p", "It cannot be asked: no run has both an IMACS and a figure of quality."))
    parts.append(tag("div", *map(_answer, results.answers), class_="answers"))
    parts.append(tag("p", ASKED.format(confidence=f"{results.how.confidence:.0%}"), class_="quiet"))
    return tag("section", *parts)


def _answer(one: Answer) -> Html:
    of = f", {one.of}" * (one.of != ALL)
    head = tag("h3", f"{_LEVEL[one.level]}{of}, preset {one.preset}: ", tag("strong", one.answer))
    lines = tag("ul", *(tag("li", in_words(relation)) for relation in one.relations))
    return tag("div", head, tag("p", f"{one.text[:1].upper()}{one.text[1:]}."), details("Each pair", lines), class_="answer")


def _method(results: Results) -> Html:
    how = results.how
    lines = METHOD.format(draws=how.resamples, seed=how.seed, least=LEAST).strip().splitlines()
    return tag("section", tag("h2", "How it was reckoned"), tag("ul", *(tag("li", line) for line in lines)))
