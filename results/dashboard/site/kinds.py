"""Every kind of pages and files that there is, by its name in addresses."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from results.dashboard import pages
from results.dashboard.page import Asked, Kind


@cache
def kinds() -> Mapping[str, Kind]:
    """Each file in `pages/` says in `KINDS` which it makes."""
    modules = [import_module(f"{pages.__name__}.{found.name}") for found in iter_modules(pages.__path__)]
    every = [kind for module in modules for kind in getattr(module, "KINDS", ())]
    return MappingProxyType({kind.name: kind for kind in every})


def plain(asked: Asked) -> Asked:
    """An address without what is as it is by default, so that one page has one address."""
    if (kind := kinds().get(asked.page)) is None:
        return asked
    told = {name: value for name, value in asked.options if value != kind.options.get(name)}
    return Asked.to(asked.page, asked.of, told)
