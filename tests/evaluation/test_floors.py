"""The floors: linear CCA against its definition, and the nearest barcode by 5-mers."""

import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA

from tests.evaluation.measured import floors_of
from tests.sealed import say_otherwise
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.schema import PROTOCOLS
from workloads.evaluation import floors
from workloads.evaluation.floors import FLOORS, linear_cca
from workloads.predictions import MissingRank
from workloads.storage import Folder

Matrix = npt.NDArray[np.float64]


MISSING: tuple[MissingRank, ...] = ("left_out", "a_class")
PROTOCOL = PROTOCOLS["clibd"]


def correlated(count: int = 400) -> tuple[Matrix, Matrix, Matrix]:
    """Two sets of features that share two hidden signals, and the signals."""
    random = np.random.default_rng(0)
    signals = random.standard_normal((count, 2))
    a = np.concatenate([signals + 0.3 * random.standard_normal((count, 2)), random.standard_normal((count, 4))], 1)
    b = np.concatenate([signals + 0.6 * random.standard_normal((count, 2)), random.standard_normal((count, 3))], 1)
    return a @ random.standard_normal((6, 6)) + 5, b @ random.standard_normal((5, 5)) - 3, signals


def by_definition(a: Matrix, b: Matrix, ridge: float) -> Matrix:
    """Roots of the eigenvalues of Saa^-1 Sab Sbb^-1 Sba, the covariances with their ridge."""
    a, b = a - a.mean(0), b - b.mean(0)
    saa, sbb, sab = a.T @ a / len(a), b.T @ b / len(b), a.T @ b / len(a)
    saa += ridge * np.trace(saa) / len(saa) * np.eye(len(saa))
    sbb += ridge * np.trace(sbb) / len(sbb) * np.eye(len(sbb))
    product = np.linalg.inv(saa) @ sab @ np.linalg.inv(sbb) @ sab.T
    values = scipy.linalg.eigvals(product).real.clip(0)
    return np.sort(np.sqrt(values))[::-1][: min(a.shape[1], b.shape[1])]


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.1])
def test_canonical_correlations_are_those_of_the_definition(ridge: float) -> None:
    a, b, _ = correlated()
    found = linear_cca(a, b, ridge=ridge)[0]
    np.testing.assert_allclose(found, by_definition(a, b, ridge), rtol=0, atol=1e-8)


def test_without_ridge_the_first_component_is_that_of_scikit_learn() -> None:
    a, b, _ = correlated()
    correlations, of_a, _ = linear_cca(a, b, num_components=1, ridge=0.0)
    theirs_a, theirs_b = CCA(n_components=1, max_iter=5000, tol=1e-12).fit_transform(a, b)
    theirs = np.corrcoef(theirs_a.ravel(), theirs_b.ravel())[0, 1]
    assert correlations[0] == pytest.approx(theirs, abs=1e-6)
    assert abs(np.corrcoef(of_a(a).ravel(), theirs_a.ravel())[0, 1]) == pytest.approx(1, abs=1e-6)


def test_variates_have_unit_variance_and_correlate_only_with_their_partner() -> None:
    a, b, _ = correlated()
    correlations, of_a, of_b = linear_cca(a, b, ridge=0.0)
    u, v = of_a(a), of_b(b)
    np.testing.assert_allclose(u.T @ u / len(u), np.eye(5), rtol=0, atol=1e-8)
    np.testing.assert_allclose(v.T @ v / len(v), np.eye(5), rtol=0, atol=1e-8)
    np.testing.assert_allclose(u.T @ v / len(u), np.diag(correlations), rtol=0, atol=1e-8)


def test_the_shared_signals_are_recovered() -> None:
    a, b, signals = correlated(2000)
    _, of_a, of_b = linear_cca(a, b, num_components=2)
    assert of_a(a).shape == of_b(b).shape == (2000, 2)
    fitted = np.linalg.lstsq(of_a(a), signals, rcond=None)[0]
    residual = signals - of_a(a) @ fitted
    # Of the first set 0.3^2 / (1 + 0.3^2) = 8 % is noise.
    assert residual.var() / signals.var() == pytest.approx(0.083, abs=0.02)


def test_a_ridge_copes_with_more_features_than_specimens() -> None:
    random = np.random.default_rng(1)
    correlations, _, _ = linear_cca(random.standard_normal((10, 30)), random.standard_normal((10, 20)))
    assert np.isfinite(correlations).all()
    assert (correlations <= 1 + 1e-9).all()


