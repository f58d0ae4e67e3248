"""Accuracy by number of keys: every taxon once, with its numbers, and means over classes of key counts."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from results.dashboard.catalog import Catalog
from results.dashboard.pages import class_size
from tests.dashboard.showing import columns_of, sent, shown, words_of
from tests.results.figures.made_up import made_up_rows, write_evaluated
from workloads.record import MEASUREMENTS
from workloads.seals import unseal_run
from workloads.storage import Folder


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    write_evaluated(tmp_path / "runs/batch/made-up", made_up_rows())
    return Catalog(Folder(tmp_path / "runs"))


def _told(html: str) -> dict[str, Any]:
    """What the page says to its charts' script."""

    class _Script(HTMLParser):
        told, inside = "", False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = ("type", "application/json") in attrs

        def handle_data(self, data: str) -> None:
            self.told += data if self.inside else ""

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

    script = _Script()
    script.feed(html)
    told: dict[str, Any] = json.loads(script.told)
    return told


def _by_hand(catalog: Catalog, partition: str = "val") -> dict[tuple[str, str], tuple[int, int, float]]:
    """Keys, queries and accuracy of each species by subset, as the definition says."""
    evaluated = catalog.evaluated("made-up")
    names = {row["specimen_id"]: row["species"] for row in evaluated.predictions.specimens.to_pylist()}
    splits = {row["specimen_id"]: row["split"] for row in evaluated.predictions.specimens.to_pylist()}
    keys = [names[name] for name, split in splits.items() if split.endswith("keys")]
    rows: dict[tuple[str, str], list[bool]] = {}
    for row in evaluated.folder.read_table("predictions.parquet").to_pylist():
        name = names[row["specimen_id"]]
        if (row["partition"], row["query"], row["key"]) == (partition, "image", "dna") and name is not None:
            rows.setdefault((row["subset"], name), []).append(names[row["key_ids"][0]] == name)
    return {place: (keys.count(place[1]), len(own), sum(own) / len(own)) for place, own in rows.items()}


def test_every_species_is_a_point_with_a_link_to_its_page(catalog: Catalog) -> None:
    series = _told(shown(catalog, "class-size", "made-up"))["series"]
    expected = _by_hand(catalog)
    points = [one for one in series if one["drawn"] == "points"]
    found = {}
    for one in points:
        for words, x, y in zip(one["words"], one["x"], one["y"], strict=True):
            found[one["name"].partition(" ")[0], words.partition(":")[0]] = (round(x) if x > 0.6 else 0, y)
    assert found == {place: (num, pytest.approx(share)) for place, (num, _, share) in expected.items()}
    assert sum(len(one["links"]) for one in points) == len(expected)


def test_means_have_intervals_and_counts(catalog: Catalog) -> None:
    html = shown(catalog, "class-size", "made-up")
    means = [one for one in _told(html)["series"] if one["drawn"] == "both"]
    for one in means:
        for low, value, high in zip(one["low"], one["y"], one["high"], strict=True):
            assert (low is None) == (high is None)
            assert low is None or low <= value <= high
    assert any(low is not None for one in means for low in one["low"])
    words = words_of(html)
    assert "validation queries" in words
    assert "image to DNA" in words
    assert "clibd-results figure 4" in words
    expected = _by_hand(catalog)
    without = [share for (subset, _), (num, _, share) in expected.items() if num == 0 and subset == "unseen"]
    assert f"0 unseen {len(without)} " in words


def test_partition_pair_and_rank_are_chosen_in_the_address(catalog: Catalog) -> None:
    html = shown(catalog, "class-size", "made-up", partition="test", pair="dna-dna", rank="family")
    assert "test queries" in words_of(html)
    assert "Accuracy of families" in words_of(html)
    assert shown(catalog, "class-size", "made-up", pair="text-dna", status=404)
    assert shown(catalog, "class-size", "made-up", rank="kingdom", status=404)


def test_many_taxa_are_a_field_of_points(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_size, "_FOR_A_CHART", 3)
    assert "data-class-size" in shown(catalog, "class-size", "made-up")
    told = columns_of(sent(catalog, "class-size-columns", "made-up"))
    columns = zip(told["unseen"], told["name"], told["keys"], told["queries"], told["accuracy"], strict=True)
    found = {("unseen" if unseen else "seen", name): rest for unseen, name, *rest in columns}
    assert found == {
        place: [keys, num, pytest.approx(share)] for place, (keys, num, share) in _by_hand(catalog).items()
    }


def test_measurements_that_cannot_be_read_cost_what_stands_beside_alone(catalog: Catalog) -> None:
    assert "Over all species" in words_of(shown(catalog, "class-size", "made-up"))
    folder = catalog.evaluated("made-up").folder
    unseal_run(folder, MEASUREMENTS)
    folder.write(MEASUREMENTS, b"PAR1 nonsense")
    catalog = Catalog(catalog.folder)
    assert "Over all species" not in words_of(shown(catalog, "class-size", "made-up"))
