"""Pages as HTML: one environment of templates, in which all text from data is text."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from results.dashboard.page import Asked, Link, Page
from results.dashboard.site.words import FILTERS
from workloads.printed_text import escaped

DASHBOARD = "results.dashboard"
"""The package whose templates and static files every server of ours has; another one may add its own."""
_EVERY = ("columns.js", "site.js")
"""Scripts of every page."""
_SERVED = ("vendor/htmx-4.0.1.min.js", "live.js")
"""Scripts of every page that a server answers for."""
NAVIGATION = (
    ("Overview", Asked("overview")),
    ("Paper tables", Asked("tables")),
    ("Compare", Asked("compare")),
    ("Data", Asked("data")),
)


@cache
def environment_of(package: str = DASHBOARD) -> Environment:
    """The templates of a package, which may extend and import those of the dashboard."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, "templates") for name in dict.fromkeys((package, DASHBOARD))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: escaped(value) if type(value) is str else value,  # what is markup is ours
    )
    environment.filters |= FILTERS
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return environment


def rendered(
    page: Page,
    asked: Asked,
    link: Link,
    static: str,
    served: bool,
    look: int = 0,
    stale: str | None = None,
    renewing: bool = False,
    package: str = DASHBOARD,
    navigation: Sequence[tuple[str, Asked]] = NAVIGATION,
) -> str:
    """A page as HTML.

    Args:
        page: what it shows.
        asked: its own address.
        link: gives addresses as this page has to write them; None for what is not there, which stands as plain text.
        static: what the addresses of static files begin with, such as `/static/`.
        served: whether a server answers, so that it can be live and filtered.
        look: number of the look at the folder that it shows, by which a reader learns that there is a later one.
        stale: why it shows how the folder was, and not how it is now, where that is so.
        renewing: whether only its parts that are renewed are wanted, so that charts which go on by themselves are left
            out, with all that they have shown before.
        package: in whose `templates/` its template is.
        navigation: words and addresses at the top of every page.
    """
    template = environment_of(package).get_template(page.template)

    def to(kind: str, of: object = "", **options: Any) -> str | None:
        return link(Asked.to(kind, of, options))

    return template.render(
        **page.told,
        title=page.title,
        trail=[("Overview", Asked("overview")), *page.trail],
        synthetic=page.synthetic,
        asked=asked,
        here=link(asked),
        link=to,
        link_to=link,
        static=static,
        served=served,
        look=look,
        stale=stale,
        renewing=renewing,
        navigation=navigation,
        scripts=[*_EVERY, *(_SERVED if served else ()), *page.scripts],
    )


def static_file(name: str, package: str = DASHBOARD) -> bytes | None:
    """A file in the `static/` of a package; None where there is none of this name."""
    if name not in static_names(package):
        return None
    return resources.files(package).joinpath("static", *name.split("/")).read_bytes()


@cache
def static_names(package: str = DASHBOARD) -> frozenset[str]:
    """All files in `static/`: what is not here is not served."""
    top = resources.files(package).joinpath("static")
    below = {f"{each.name}/{file.name}" for each in top.iterdir() if each.is_dir() for file in each.iterdir()}
    return frozenset({each.name for each in top.iterdir() if each.is_file()} | below)
