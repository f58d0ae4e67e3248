"""Every example of docs/api.md is run as it stands there, section by section, and every name of `clibd` has one."""

import doctest
import re
import warnings
from pathlib import Path

import pytest

import clibd

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
TEXT = PAGE.read_text()
SECTIONS = dict(
    zip(re.findall(r"^## (.+)$", TEXT, re.MULTILINE), re.split(r"^## .+$", TEXT, flags=re.M)[1:], strict=True)
)
WAITING: tuple[str, ...] = ()
"""Sections that are not run yet, for want of what they show."""
FIRST = "import clibd\ninsects = clibd.read_table('insects.csv')\ndb = clibd.Database('DB')"
"""What sections take from those before them."""


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in WAITING])
def test_the_examples_of_a_section_are_so(section: str) -> None:
    names: dict[str, object] = {}
    exec(FIRST, names)
    parsed = doctest.DocTestParser().get_doctest(SECTIONS[section], names, section, str(PAGE), 0)
    assert parsed.examples
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        runner.run(parsed, out=said.append)
    assert not said, "".join(said)


def test_every_name_is_in_the_document() -> None:
    errors = {"ClibdError", "MissingPathError", "UsageError"}
    results = {"Embeddings", "Evaluation", "Rows", "Run", "Scores", "Specimens", "ZeroShot"}
    shown = set(clibd.__all__) - errors - results
    assert {name for name in shown if f"`{name}`" not in TEXT and f".{name}(" not in TEXT} == set()
