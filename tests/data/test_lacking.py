"""Specimens that lack modalities: which are kept, how they are counted, and what batches say of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from commands.data import lacking_words
from tests.conftest import IMAGE_SIZE, plain_run
from workloads.data.inputs.batches import THERE, EpochBatches, Specimens
from workloads.data.inputs.tower_inputs import Rows
from workloads.data.inputs.who_trains import num_trained
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.specimens.schema import PROTOCOLS
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import UsageError
from workloads.spec import MODALITIES, RANKS, ExperimentSpec, Modality
from workloads.storage import Folder

PROTOCOL = PROTOCOLS["clibd"]
COLUMNS = {"image": "image", "dna": "barcode", "text": "order"}


def has(row: dict[str, Any]) -> set[str]:
    """What a specimen of the table has, plainly."""
    names = {"text"} if any(row[rank] for rank in RANKS) else set()
    return names | {name for name in ("image", "dna") if row[COLUMNS[name]] is not None}


def kept(table: SpecimenTable) -> Iterator[dict[str, Any]]:
    """Of a specimen that only trains two modalities are asked, of any other one."""
    for batch in table.batches():
        for row in batch.to_pylist():
            if len(has(row)) >= (2 if row["split"] in PROTOCOL.training else 1):
                yield row


def options(**chosen: Any) -> DatasetOptions:
    return DatasetOptions(name="incomplete", image_size=IMAGE_SIZE, **chosen)


def opened(dataset: PreparedDataset, spec: ExperimentSpec, modalities: tuple[Modality, ...] | None = None) -> Specimens:
    tokenizer = TextTokenizer.from_json(dataset.tokenizer_json())
    return Specimens(dataset, dataset.facts.splits.training, spec, tokenizer, modalities)


def test_a_specimen_is_kept_with_what_it_has(
    incomplete_table: SpecimenTable, incomplete_dataset: PreparedDataset
) -> None:
    wanted = {row["specimen_id"]: row for row in kept(incomplete_table)}
    prepared = incomplete_dataset.load([s for s, n in incomplete_dataset.facts.num_specimens.items() if n]).to_pylist()
    assert {row["specimen_id"] for row in prepared} == wanted.keys()
    assert incomplete_dataset.facts.num_rejects == len(incomplete_table) - len(wanted) > 10
    for row in prepared:
        there = {name for name, column in (("image", "image"), ("dna", "barcode"), ("text", "text")) if row[column]}
        assert there == has(wanted[row["specimen_id"]])
        assert (row["dna_ids"] is None) == (row["authors_dna_ids"] is None) == ("dna" not in there)
        assert row["text"] != "", "an unnamed specimen has no text, not an empty one"


def test_it_is_counted_by_split_and_by_what_it_has(
    incomplete_table: SpecimenTable, incomplete_dataset: PreparedDataset
) -> None:
    counts: dict[str, Counter[str]] = {}
    for row in kept(incomplete_table):
        what = [name for name in MODALITIES if name in has(row)] + ["species"] * (row["species"] is not None)
        counts.setdefault(row["split"], Counter())["+".join(what)] += 1
    facts = incomplete_dataset.facts
    assert facts.having == {split: dict(own) for split, own in counts.items()}
    assert len({what for own in counts.values() for what in own}) > 5
    for name in MODALITIES:
        of_training = [row for row in kept(incomplete_table) if row["split"] in PROTOCOL.training]
        assert facts.num_having(name, PROTOCOL.training) == sum(name in has(row) for row in of_training)
        assert facts.num_having(name) == sum(name in has(row) for row in kept(incomplete_table))


def test_it_is_said_how_many_lack_what(incomplete_table: SpecimenTable, incomplete_dataset: PreparedDataset) -> None:
    rows = list(kept(incomplete_table))
    counts = {name: sum(name not in has(row) for row in rows) for name in MODALITIES}
    said = lacking_words(incomplete_dataset.facts)
    assert all(f"{count} have no {name}" in said for name, count in counts.items())
    assert "no text" not in lacking_words(replace(incomplete_dataset.facts, modalities=("image", "dna")))


def test_where_all_have_everything_nothing_is_counted(tiny_dataset: PreparedDataset) -> None:
    assert tiny_dataset.facts.having == {}
    assert tiny_dataset.facts.num_having("dna") == sum(tiny_dataset.facts.num_specimens.values())


def test_those_who_lack_something_are_left_out_on_request(incomplete_table: SpecimenTable, tmp_path: Path) -> None:
    facts = prepare(incomplete_table, Folder(tmp_path), options(complete=True), plain_run)
    whole = sum(len(has(row)) == 3 for row in kept(incomplete_table))
    assert facts.having == {}
    assert facts.complete
    assert 0 < sum(facts.num_specimens.values()) <= whole  # less the queries that have lost their keys
    assert facts.fingerprint.endswith("-complete"), "another data set, whose runs have other names"
    with pytest.raises(UsageError, match="another preparation"):
        prepare(incomplete_table, Folder(tmp_path), options(), plain_run)


def test_those_with_too_little_are_listed_with_what_was_needed_and_stop_nothing(
    incomplete_dataset: PreparedDataset,
) -> None:
    lines = incomplete_dataset.folder.read("rejects.tsv").decode().splitlines()[1:]
    reasons = {line.split("\t")[1] for line in lines}
    assert {
        "no image and no text, and one that trains needs two",
        "no image and no dna and no text, and one that trains needs two",
    } <= reasons
    assert sum(incomplete_dataset.facts.reject_reasons.values()) == len(lines) == incomplete_dataset.facts.num_rejects


def test_rows_of_null_are_zeros_and_the_others_as_they_are() -> None:
    lists: list[list[float] | None] = [None, [1, 2], [3, 4], None, [5, 6], None]
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2)):
        column = pa.chunked_array([pa.array(lists[:1], kind), pa.array(lists[1:4], kind), pa.array(lists[4:], kind)])
        taken = Rows(column).take(np.array([4, 0, 2, 5, 1]))
        assert taken.tolist() == [[5, 6], [0, 0], [3, 4], [0, 0], [1, 2]]


def test_batches_say_who_has_what_only_where_some_that_train_lack_it(
    incomplete_dataset: PreparedDataset, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    specimens = opened(incomplete_dataset, tiny_spec)
    batches = EpochBatches(specimens, tiny_spec, 0)
    assert len(batches) == num_trained(tiny_spec, incomplete_dataset.facts) // tiny_spec.batch_size > 2
    for batch, asked in zip((batches[number] for number in range(len(batches))), batches.asked(), strict=True):
        masks = {name: batch[name + THERE] for name in MODALITIES}
        assert (torch.stack(list(masks.values())).sum(0) >= 2).all()
        assert not batch["image"][~masks["image"]].any(), "black where there is no image"
        for name in MODALITIES:
            there = specimens.there(name)
            assert there is not None
            assert masks[name].tolist() == there[asked.rows].tolist()
    pair = replace(tiny_spec, modalities=("image", "dna"))
    assert EpochBatches(opened(incomplete_dataset, pair), pair, 0)[0].keys() == {"image", "dna"}
    assert EpochBatches(opened(tiny_dataset, tiny_spec), tiny_spec, 0)[0].keys() == set(MODALITIES)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"modalities": ("image", "text")},
        {"bind_to": "dna"},
        {"objective": "simclr", "modalities": ("image",)},
        {"objective": "simclr", "modalities": ("dna",)},
        {"objective": "classify", "modalities": ("image",)},
    ],
)
def test_who_trains_is_known_from_the_counts(
    changes: dict[str, Any], incomplete_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, **{"bind_to": None, **changes}, trainable_temperature=not changes.get("objective"))
    specimens, wanted = opened(incomplete_dataset, spec), set()
    for row in incomplete_dataset.load(PROTOCOL.training).to_pylist():
        own = {"image": row["image"], "dna": row["barcode"], "text": row["text"]}
        there = {name for name in spec.modalities if own[name]}
        enough = len(there) >= 2 if spec.objective == "align" else len(there) == 1
        bound = spec.bind_to is None or spec.bind_to in there
        if enough and bound and (spec.objective != "classify" or row["species"]):
            wanted.add(row["specimen_id"])
    assert set(specimens.ids[specimens.trained]) == wanted
    assert num_trained(spec, incomplete_dataset.facts) == len(wanted) > 0


def test_distinct_inputs_are_of_those_who_have_one(
    incomplete_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    specimens = opened(incomplete_dataset, tiny_spec)
    table = incomplete_dataset.load(PROTOCOL.training)
    for name, column in (("dna", "barcode"), ("text", "text"), ("image", "image")):
        first, which = specimens.groups(name)
        values = table[column].to_pylist()
        assert [None if place < 0 else values[first[place]] for place in which] == values
