"""The pages as HTML: the form with its answers, one specimen by itself, and the description of the interface."""

from collections.abc import Mapping, Sequence
from typing import Any

from clibd.serving.sent import CONFIDENCE
from clibd.serving.shown import Shown
from clibd.serving.uploads import MOST_BYTES, MOST_SPECIMENS
from clibd.serving.validated import FORMS
from results.dashboard.page import Asked, Page
from results.dashboard.site.rendering import environment_of, rendered
from workloads.identification.database import DatabaseFacts
from workloads.spec import RANKS

PACKAGE = "clibd.serving"
_SCRIPTS = ("barcodes.js", "identify.js", "correct.js")
NAVIGATION = (("Identify", Asked("overview")), ("Interface", Asked("interface")))
_MOST_SHOWN = 50
"""Specimens on a page without scripts, with all their barcodes drawn."""


def identify_page(facts: DatabaseFacts, answers: Sequence[Shown] = (), problem: str = "") -> str:
    """The page: empty, with a problem, or with the answers to what its form sent."""
    told = {
        "facts": facts,
        "answers": answers[:_MOST_SHOWN],
        "num_left": max(0, len(answers) - _MOST_SHOWN),
        "problem": problem,
        "most_bytes": MOST_BYTES,
        "most": MOST_SPECIMENS,
        "confidence": CONFIDENCE,
        "ranks": RANKS,
        "forms": FORMS,
    }
    page = Page(
        title="What is it?", template="identify.html.j2", told=told, scripts=_SCRIPTS, synthetic=facts.synthetic
    )
    return _rendered(page, Asked("overview"))


def specimen_html(answer: Shown) -> str:
    """One specimen, as the page takes it in."""
    return environment_of(PACKAGE).get_template("specimen.html.j2").render(one=answer, forms=FORMS, ranks=RANKS)


def interface_page(described: Mapping[str, Any]) -> str:
    """The OpenAPI description for people."""
    page = Page(title="The interface", template="interface.html.j2", told={"described": described})
    return _rendered(page, Asked("interface"))


def missing_page(why: str) -> str:
    """The page of what is not there."""
    return _rendered(Page(title="Not there", template="missing.html.j2", told={"why": why}), Asked("missing"))


def _rendered(page: Page, asked: Asked) -> str:
    link = {Asked("overview"): "/", Asked("interface"): "/interface"}.get
    return rendered(page, asked, link, "/static/", served=False, package=PACKAGE, navigation=NAVIGATION)
