"""Hostile names are text on the pages of tables and data: no tag, no handler, no address of theirs."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.made_up_names import HOSTILE
from benchmarks.made_up_runs import make_runs
from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from results.dashboard.pages.table import KINDS
from tests.dashboard.showing import shown, words_of
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.delimited_out import reject_list
from workloads.seals import DATASET, read_sealed
from workloads.storage import Folder


class Markup(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.attributes, self.addresses = set[str](), set[str](), set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {str(value) for name, value in attrs if name in ("href", "src", "action", "data-columns")}


def check(html: str, plain: Markup) -> None:
    """No markup but what pages without such names have."""
    found = Markup()
    found.feed(html)
    assert found.tags <= plain.tags
    assert found.attributes <= plain.attributes
    assert all(address.startswith(("/", "#", "data:,")) and not address.startswith("//") for address in found.addresses)


def markup(*pages: str) -> Markup:
    """Of all these pages."""
    found = Markup()
    for page in pages:
        found.feed(page)
    return found


def pages_of(catalog: Catalog) -> list[str]:
    """Every sheet, and some cells."""
    listed = list(KINDS[0].listed(catalog))
    cells = [asked for asked in listed if asked.option("cell")]
    kept = [*(asked for asked in listed if not asked.option("cell")), *cells[::23]]
    return [shown(catalog, asked.page, asked.of, **dict(asked.options)) for asked in kept]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: PreparedDataset) -> Markup:
    """What pages of runs with plain names are made of."""
    runs = Folder(tmp_path_factory.mktemp("plain") / "runs")
    make_runs(runs, 10, 1000, seed=1)
    catalog, without = Catalog(runs, tiny_dataset.folder), Catalog(runs)
    found = markup(shown(catalog, "tables"), shown(catalog, "data"), shown(without, "data"), *pages_of(catalog))
    found.attributes.add("rel")  # of links to other pages of a long list
    return found


def test_runs(tmp_path: Path, plain: Markup) -> None:
    make_runs(Folder(tmp_path / "runs"), 10, 1000, seed=2, hostile=True)
    catalog = Catalog(Folder(tmp_path / "runs"))
    told = [shown(catalog, "tables"), shown(catalog, "data"), *pages_of(catalog)]
    for html in told:
        check(html, plain)
    assert sum(any(name[:20] in words_of(html) for name in HOSTILE) for html in told) > 5


def test_a_data_set(tmp_path: Path, tiny_dataset: PreparedDataset, plain: Markup) -> None:
    data = Folder(tmp_path / "data")
    facts, _ = read_sealed(tiny_dataset.folder, DATASET)
    names = [name for name in HOSTILE if "\x00" not in name]
    about = {"name": names[0], "source": names[1], "partition": names[2]}
    data.write_json("dataset.json", {**facts, **about, "reject_reasons": dict.fromkeys(names, 3), "num_rejects": 60})
    table = SpecimenTable.at(f"{data}/specimens.parquet")
    whole = SpecimenTable(tiny_dataset.folder, "specimens.parquet")
    with table.writer(whole.facts) as write:
        for batch in whole.batches():
            genera = [names[number % len(names)] for number in range(len(batch))]
            place = batch.schema.get_field_index("genus")
            write(batch.set_column(place, "genus", genera))
    with reject_list(data) as reject:
        for name in names:
            reject(name, name)
    catalog = Catalog(Folder(tmp_path), data)
    tables = {asked.option("part"): shown(catalog, "data", part=asked.option("part")) for asked in _parts()}
    for part, html in tables.items():
        check(html, plain)
        assert part == "shared" or names[0] in words_of(html)


def _parts() -> list[Asked]:
    return [Asked.to("data", "", {"part": part}) for part in ("", "shared", "names", "rejects")]
