"""What calibrates a database: specimens set aside, and keys of species that its run did not learn from."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.identification.databases import finished_run, kmer_database
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError
from workloads.identification import drawn as of_drawn
from workloads.identification.building import base_of, build
from workloads.identification.calibrating import Answers, ask
from workloads.identification.database import KEY_KINDS, Database
from workloads.identification.drawn import draw
from workloads.identification.material import of_dataset
from workloads.spec import ExperimentSpec


@pytest.fixture(scope="module")
def of_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> Database:
    base = base_of(finished_run(tmp_path_factory.mktemp("runs"), tiny_spec, tiny_dataset))
    folder = tmp_path_factory.mktemp("databases") / "insects"
    build(folder, of_dataset(tiny_dataset, base.trained), base)
    return Database(folder)


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_drawn, "FEWEST", 5)


def species_of(database: Database, trained: bool) -> set[str]:
    rows = database.specimens.to_pylist()
    return {row["species"] for row in rows if row["species"] and bool(row["trained"]) is trained}


@pytest.mark.usefixtures("few_are_enough")
def test_what_is_set_aside_calibrates_and_keys_of_species_that_the_run_never_saw(of_run: Database) -> None:
    assert of_run.calibrating is not None
    found = draw([of_run.calibrating, of_run], has_run=True)

    species = found.labels["species"]
    aside, keys = ({*species[found.lot == lot]} for lot in (0, 1))
    assert aside == species_of(of_run.calibrating, True) | species_of(of_run.calibrating, False)
    assert keys <= species_of(of_run, False)
    assert keys - aside  # such as those that only the test partition asks about
    assert found.stranger[found.lot == 1].all()
    assert max(Counter(species.tolist()).values()) <= 5
    assert not {*species[found.fits]} & {*species[~found.fits]}
    ids = [[*lot.specimens["specimen_id"].to_pylist()] for lot in (of_run.calibrating, of_run)]
    assert found.ids.tolist() == [ids[lot][number] for lot, number in zip(found.lot, found.numbers, strict=True)]


@pytest.mark.usefixtures("few_are_enough")
def test_keys_stand_for_new_species_alone_where_others_are_set_aside(of_run: Database) -> None:
    assert of_run.calibrating is not None
    found = draw([of_run.calibrating, of_run], has_run=True)
    answers = ask(of_run, [of_run.calibrating, of_run], found, lambda done, total: None)

    assert [*answers] == [*KEY_KINDS]
    for at in answers.values():
        told: Answers = at["species"]
        assert {*told.group[found.lot[told.rows] == 1]} == {"other"}
        assert {*told.group[found.lot[told.rows] == 0]} == {"known", "other"}
        others = told.rows[told.group == "other"]
        assert sorted(others) == np.flatnonzero(found.stranger).tolist()
        named = told.found.name[told.group == "other"]
        assert not np.equal(named, found.labels["species"][others]).any()  # its own species is not among the keys


def test_keys_without_a_run_are_all_drawn_and_of_a_run_none_that_it_learned_from(
    tmp_path: Path, of_run: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no promise is made of fewer than 50"):
        draw([of_run], has_run=True)
    monkeypatch.setattr(of_drawn, "FEWEST", 1)
    keys = kmer_database(tmp_path / "bees")
    assert sorted(draw([keys], has_run=False).numbers) == [0, 1, 2, 3]
    assert {*draw([of_run], has_run=True).labels["species"]} <= species_of(of_run, False)
