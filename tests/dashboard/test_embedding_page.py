"""The map of an evaluation: every point once in its place and colour, and what is said where there is none."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.dashboard.catalog import Catalog
from results.dashboard.pages.embedding import points_of
from results.dashboard.pages.retrieval_columns import SPECIMENS
from results.dashboard.points import NAMELESS, NUM_COLOURS, OTHER
from results.evaluated import EvaluatedFolder, read_evaluated
from tests.dashboard.showing import columns_of, sent, shown, words_of
from tests.results.figures.made_up import Row, made_up_rows, write_evaluated
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.looking import look_at
from workloads.predictions import Predictions
from workloads.record import EVALUATION
from workloads.seals import unseal_run
from workloads.shown import MAP, read_map
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder

_PARTS = {
    "keys": ("seen_keys", "val_unseen_keys"),
    "val": ("val_seen", "val_unseen"),
    "test": ("test_seen", "test_unseen"),
}


def _looked_at(folder: Path, rows: list[Row], **how: Any) -> EvaluatedFolder:
    """A made-up evaluation with the map that an evaluation leaves, of embeddings in which some lack a barcode."""
    evaluated = write_evaluated(folder, rows, **how)
    parts = {part: _embedded(rows, splits) for part, splits in _PARTS.items()}
    looking = look_at(parts, Predictions.read(evaluated.folder), None)
    looking.write(evaluated.folder)
    return say(evaluated, **looking.about)


def say(evaluated: EvaluatedFolder, **facts: Any) -> EvaluatedFolder:
    """Changes what an evaluation says of itself."""
    unseal_run(evaluated.folder, EVALUATION)
    evaluated.folder.write_json(EVALUATION, {**evaluated.facts, **facts})
    return read_evaluated(evaluated.folder)


def _embedded(rows: list[Row], splits: tuple[str, ...]) -> Embedded:
    own = [row for row in rows if row["split"] in splits]
    columns = {name: np.array([row[name] for row in own], dtype=object) for name in ("specimen_id", "split", *RANKS)}
    chance = np.random.default_rng(len(own))
    embeddings = {modality: chance.normal(size=(len(own), 8)).astype(np.float32) for modality in MODALITIES}
    lacking = {"dna": np.arange(len(own)) % 5 == 0}
    embeddings["dna"][lacking["dna"]] = 0
    names = {rank: columns[rank] for rank in RANKS}
    return Embedded(columns["specimen_id"], columns["split"], names, embeddings, lacking)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return made_up_rows()


@pytest.fixture
def runs(tmp_path: Path, rows: list[Row]) -> Path:
    _looked_at(tmp_path / "runs/batch/made-up", rows, synthetic=True)
    return tmp_path / "runs"


def test_every_point_is_drawn_once_where_it_lies_in_the_colour_of_its_name(runs: Path) -> None:
    catalog = Catalog(Folder(runs))
    evaluated = catalog.evaluated("made-up")
    points, specimens = (columns_of(sent(catalog, kind, "made-up")) for kind in ("map-columns", SPECIMENS))
    table = read_map(evaluated.folder)
    assert table is not None
    owner = np.cumsum(points["steps"])
    drawn = Counter(
        (specimens["id"][at], MODALITIES[modality], [None, "test", "val"][part])
        for at, modality, part in zip(owner, points["modality"], points["part"], strict=True)
    )
    expected = table.select(["specimen_id", "modality", "partition"]).to_pylist()
    assert drawn == Counter(tuple(row.values()) for row in expected)
    places = {(row["specimen_id"], row["modality"]): (row["x"], row["y"]) for row in table.to_pylist()}
    of_points = zip(owner, points["modality"], strict=True)
    own = np.array([places[specimens["id"][at], MODALITIES[modality]] for at, modality in of_points])
    half = max(np.ptp(own, axis=0)) / 2
    back = np.stack([points["x"], points["y"]], axis=1) / 32_767 * half + (own.max(axis=0) + own.min(axis=0)) / 2
    assert np.abs(back - own).max() <= half / 32_767
    names = {row["specimen_id"]: row for row in evaluated.predictions.specimens.to_pylist()}
    assert all([names[n][rank] for n in specimens["id"]] == specimens[rank] for rank in RANKS)
    counts = Counter(names[specimens["id"][at]]["family"] for at in owner)
    commonest = sorted((name for name in counts if name), key=lambda name: (-counts[name], name))
    for at, slot in zip(owner, points["slot_family"], strict=True):
        name = names[specimens["id"][at]]["family"]
        place = NAMELESS if name is None else min(commonest.index(name), OTHER)
        assert slot == place


def test_what_is_said_of_a_query_is_what_it_was_answered(runs: Path) -> None:
    catalog = Catalog(Folder(runs))
    evaluated = catalog.evaluated("made-up")
    told = columns_of(sent(catalog, "map-answers", "made-up"))
    rows = {name: place for place, name in enumerate(columns_of(sent(catalog, SPECIMENS, "made-up"))["id"])}
    asked = set()
    for partition in ("val", "test"):
        answers = evaluated.answers(partition, "image", "dna")
        for name, depth, cosine in zip(answers.ids, answers.depth_shared(), answers.cosines[:, 0], strict=True):
            assert told["shares"][rows[name]] == depth
            assert told["cosine"][rows[name]] == pytest.approx(10_000 * cosine, abs=0.51)
            asked.add(name)
    assert {name for name in rows if told["shares"][rows[name]] >= 0} == asked


def test_the_page_says_method_counts_and_what_distances_mean(runs: Path) -> None:
    catalog = Catalog(Folder(runs))
    html = shown(catalog, "embedding", "made-up")
    words = words_of(html)
    points = points_of(catalog, "made-up")
    assert points is not None
    assert "two principal components" in words
    assert "distances mean little" in words
    assert "SYNTHETIC" in words
    for one in points.classes["order"]:
        assert one.name is None or f"{one.name} {one.count:,}" in words
    assert sum(one.count for one in points.classes["order"]) == len(points.x)
    assert "family 0" in words_of(shown(catalog, "embedding", "made-up", rank="family"))
    assert shown(catalog, "embedding", "made-up", rank="species", status=404)


def test_names_beyond_the_eighth_are_others(tmp_path: Path, rows: list[Row]) -> None:
    many = [{**row, "family": f"family {number % 11}"} for number, row in enumerate(rows)]
    _looked_at(tmp_path / "runs/batch/made-up", many)
    points = points_of(Catalog(Folder(tmp_path / "runs")), "made-up")
    assert points is not None
    *named, others = points.classes["family"]
    assert (len(named), others.slot, others.name) == (NUM_COLOURS, OTHER, None)
    assert others.count == int((points.slots["family"] == OTHER).sum())
    assert min(one.count for one in named) > 0


def test_before_alignment_stands_beside_where_it_was_measured(runs: Path, rows: list[Row]) -> None:
    twin = _looked_at(runs / "batch/made-up-untrained", rows, seed=7)
    say(twin, untrained=True)
    words = words_of(shown(Catalog(Folder(runs)), "embedding", "made-up"))
    assert words.index("Before alignment") < words.index("After alignment")
    words = words_of(shown(Catalog(Folder(runs)), "embedding", "made-up-untrained"))
    assert words.index("Before alignment") < words.index("After alignment")
    say(twin, untrained=True, data_fingerprint="another")
    assert "--untrained" in words_of(shown(Catalog(Folder(runs)), "embedding", "made-up"))


def test_without_a_map_the_page_says_what_makes_one(runs: Path) -> None:
    (runs / "batch/made-up" / MAP).unlink()
    html = words_of(shown(Catalog(Folder(runs)), "embedding", "made-up"))
    assert "No map is kept" in html
    assert "clibd evaluate" in html


def test_a_damaged_map_says_so_and_a_damaged_twin_breaks_nothing(runs: Path) -> None:
    shutil.copytree(runs / "batch/made-up", runs / "batch/made-up-untrained")
    twin = Folder(runs / "batch/made-up-untrained")
    say(read_evaluated(twin), untrained=True)
    twin.write(MAP, b"PAR1 nonsense")
    assert "cannot be read" in words_of(shown(Catalog(Folder(runs)), "embedding", "made-up"))
    Folder(runs / "batch/made-up").write(MAP, b"PAR1 nonsense")
    assert "cannot be read" in words_of(shown(Catalog(Folder(runs)), "embedding", "made-up", status=404))


def test_hostile_names_are_text(tmp_path: Path, rows: list[Row]) -> None:
    name = "<img src=x onerror=alert(1)>"
    _looked_at(tmp_path / "runs/batch/made-up", [{**row, "order": name} for row in rows])
    catalog = Catalog(Folder(tmp_path / "runs"))
    assert "<img" not in shown(catalog, "embedding", "made-up")
    assert b"<img" not in sent(catalog, SPECIMENS, "made-up").content
    assert set(columns_of(sent(catalog, SPECIMENS, "made-up"))["order"]) == {name}
