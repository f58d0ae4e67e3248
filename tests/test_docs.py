"""What the documents say of the house is so: files exist, every column is described, the README stays short."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from results.sheet import RECORD
from workloads import predictions
from workloads.data.prepared.dataset import DatasetFacts
from workloads.data.prepared.shards import PREPARED_SCHEMA
from workloads.data.specimens.schema import SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import TableFacts
from workloads.identification.database import SPECIMENS, DatabaseFacts
from workloads.record import MEASUREMENT_SCHEMA
from workloads.shown import MAP_SCHEMA, SHOWN_SCHEMA
from workloads.training.report import EpochReport, StepReport

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
MODULES = {
    file.name
    for package in ("commands", "orchestrator", "sweeps", "results", "workloads")
    for file in (ROOT / package).rglob("*.py")
}
LOG = "log.md"
"""Speaks of files as they were."""
FILES = (ROOT / "docs" / "files.md").read_text()


def named_files(page: Path) -> Iterator[str]:
    """Paths of the repository that a page names, and what it links to."""
    text = page.read_text()
    paths = re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md|json|yaml))`", text)
    yield from (path for path in paths if path == path.lower())  # capitals stand for a name
    yield from (name for name in re.findall(r"`([a-z_]+\.py)`", text) if name not in MODULES)
    yield from (str((page.parent / link).relative_to(ROOT)) for link in re.findall(r"\]\(([\w/.]+\.md)\)", text))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != LOG], ids=lambda page: page.name)
def test_every_file_that_a_document_names_is_there(page: Path) -> None:
    assert [name for name in named_files(page) if not (ROOT / name).exists()] == []


def test_the_documents_name_files() -> None:
    assert len(list(named_files(ROOT / "docs" / "architecture.md"))) > 20


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("specimen table", (*SPECIMEN_SCHEMA.names, *(field.name for field in fields(TableFacts)))),
        ("dataset.json", tuple(field.name for field in fields(DatasetFacts))),
        ("shards", PREPARED_SCHEMA.names),
        ("database.json", tuple(field.name for field in fields(DatabaseFacts))),
        ("specimens of a database", SPECIMENS.names),
        ("measurements", MEASUREMENT_SCHEMA.names),
        ("predictions", tuple(name for names in predictions._SCHEMAS.values() for name in names.names)),
        ("shown", SHOWN_SCHEMA.names),
        ("map", MAP_SCHEMA.names),
        ("events", tuple(field.name for kind in (StepReport, EpochReport) for field in fields(kind))),
        ("CSV and JSON", RECORD),
    ],
)
def test_every_column_is_described(what: str, names: tuple[str, ...]) -> None:
    assert [name for name in names if f"`{name}`" not in FILES] == [], what


def test_the_readme_fits_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_the_citation_is_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "MIT"
    assert citation["preferred-citation"]["title"].startswith("CLIBD")
