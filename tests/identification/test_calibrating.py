"""Calibrating a database of keys by its own specimens: what is left out, what is written, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from commands.db import app
from tests.identification.barcoded import Row, made_up
from tests.identification.databases import kmer_database, table
from workloads.arrays import Doubles
from workloads.errors import UsageError
from workloads.identification.alignment import aligned
from workloads.identification.building import Doing
from workloads.identification.calibrating import calibrate
from workloads.identification.calibration import Calibration
from workloads.identification.checking import check
from workloads.identification.database import Database
from workloads.identification.embedding import KmerEmbedder
from workloads.identification.evidence import RankEvidence
from workloads.identification.keys import counted, hellinger
from workloads.identification.leaving_out import Asked, LeavingOut
from workloads.identification.query import Query
from workloads.identification.scoring import features, fit
from workloads.identification.writing import Known

SOME = made_up(3, 3, 3)
SHARED = ("x", "Genusa speciesz", "Genusa", SOME[0][3])
"""A specimen of another species with the barcode of the first one."""


def asked_of(rows: list[Row], place: int) -> Asked:
    barcodes = np.array([rows[place][3]], dtype=object)
    species = np.array([rows[place][1]], dtype=object)
    return Asked(hellinger(counted(barcodes.tolist())), species, barcodes, np.array([place]))


def by_loops(rows: list[Row], place: int, with_species: bool) -> tuple[str, float, str | None, float]:
    """Name of the nearest barcode that is left, its similarity, and the same of the nearest with another name.

    Where species share a barcode, it has the name that is the first in the alphabet, as no test has more of one.
    """
    own = rows[place]
    left = [row for row in rows if row[0] != own[0] and (with_species or row[1] != own[1])]
    names = {row[3]: min(other[1] for other in left if other[3] == row[3]) for row in left}
    query = hellinger(counted([own[3]]))[0]
    near = sorted(
        ((float(hellinger(counted([barcode]))[0] @ query), of) for barcode, of in names.items()), reverse=True
    )
    name = near[0][1]
    rival, other = next(each for each in near if each[1] != name)
    return name, near[0][0], other, rival


@pytest.mark.parametrize("with_species", [True, False])
@pytest.mark.parametrize("place", [0, 4, 13, 26])
def test_evidence_without_some_specimens_is_that_of_a_database_that_never_had_them(
    tmp_path: Path, place: int, with_species: bool
) -> None:
    rows = [*SOME, SHARED]
    keys = LeavingOut(kmer_database(tmp_path / "db", rows), "dna")

    found = keys.evidence(asked_of(rows, place), with_species, lambda count: None)["species"]

    name, similarity, other, rival = by_loops(rows, place, with_species)
    assert (found.name[0], found.runner_up[0]) == (name, other)
    assert (found.similarity[0], found.rival[0]) == pytest.approx((similarity, rival), abs=1e-5)
    assert found.identity is not None
    left = [aligned(rows[place][3], row[3]) for row in rows if row[0] != rows[place][0] and row[1] == name]
    assert found.identity[0] == max(each.num_equal / (each.length + 1) for each in left)


def test_a_species_with_the_barcode_of_another_is_named_as_that_one(tmp_path: Path) -> None:
    rows = [*SOME, SHARED]
    keys = LeavingOut(kmer_database(tmp_path / "db", rows), "dna")

    found = keys.evidence(asked_of(rows, 0), False, lambda count: None)["species"]

    assert found.name[0] == "Genusa speciesz"
    assert found.similarity[0] == pytest.approx(1, abs=1e-6)


def plain_loss(weights: Doubles, rows: Doubles, right: list[bool], known: list[bool]) -> float:
    total = 0.0
    for row, ok, there in zip(rows, right, known, strict=True):
        score = weights[0] + sum(weight * value for weight, value in zip(weights[1:], row, strict=True))
        chance = 1 / (1 + np.exp(-score))
        share = 0.9 / sum(known) if there else 0.1 / (len(known) - sum(known))
        total -= share * np.log(chance if ok else 1 - chance)
    return float(total + 0.5e-5 * sum(weight**2 for weight in weights))


def test_no_other_weights_that_are_not_negative_fit_better() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 2))
    right = rng.random(80) < 1 / (1 + np.exp(-2 * rows[:, 0] + rows[:, 1]))
    known = rng.random(80) < 0.5

    weights = np.array(fit(rows, right, known))

    best = plain_loss(weights, rows, right.tolist(), known.tolist())
    assert (weights[1:] >= 0).all()
    for step in np.concatenate([0.01 * np.eye(3), -0.01 * np.eye(3)]):
        if (weights[1:] + step[1:] >= 0).all():
            assert plain_loss(weights + step, rows, right.tolist(), known.tolist()) > best


def test_a_closer_name_and_a_farther_rival_score_no_less() -> None:
    names = np.array(["a", "a", "a"], dtype=object)
    near, far = np.array([0.9, 0.95, 0.95], dtype=np.float32), np.array([0.8, 0.8, 0.7], dtype=np.float32)

    rows = features(RankEvidence(names, near, names, far), None)

    assert (np.diff(rows, axis=0) >= 0).all()


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Database:
    rows = made_up(8, 5, 6)
    return kmer_database(tmp_path_factory.mktemp("calibrated") / "db", rows, Doing(calibrate=calibrate))


def test_a_calibrated_database_names_its_species_with_a_confidence_and_no_others(calibrated: Database) -> None:
    assert calibrated.facts.calibrated == ("dna",)
    rows = Calibration.of(calibrated).table.to_pandas()
    species = rows[rows["rank"] == "species"]
    assert set(species["known"]) == {True, False}
    assert (species[species["known"]]["name"] == species[species["known"]]["truth"]).all()
    assert not (species[~species["known"]]["name"] == species[~species["known"]]["truth"]).any()
    others = rows[(rows["rank"] == "genus") & ~rows["known"]]
    assert (others["name"] == others["truth"]).mean() > 0.9  # its genus has four other species
    fits, says = (set(rows[rows["fits"] == part]["species"]) for part in (True, False))
    assert not fits & says


def test_a_calibration_is_the_same_each_time(calibrated: Database, tmp_path: Path) -> None:
    again = kmer_database(tmp_path / "db", made_up(8, 5, 6), Doing(calibrate=calibrate))

    assert Calibration.of(again).table.equals(Calibration.of(calibrated).table, check_metadata=True)


def test_what_was_never_calibrated_is_refused(calibrated: Database) -> None:
    found = RankEvidence(*(np.array([], dtype=kind) for kind in (object, np.float32, object, np.float32)))

    with pytest.raises(UsageError, match="no calibration for specimens with images, only for dna"):
        Calibration.of(calibrated).confidence("image", "species", found)


def test_the_promise_is_checked_on_specimens_of_known_and_of_other_species(calibrated: Database) -> None:
    fresh = [(f"new {row[0]}", *row[1:]) for row in made_up(8, 5, 8) if row[0].endswith(("6", "7"))]
    others = [
        (f"other {row[0]}", row[1].replace("Genus", "Other"), f"Other{row[2][5:]}", row[3])
        for row in made_up(12, 5, 1, seed=1)
    ]
    known = [
        Known(Query(row[0], barcode=row[3]), {"order": None, "family": None, "genus": row[2], "species": row[1]})
        for row in (*fresh, *others)
    ]
    own = Known(Query("0-0-0", barcode=SOME[0][3]), {"order": None, "family": None, "genus": "G", "species": "G s"})

    checked = check(calibrated, KmerEmbedder(), [known, [own]], 0.8)

    cells = {(cell.rank, cell.group): cell for cell in checked.cells}
    assert checked.num_keys_themselves == 1
    assert cells["species", "other"].num_specimens == 60
    assert cells["species", "other"].num_right == 0
    assert cells["species", "known"].num_specimens == len(fresh)
    assert "refuted in 0" not in checked.verdict
    assert checked.verdict.startswith("The promise of 80 % is not refuted")


def test_the_command_prints_the_cells_and_leaves_numbers_and_figures(calibrated: Database, tmp_path: Path) -> None:
    rows = [(f"new {row[0]}", *row[1:]) for row in made_up(8, 5, 8) if row[0].endswith(("6", "7"))]
    data, out = table(tmp_path / "new.tsv", rows), tmp_path / "out"
    words = ["check", str(calibrated.folder), "--data", str(data), "--out", str(out), "--confidence", "0.8", "--cpu"]

    ended = CliRunner().invoke(app, words)

    assert ended.exit_code == 0, ended.output
    assert "in the database" in ended.output
    found = json.loads((out / "check.json").read_text())
    assert found["verdict"].startswith("The promise of 80 % is not refuted")
    assert {each.name for each in out.iterdir()} == {
        "check.json",
        "check.parquet",
        "promise-dna.csv",
        "promise-dna.png",
        "promise-dna.svg",
    }


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (made_up(2, 2, 5), "20 specimens with a species can be asked about, and no promise is made of fewer than 50"),
        ([(str(n), "Apis mellifera", "Apis", row[3]) for n, row in enumerate(made_up(15, 4, 1))], "no promise is made"),
        (made_up(12, 6, 1), "0 specimens with barcodes whose species is in the database"),
    ],
)
def test_a_database_of_which_nothing_can_be_promised_says_why(tmp_path: Path, rows: list[Row], words: str) -> None:
    heard = list[str]()

    database = kmer_database(tmp_path / "db", rows, Doing(calibrate=calibrate, on_remark=heard.append))

    assert database.facts.calibrated == ()
    (why,) = (remark for remark in heard if not remark.startswith("Noticed"))
    assert words in why
    with pytest.raises(UsageError, match="has no calibration"):
        Calibration.of(database)
