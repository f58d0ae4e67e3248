"""Pages of taxa: how many train, answer and ask, and how they are recognised."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint

from results.dashboard.taxa import shares
from tests.dashboard.answered_runs import answered_run, catalog_of, rows_of
from tests.dashboard.showing import shown, words_of
from tests.results.figures.made_up import Row, made_up_rows
from workloads.data.prepared.dataset import PreparedDataset
from workloads.storage import Folder


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return made_up_rows(300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    folder = tmp_path_factory.mktemp("taxa")
    answered_run(folder, rows)
    return folder


@pytest.fixture(scope="module")
def run(runs: Path) -> str:
    return next((runs / "train").iterdir()).name


def _hits(runs: Path, run: str, rows: list[Row]) -> dict[str, list[bool]]:
    """Whether the nearest barcode of each image has its species, by species."""
    names = {row["specimen_id"]: row["species"] for row in rows}
    hits: dict[str, list[bool]] = defaultdict(list)
    for row in Folder(runs / "train" / run).read_table("predictions.parquet").to_pylist():
        if (row["partition"], row["query"], row["key"]) == ("val", "image", "dna") and names[row["specimen_id"]]:
            hits[str(names[row["specimen_id"]])].append(names[row["key_ids"][0]] == names[row["specimen_id"]])
    return hits


def test_a_species_has_its_counts_and_its_interval(runs: Path, run: str, rows: list[Row]) -> None:
    hits = _hits(runs, run, rows)
    name = max(hits, key=lambda each: len(hits[each]))
    own = hits[name]
    text = words_of(shown(catalog_of(runs), "species", run, name=name))
    low, high = proportion_confint(sum(own), len(own), method="wilson")
    assert f"{100 * sum(own) / len(own):.1f} [{100 * low:.1f}, {100 * high:.1f}]" in text
    num_keys = sum(row["species"] == name and str(row["split"]).endswith("keys") for row in rows)
    assert f"Keys {num_keys} specimens" in text
    assert f"Queries {len(own)} validation specimens" in text
    assert "--data DIR" in text


def test_the_list_has_every_taxon_with_queries(runs: Path, run: str, rows: list[Row]) -> None:
    hits = _hits(runs, run, rows)
    page = shown(catalog_of(runs), "species", run)
    listed = re.findall(r'<td class="first"><a [^>]*>([^<]+)</a>', page)
    assert sorted(listed) == sorted(hits)
    counts = Counter({name: len(own) for name, own in hits.items()})
    assert [counts[name] for name in listed] == sorted(counts.values(), reverse=True)
    by_name = shown(catalog_of(runs), "species", run, sort="name")
    assert re.findall(r'<td class="first"><a [^>]*>([^<]+)</a>', by_name) == sorted(hits)
    worst = shown(catalog_of(runs), "species", run, sort="image-dna")
    shares = [
        sum(hits[name]) / len(hits[name]) for name in re.findall(r'<td class="first"><a [^>]*>([^<]+)</a>', worst)
    ]
    assert shares == sorted(shares)
    begins = shown(catalog_of(runs), "species", run, begins="SPECIES 1")
    assert set(re.findall(r'<td class="first"><a [^>]*>([^<]+)</a>', begins)) == {
        name for name in hits if name.startswith("species 1")
    }


def test_every_rank_has_a_list(runs: Path, run: str, rows: list[Row]) -> None:
    for rank in ("order", "family", "genus"):
        page = shown(catalog_of(runs), "species", run, rank=rank)
        assert {f"{rank} 0"} <= set(re.findall(r'<td class="first"><a [^>]*>([^<]+)</a>', page))
        assert "Within it" in words_of(shown(catalog_of(runs), "species", run, rank=rank, name=f"{rank} 0"))


def test_what_is_not_there_is_said(runs: Path, run: str) -> None:
    catalog = catalog_of(runs)
    assert "No specimen" in words_of(shown(catalog, "species", run, status=404, name="nobody"))
    assert "sorted by" in words_of(shown(catalog, "species", run, status=404, sort="x"))


def test_the_data_set_says_how_many_train(tmp_path: Path, tiny_dataset: PreparedDataset) -> None:
    rows = rows_of(tiny_dataset)
    run = answered_run(tmp_path, rows, tiny_dataset.facts.name, tiny_dataset.facts.fingerprint)
    training = tiny_dataset.load(tiny_dataset.facts.splits.training, ["species"])["species"].to_pylist()
    counts = Counter(name for name in training if name)
    asked = {row["species"] for row in rows if str(row["split"]).startswith("val")}
    name = next(name for name in counts if name in asked)
    text = words_of(shown(catalog_of(tmp_path, tiny_dataset), "species", run, name=name))
    assert f"{counts[name]} specimens" in text


def test_shares_have_wilsons_intervals() -> None:
    of = [0, 1, 1, 3, 10, 10, 10, 1_000_000]
    right = [0, 0, 1, 2, 0, 7, 10, 1]
    for share in shares(right, of):
        if not share.of:
            assert (share.low, share.high) == (None, None)
            continue
        ends = proportion_confint(share.right, share.of, method="wilson")
        assert (share.low, share.high) == pytest.approx(ends, abs=1e-12)
