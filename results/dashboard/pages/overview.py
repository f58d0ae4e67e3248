"""The overview: what was asked and what came out, and how far each sweep is."""

from collections import Counter

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, Kind, Page


def _overview(catalog: Catalog, asked: Asked) -> Page:
    sweeps = dict.fromkeys(one.sweep for one in catalog.standings)
    counted = {sweep: Counter(one.state for one in catalog.standings if one.sweep == sweep) for sweep in sweeps}
    return Page(title="Overview", template="overview.html.j2", told={"counted": counted, "folder": catalog.address})


KINDS = (Kind(name="overview", make=_overview, listed=lambda catalog: [Asked("overview")]),)
