"""From an address to an answer: the page or file itself, or a page that says what is missing."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from results.dashboard.catalog import Catalog
from results.dashboard.page import Answer, Asked, NotThereError, Page
from results.dashboard.site.kinds import kinds
from results.run import UNREADABLE
from workloads.printed_text import remark


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and its status, as HTTP counts them."""

    answer: Answer
    status: int = 200


def answer(catalog: Catalog, asked: Asked) -> Answered:
    """What stands at an address; where there is nothing, or it is damaged, a page that says so and why."""
    kind = kinds().get(asked.page)
    if kind is None or not {name for name, _ in asked.options} <= {*kind.options}:
        return _missing("There is no such page.")
    try:
        return Answered(kind.make(catalog, asked))
    except NotThereError as error:
        return _missing(str(error))
    except UNREADABLE as error:
        return _missing(f"It cannot be read: {error}")
    except Exception as error:  # a mistake of ours costs this page, not the others
        return _went_wrong(error)


def html_of(page: Page, status: int, render: Callable[[Page], str]) -> tuple[str, int]:
    """A page as HTML and its status; where it cannot be rendered, the page that says so."""
    try:
        return render(page), status
    except Exception as error:
        wrong = _went_wrong(error)
        assert isinstance(wrong.answer, Page)
        return render(wrong.answer), wrong.status


def _went_wrong(error: Exception) -> Answered:
    remark("".join(traceback.format_exception(error)).rstrip())
    return _missing("Something went wrong when this was made; where the dashboard was started it says what.", 500)


def _missing(why: str, status: int = 404) -> Answered:
    return Answered(Page(title="Not there", template="missing.html.j2", told={"why": why}), status)
