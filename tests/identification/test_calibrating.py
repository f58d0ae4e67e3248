"""Calibrating a database of keys by its own specimens: what is left out, what is written, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from commands.db import app
from tests.identification.barcoded import Row, made_up
from tests.identification.databases import kmer_database, table
from workloads.arrays import Doubles
from workloads.errors import UsageError
from workloads.identification import leaving_out
from workloads.identification.alignment import aligned
from workloads.identification.building import Doing
from workloads.identification.calibrating import calibrate
from workloads.identification.calibration import Calibration, with_those_above
from workloads.identification.checking import check
from workloads.identification.contents import shortfalls
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

    every = keys.evidence(asked_of(rows, place), with_species, lambda count: None)

    found = every["species"]
    name, similarity, other, rival = by_loops(rows, place, with_species)
    assert (found.name[0], found.runner_up[0]) == (name, other)
    assert (found.similarity[0], found.rival[0]) == pytest.approx((similarity, rival), abs=1e-5)
    left = [row for row in rows if row[0] != rows[place][0] and (with_species or row[1] != rows[place][1])]
    for rank, column in (("species", 1), ("genus", 2)):
        at = every[rank]
        assert at.identity is not None
        assert at.rival_identity is not None
        names = {row[3]: min(other[column] for other in left if other[3] == row[3]) for row in left}
        (same, ours), (others, theirs) = (
            nearest_three(rows[place][3], [barcode for barcode in names if (names[barcode] == at.name[0]) == mine])
            for mine in (True, False)
        )
        assert at.identity[0] == pytest.approx(exact(same, ours).low, abs=1e-9)
        assert at.rival_identity[0] == pytest.approx(exact(others, theirs).high, abs=1e-9)


def nearest_three(barcode: str, others: list[str]) -> tuple[int, int]:
    """Bases that agree, and that are compared, with the most alike of the three most similar by 5-mers."""
    query = hellinger(counted([barcode]))[0]
    near = sorted(others, key=lambda other: -float(hellinger(counted([other]))[0] @ query))[:3]
    best = max((aligned(barcode, other) for other in near), key=lambda one: one.identity)
    return best.num_equal, best.length


def exact(equal: int, compared: int) -> Any:
    """Between what the share of equal bases lies, one-sided at 16 % on either side."""
    return stats.binomtest(equal, compared).proportion_ci(0.68, "exact")


@pytest.mark.parametrize("few", [0, 2000])
def test_evidence_without_a_genus_is_that_of_a_database_that_never_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(leaving_out, "_FEW", few)  # whether taxa are left out of what is found, or not searched
    keys = LeavingOut(kmer_database(tmp_path / "db", SOME), "dna")
    places = [0, 13, 4, 26]
    barcodes = np.array([SOME[place][3] for place in places], dtype=object)
    taxa = np.array([SOME[place][2] for place in places], dtype=object)
    asked = Asked(hellinger(counted(barcodes.tolist())), taxa, barcodes, np.array(places))
    told: list[int] = []

    found = keys.outside(asked, taxa, "genus", told.append)

    assert sum(told) == len(places)
    for row, place in enumerate(places):
        left = [other for other in SOME if other[2] != SOME[place][2]]
        own = hellinger(counted([SOME[place][3]]))[0]
        cosines = hellinger(counted([other[3] for other in left])) @ own
        assert found.name[row] == left[int(cosines.argmax())][2]
        assert found.similarity[row] == pytest.approx(cosines.max(), abs=1e-5)


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


def test_a_closer_name_a_farther_rival_and_keys_that_agree_score_no_less() -> None:
    names = np.array(["a", "a", "a", "a"], dtype=object)
    near, far = np.array([0.9, 0.95, 0.95, 0.95]), np.array([0.8, 0.8, 0.7, 0.7])
    agreeing = np.array([0.5, 0.5, 0.5, 0.6], dtype=np.float32)
    found = RankEvidence(names, near.astype(np.float32), names, far.astype(np.float32), agreeing)

    for each in (found, replace(found, identity=near, rival_identity=far)):
        assert (np.diff(features(each, None), axis=0) >= 0).all()


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Database:
    rows = made_up(8, 5, 6)
    return kmer_database(tmp_path_factory.mktemp("calibrated") / "db", rows, Doing(calibrate=calibrate))


def test_a_calibrated_database_names_its_species_with_a_confidence_and_no_others(calibrated: Database) -> None:
    assert calibrated.facts.calibrated == ("dna",)
    rows = Calibration.of(calibrated).table.to_pandas()
    species = rows[rows["rank"] == "species"]
    assert set(species["group"]) == {"known", "other"}
    right = species["name"] == species["truth"]
    assert right[species["group"] == "known"].all()
    assert not right[species["group"] == "other"].any()
    outside = rows[rows["group"] == "outside"]
    assert set(outside["rank"]) == {"genus"}  # the keys have one family and one order at most, which cannot be missed
    assert not (outside["name"] == outside["truth"]).any()
    others = rows[(rows["rank"] == "genus") & (rows["group"] == "other")]
    assert (others["name"] == others["truth"]).mean() > 0.9  # its genus has four other species
    fits, says = (set(rows[rows["fits"] == part]["species"]) for part in (True, False))
    assert not fits & says


def test_what_no_name_reaches_is_said_with_the_species_that_bear_out_less(calibrated: Database) -> None:
    table = Calibration.of(calibrated).table.to_pandas()
    confidences = Calibration.of(calibrated).worth(
        "dna", "species", table[table["rank"] == "species"]["score"].to_numpy()
    )
    highest = confidences.max()
    asked = np.floor(100 * highest) / 100

    assert Calibration.of(calibrated).highest("dna", "species") == highest < 0.95
    assert [*shortfalls(calibrated)] == [
        "By barcodes no species is named at 95 %: 40 species that stand for new ones bear out "
        f"{100 * highest:.1f} % at most. Ask for less (--confidence {asked}), or build it of more species"
    ]
    told = CliRunner().invoke(app, ["info", str(calibrated.folder)])
    assert "By barcodes no species is named at 95 %" in told.output


def test_a_calibration_is_the_same_each_time(calibrated: Database, tmp_path: Path) -> None:
    again = kmer_database(tmp_path / "db", made_up(8, 5, 6), Doing(calibrate=calibrate))

    assert Calibration.of(again).table.equals(Calibration.of(calibrated).table, check_metadata=True)


def test_a_name_is_as_sure_as_the_one_below_it_where_it_is_that_ones() -> None:
    names = {rank: np.array([rank, rank, rank], dtype=object) for rank in ("order", "family", "genus", "species")}
    names["species"][2] = None
    sure = {"order": [0.0, 0.2, 0.1], "family": [0.3, 0.9, 0.5], "genus": [0.0, 0.0, 0.6], "species": [0.97, 0.1, 0.0]}
    above = {"species": {"genus": "genus"}, "genus": {"family": "family"}, "family": {"order": "another"}}

    found = with_those_above({rank: np.array(own) for rank, own in sure.items()}, names, lambda rank, name: above[rank])

    assert found["species"].tolist() == [0.97, 0.1, 0.0]
    assert found["genus"].tolist() == [0.97, 0.1, 0.6]
    assert found["family"].tolist() == [0.97, 0.9, 0.6]
    assert found["order"].tolist() == [0.0, 0.2, 0.1]  # the family is of another order


def test_what_was_never_calibrated_is_refused(calibrated: Database) -> None:
    found = RankEvidence(*(np.array([], dtype=kind) for kind in (object, np.float32, object, np.float32, np.float32)))

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
    assert cells["genus", "outside"].num_specimens == 60
    assert cells["genus", "outside"].num_given <= 12  # a fifth
    assert cells["genus", "known"].num_given == len(fresh)
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
    assert words in heard[-1]
    with pytest.raises(UsageError, match="has no calibration"):
        Calibration.of(database)
