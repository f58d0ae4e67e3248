"""Features are read from INSECT's files, from a run and from arrays, and partitioned as the recipes say."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io

from workloads.bzsl.feature_source import FeatureSource, read_source
from workloads.bzsl.task import species_dna, zero_shot_task
from workloads.data.specimens.partition import drawn_splits
from workloads.errors import DamagedError, EmbeddingsError, MissingPathError, SourceError, ZeroShotError
from workloads.spec import RANKS
from workloads.storage import Folder

WriteInsect = Callable[..., Path]
WriteRun = Callable[..., Path]
WriteArrays = Callable[..., Path]
TRAINED = 6
"""Species in each of train and val of the small INSECT."""


def names(features: Any, indices: np.ndarray) -> set[str]:
    return {features.classes[label] for label in features.labels[indices]}


def test_insect_gives_its_features_splits_and_class_embeddings(tmp_path: Path, write_insect: WriteInsect) -> None:
    content = write_insect(tmp_path)
    source = read_source(str(tmp_path), 0)
    assert source.kind == "insect"
    features, notes = zero_shot_task(source, source, "paper", 42)
    assert features.classes == tuple(content["class_names"])
    np.testing.assert_array_equal(features.side, content["att"].T.astype(np.float32))
    for place, identifier in enumerate(features.ids):
        column = content["ids"].index(identifier)
        np.testing.assert_array_equal(features.images[place], content["features"][:, column].astype(np.float32))
        assert features.labels[place] == content["labels"][column] - 1
    lists = {name: {content["ids"][i - 1] for i in content[f"{name}_loc"]} for name in ("train", "val", "trainval")}
    assert set(features.ids[features.test.train]) == lists["trainval"]
    assert set(features.ids[features.tuning.unseen]) == lists["val"]
    assert set(features.ids[np.append(features.tuning.train, features.tuning.seen)]) == lists["train"]
    assert names(features, features.test.unseen) == {features.classes[c] for c in features.test.unseen_classes}
    assert notes == []


def test_the_authors_hold_out_as_their_shuffle_does_and_fit_on_train_alone(
    tmp_path: Path, write_insect: WriteInsect
) -> None:
    content = write_insect(tmp_path)
    source = read_source(str(tmp_path), 0)
    features, notes = zero_shot_task(source, source, "authors", 42)
    shuffled = [index - 1 for index in content["train_loc"]]
    random.seed(42)
    random.shuffle(shuffled)
    expected = set()
    for label in set(content["labels"]):
        own = [index for index in shuffled if content["labels"][index] == label]
        expected |= {content["ids"][index] for index in own[: math.ceil(0.2 * len(own))]}
    assert set(features.ids[features.tuning.seen]) == expected
    assert set(features.ids[features.test.train]) == {content["ids"][i - 1] for i in content["train_loc"]}
    assert any("seen species" in note and "no training image" in note for note in notes)  # those of val


def test_the_corrected_recipe_leaves_every_species_something_to_train_on(
    tmp_path: Path, write_insect: WriteInsect
) -> None:
    write_insect(tmp_path, sizes=[1, 2, 3, 5, 6, 10])
    source = read_source(str(tmp_path), 0)
    for recipe, held in (("paper", [1, 1, 1, 1, 2, 2]), ("corrected", [0, 1, 1, 1, 2, 2])):
        features, _ = zero_shot_task(source, source, recipe, 42)
        counts = Counter(features.labels[features.tuning.seen].tolist())
        assert [counts[label] for label in range(TRAINED)] == held


def test_insect_without_features_is_refused(tmp_path: Path, write_insect: WriteInsect) -> None:
    write_insect(tmp_path)
    res101 = scipy.io.loadmat(tmp_path / "res101.mat")
    scipy.io.savemat(tmp_path / "res101.mat", {k: v for k, v in res101.items() if k[0] != "_" and k != "features"})
    with pytest.raises(SourceError, match=r"res101\.mat, features: "):
        read_source(str(tmp_path), 0)


def test_a_species_that_the_labels_do_not_know_has_no_dna(tmp_path: Path, write_insect: WriteInsect) -> None:
    write_insect(tmp_path)
    source = read_source(str(tmp_path), 0)
    source.species[source.species == "Genus0 species11"] = "Apis mellifera"
    with pytest.raises(ZeroShotError, match="no DNA of Apis mellifera"):
        zero_shot_task(source, source, "paper", 0)


def test_names_that_cannot_be_are_refused(tmp_path: Path, write_arrays: WriteArrays) -> None:
    write_arrays(tmp_path, species=["Zoro \u202ebus"] * 100)
    with pytest.raises(SourceError, match="control characters"):
        read_source(str(tmp_path), 0)


def rows_of(source: FeatureSource, species: str, *splits: str) -> np.ndarray:
    assert source.dna is not None
    chosen = (source.species == species) & source.within(*splits)
    rows: np.ndarray = source.dna[chosen].mean(axis=0)
    return rows


def test_a_run_gives_its_embeddings_and_the_dna_of_key_records(tmp_path: Path, write_run: WriteRun) -> None:
    source = read_source(str(write_run(tmp_path)), 0)
    assert (source.kind, source.about["dataset"], source.synthetic) == ("run", "bioscan_1m", False)
    features, notes = zero_shot_task(source, source, "corrected", 0)
    assert set(source.split[np.isin(source.ids, features.ids[features.test.train])]) == {"seen_keys"}
    [note] = notes
    assert "the images of seen_keys are what is trained on" in note
    assert "clibd evaluate RUN --data DIR --training" in note
    for place, name in enumerate(features.classes):
        own = "seen_keys" if name.startswith("seen") else f"{name.split()[0]}_unseen_keys"
        np.testing.assert_allclose(features.side[place], rows_of(source, name, own), atol=1e-6)
    authors, _ = species_dna(source, "authors")
    np.testing.assert_allclose(authors["seen 0"], rows_of(source, "seen 0", "val_seen", "test_seen"), atol=1e-6)
    np.testing.assert_allclose(authors["test 0"], rows_of(source, "test 0", "test_unseen"), atol=1e-6)


def test_the_corrected_recipe_chooses_among_all_unseen_species_and_the_others_among_those_asked_for(
    tmp_path: Path, write_run: WriteRun
) -> None:
    source = read_source(str(write_run(tmp_path, train=True)), 0)
    for recipe, expected in (("corrected", {"val", "test"}), ("paper", {"test"}), ("authors", {"test"})):
        features, notes = zero_shot_task(source, source, recipe, 0)
        assert {features.classes[c].split()[0] for c in features.test.unseen_classes} == expected
        trained = set(source.split[np.isin(source.ids, features.ids[features.test.train])])
        assert trained == {"train_seen"}
        assert notes == []
        assert names(features, features.tuning.unseen) == {"val 0", "val 1", "val 2"}
    assert features.names["order"].tolist() == ["Diptera"] * len(features.classes)


def test_a_species_without_key_records_is_described_by_all_its_records(tmp_path: Path, write_run: WriteRun) -> None:
    source = read_source(str(write_run(tmp_path)), 0)
    keyless = source.take(~((source.species == "test 1") & source.within("test_unseen_keys")))
    side, num_without_keys = species_dna(keyless, "corrected")
    assert num_without_keys == 1
    np.testing.assert_allclose(side["test 1"], rows_of(keyless, "test 1", "test_unseen"), atol=1e-6)
    _, notes = zero_shot_task(keyless, keyless, "corrected", 0)
    assert "1 species have no key records; their DNA is the mean of all their records" in notes
    one = replace(source, class_dna={"seen 0": side["seen 0"]})
    with pytest.raises(ZeroShotError, match="no DNA of seen 1 and 10 more"):
        zero_shot_task(source, one, "corrected", 0)


def test_damaged_embeddings_are_refused(tmp_path: Path, write_run: WriteRun) -> None:
    folder = Folder(write_run(tmp_path) / "embeddings")
    table = folder.read_table("val.parquet")
    folder.write_table("val.parquet", table.slice(1))
    with pytest.raises(EmbeddingsError, match=r"20 .* 21"):
        read_source(str(tmp_path), 0)
    folder.write_table("val.parquet", table.drop_columns(["species"]))
    with pytest.raises(DamagedError, match=r"no column .*species"):
        read_source(str(tmp_path), 0)
    longer = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(9 * len(table), dtype=np.float32)), 9)
    wide = table.drop_columns(["image", "dna"]).append_column("image", longer).append_column("dna", longer)
    folder.write_table("val.parquet", wide)
    with pytest.raises(EmbeddingsError, match=r"'image' .*\[8, 9\]"):
        read_source(str(tmp_path), 0)


def test_a_source_without_one_of_the_two_says_so(tmp_path: Path, write_run: WriteRun) -> None:
    image_only = read_source(str(write_run(tmp_path / "a", columns=("image",))), 0)
    with pytest.raises(ZeroShotError, match=r"no DNA features.* --dna"):
        zero_shot_task(image_only, image_only, "paper", 0)
    dna_only = read_source(str(write_run(tmp_path / "b", columns=("dna",))), 0)
    with pytest.raises(ZeroShotError, match="no image features"):
        zero_shot_task(dna_only, dna_only, "paper", 0)
    with pytest.raises(MissingPathError, match="clibd evaluate"):
        read_source(str(tmp_path / "nothing"), 0)


def test_arrays_beside_a_table_are_partitioned_by_a_seed(tmp_path: Path, write_arrays: WriteArrays) -> None:
    write_arrays(tmp_path)
    source = read_source(str(tmp_path), 5)
    assert len(source.ids) == 99  # a row without a species is left out, with its features
    assert source.images is not None
    np.testing.assert_array_equal(source.images[:, 0], np.delete(np.arange(100), 4))
    again, other = read_source(str(tmp_path), 5), read_source(str(tmp_path), 6)
    assert source.split.tolist() == again.split.tolist() != other.split.tolist()
    features, _ = zero_shot_task(source, source, "corrected", 5)
    unseen, val = names(features, features.test.unseen), names(features, features.tuning.unseen)
    assert (len(unseen), len(val)) == (4, 4)  # of 20, and of the 16 others, rounded up
    assert not unseen & names(features, features.test.train)
    assert not val & names(features, features.tuning.train)
    assert val <= names(features, features.test.train)


def test_given_splits_are_kept(tmp_path: Path, write_arrays: WriteArrays) -> None:
    species = [f"species {row % 20}" for row in range(100)]
    splits = drawn_splits(np.array(species, dtype=object), 1)
    write_arrays(tmp_path, species=species, split=splits.tolist())
    assert read_source(str(tmp_path), 9).split.tolist() == splits.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_fifth_of_the_species_is_unseen_and_a_fifth_of_each_other_species_is_asked(seed: int) -> None:
    counts = {"a": 1, "b": 2, "c": 5, "d": 6, "e": 12, "f": 3, "g": 4}
    species = np.repeat(np.array(list(counts), dtype=object), list(counts.values()))
    splits = drawn_splits(species, seed)
    of = {name: Counter(splits[species == name]) for name in counts}
    unseen = [name for name in counts if "test_unseen" in of[name]]
    assert len(unseen) == 2
    assert len([name for name in counts if "val_classes" in of[name]]) == 1
    for name in set(counts) - set(unseen):
        assert of[name]["test_seen"] == min(math.ceil(counts[name] / 5), counts[name] - 1)
        assert len(of[name]) <= 2
    shuffled = np.random.default_rng(seed).permutation(len(species))
    moved = drawn_splits(species[shuffled], seed)
    assert {n for n in counts if "test_unseen" in set(moved[species[shuffled] == n])} == set(unseen)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((99, 3), dtype=np.float32), "each of 100 "),
        (np.zeros(100, dtype=np.float32), "not a matrix of numbers"),
        (np.zeros((100, 3), dtype=np.int64), "not a row for each"),
        (np.array([object()] * 100), "not readable"),
    ],
)
def test_arrays_that_do_not_fit_their_table_are_refused(
    tmp_path: Path, write_arrays: WriteArrays, array: np.ndarray, reason: str
) -> None:
    write_arrays(tmp_path)
    np.save(tmp_path / "image_features.npy", array, allow_pickle=True)
    with pytest.raises(SourceError, match=reason):
        read_source(str(tmp_path), 0)


def test_a_table_without_species_and_two_arrays_of_a_kind_are_refused(
    tmp_path: Path, write_arrays: WriteArrays
) -> None:
    write_arrays(tmp_path)
    np.save(tmp_path / "dna_features_2.npy", np.zeros((100, 2), dtype=np.float32))
    with pytest.raises(SourceError, match="several feature files"):
        read_source(str(tmp_path), 0)
    pq.write_table(pa.table({rank: ["x"] * 100 for rank in RANKS if rank != "species"}), tmp_path / "pairs.parquet")
    with pytest.raises(SourceError, match="no column species"):
        read_source(str(tmp_path), 0)


def test_a_run_that_was_not_measured_to_the_end_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    Folder(write_run(tmp_path)).remove("evaluation.json")  # which says whether its specimens are synthetic
    with pytest.raises(MissingPathError, match=r"evaluation\.json"):
        read_source(str(tmp_path), 0)