def test_floors_of_a_data_set_beat_chance_on_barcodes(tiny_dataset: PreparedDataset) -> None:
    rows = floors_of(tiny_dataset)
    assert {(row.method, row.query, row.key) for row in rows} == {
        ("kmer_nearest_neighbour", "dna", "dna"),
        ("linear_cca", "image", "dna"),
    }
    assert {row.partition for row in rows} == {"val", "test"}
    at = {
        row.method: row.value
        for row in rows
        if (row.partition, row.average, row.level, row.species, row.query, row.metric)
        == ("test", "micro", "species", "all", "dna", "top1")
    }
    assert at["kmer_nearest_neighbour"] == pytest.approx(plain_nearest_neighbour(tiny_dataset), abs=1e-12)
    assert at["kmer_nearest_neighbour"] > 0.5
    assert all(row.low is not None and row.low <= row.value <= row.high for row in rows)


def plain_nearest_neighbour(dataset: PreparedDataset) -> float:
    """Share of test queries whose nearest key, by cosine of 5-mer counts, is of their species."""

    def counts(barcode: str) -> Counter[str]:
        kmers = (barcode[start : start + 5] for start in range(len(barcode) - 4))
        return Counter(kmer for kmer in kmers if set(kmer) <= set("ACGT"))

    def cosine(one: Counter[str], other: Counter[str]) -> float:
        norms = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
        return sum(n * other[kmer] for kmer, n in one.items()) / norms

    keys = [(counts(row["barcode"]), row["species"]) for row in dataset.load(PROTOCOL.keys).to_pylist()]
    queries = dataset.load(["test_seen", "test_unseen"]).to_pylist()
    found = [max(keys, key=lambda key, query=query: cosine(counts(query["barcode"]), key[0]))[1] for query in queries]
    return sum(name == query["species"] for name, query in zip(found, queries, strict=True)) / len(queries)


def test_floors_are_found_once_a_data_set_and_those_of_another_are_never_taken(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = shutil.copytree(tiny_dataset.folder.path, tmp_path / "copied")
    (copied / FLOORS).unlink(missing_ok=True)
    first = floors.stored_floors(PreparedDataset(Folder(copied)))
    found: list[str] = []
    answered = floors._answered
    monkeypatch.setattr(floors, "_answered", lambda dataset: found.append("again") or answered(dataset))
    assert floors.stored_floors(PreparedDataset(Folder(copied))).equals(first)
    assert not found
    say_otherwise(Folder(copied), "dataset.json", content="0123456789abcdef")  # other images
    assert floors.stored_floors(PreparedDataset(Folder(copied))).equals(first)
    assert found == ["again"]
    (copied / FLOORS).write_bytes(b"PAR1")
    assert floors.stored_floors(PreparedDataset(Folder(copied))).equals(first)
    assert found == ["again", "again"]


def test_where_the_data_set_cannot_be_written_floors_are_kept_in_the_cache_and_it_is_said(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    copied = shutil.copytree(tiny_dataset.folder.path, tmp_path / "copied", ignore=shutil.ignore_patterns(FLOORS))
    (copied / FLOORS).mkdir()  # in its way, as permissions would be; root is refused nothing else
    first = floors.stored_floors(PreparedDataset(Folder(copied)))
    assert f"kept in {tmp_path / 'cache' / 'floors'}" in capsys.readouterr().err
    monkeypatch.setattr(floors, "_answered", lambda dataset: pytest.fail("they were there"))
    assert floors.stored_floors(PreparedDataset(Folder(copied))).equals(first)


def test_keys_that_come_a_few_at_a_time_give_the_same_floors(
    tiny_dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = floors._answered(tiny_dataset)
    monkeypatch.setattr(floors, "_KEYS_AT_ONCE", 3)
    pieces = floors._answered(tiny_dataset)
    assert pieces.drop_columns("cosines").equals(whole.drop_columns("cosines"))


def test_floors_follow_the_rule_for_missing_names(tiny_dataset: PreparedDataset) -> None:
    counts = {
        missing: {(r.level, r.average, r.species, r.metric): r.count for r in floors_of(tiny_dataset, missing)}
        for missing in MISSING
    }
    named = {"order", "family", "genus", "species"}
    assert {key[0] for key in counts["left_out"]} == {key[0] for key in counts["a_class"]} == named
    assert all(counts["left_out"][key] <= counts["a_class"][key] for key in counts["left_out"])
