"""The scores that select an epoch: against their definition in loops, and on validation only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.measured import evaluate_embedded
from tests.processes import run_together
from workloads.arrays import Labels
from workloads.averages import harmonic_mean
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import SpecError
from workloads.evaluation.embed import embed_parts
from workloads.evaluation.embedded import PAIRS, Embedded
from workloads.evaluation.evaluate import Questions
from workloads.evaluation.selection import (
    Rule,
    all_accuracies,
    check_selection,
    selection_score,
    validation_score,
)
from workloads.models.loaded import LoadedModel, open_untrained
from workloads.placement import Placement
from workloads.spec import MODALITIES, RANKS, ExperimentSpec, Modality

Rows = npt.NDArray[np.float32]
Names = Sequence[str | None]

SIZE = 4


def column(names: Names) -> npt.NDArray[np.object_]:
    return np.array([*names, None], dtype=object)[:-1]  # None keeps numpy from making strings of its own


class Case:
    """Embeddings on the axes of a small space, hence with many ties, and labels of which some are missing."""

    def __init__(self, seed: int, modalities: Sequence[Modality] = MODALITIES) -> None:
        random = np.random.default_rng(seed)
        num_keys, num_queries = int(random.integers(1, 9)), int(random.integers(2, 12))
        axes = np.eye(SIZE, dtype=np.float32)
        self.keys = {name: axes[random.integers(0, SIZE, num_keys)] for name in modalities}
        self.queries = {name: axes[random.integers(0, SIZE, num_queries)] for name in modalities}
        names = column(["a", "b", "c", None])
        self.key_labels: Labels = {rank: names[random.integers(0, 4, num_keys)] for rank in RANKS}
        self.query_labels: Labels = {rank: names[random.integers(0, 4, num_queries)] for rank in RANKS}
        self.subset = column(["seen", "unseen", *random.choice(["seen", "unseen"], num_queries - 2).tolist()])

    def score(self, rule: Rule) -> float:
        return selection_score(rule, *self.embedded())

    def numbers(self, placement: Placement | None = None) -> npt.NDArray[np.float64]:
        return all_accuracies(*self.embedded(), placement or Placement())

    def embedded(self) -> tuple[Embedded, Embedded]:
        keys = Embedded(
            np.arange(len(self.key_labels["species"])).astype(object),
            np.full(len(self.key_labels["species"]), "key_seen", dtype=object),
            self.key_labels,
            {str(name): rows for name, rows in self.keys.items()},
        )
        split = np.array([f"val_{subset}" for subset in self.subset], dtype=object)
        rows = {str(name): rows for name, rows in self.queries.items()}
        return keys, Embedded(np.arange(len(split)).astype(object), split, self.query_labels, rows)


def unit(row: Sequence[float]) -> list[float]:
    length = sum(value * value for value in row) ** 0.5
    return [value / length for value in row]


def feature(embeddings: Mapping[Modality, Rows], row: int, name: str) -> list[float] | None:
    """One specimen's feature of one kind, None where the model has no such."""
    own = {str(modality): rows[row].tolist() for modality, rows in embeddings.items()}
    if name in own:
        return unit(own[name])
    if not {"image", "dna"} <= own.keys():
        return None
    if name == "averaged":
        return unit([(a + b) / 2 for a, b in zip(own["image"], own["dna"], strict=True)])
    return unit(own["image"] + own["dna"]) if name == "concatenated" else None


def gallery(keys: Mapping[Modality, Rows], name: str) -> list[tuple[list[float], int]] | None:
    """Every key feature of one kind with its specimen."""
    kinds = ["image", "dna", "text"] if name == "all" else [name]
    count = len(next(iter(keys.values())))
    found = [(feature(keys, row, kind), row) for kind in kinds for row in range(count)]
    return None if any(values is None for values, _ in found) else [(v, row) for v, row in found if v is not None]


def nearest(query: Sequence[float], keys: Sequence[tuple[list[float], int]]) -> int:
    """The specimen of the nearest key, the first of equally near ones (products on these axes differ by 0.2)."""
    products = [round(sum(a * b for a, b in zip(query, key, strict=True)), 4) for key, _ in keys]
    return keys[products.index(max(products))][1]


def by_definition(case: Case) -> Iterator[float]:
    """Each of the authors' numbers, one query at a time."""
    for query_kind in ("image", "dna", "text", "averaged", "concatenated"):
        for key_kind in ("image", "dna", "text", "averaged", "concatenated", "all"):
            keys = gallery(case.keys, key_kind)
            queries = [feature(case.queries, row, query_kind) for row in range(len(case.subset))]
            if keys is None or queries[0] is None or len(queries[0]) != len(keys[0][0]):
                continue
            found = [nearest(query, keys) for query in queries if query is not None]
            for rank in RANKS:
                answers = [case.key_labels[rank][key] or "not_classified" for key in found]
                truths = [truth or "not_classified" for truth in case.query_labels[rank]]
                for kind in ("seen", "unseen"):
                    rows = [row for row, part in enumerate(case.subset) if part == kind]
                    hits = [answers[row] == truths[row] for row in rows]
                    yield sum(hits) / len(hits)
                    shares = []
                    for name in {truths[row] for row in rows}:
                        of_name = [answers[row] == name for row in rows if truths[row] == name]
                        shares.append(sum(of_name) / len(of_name))
                    yield sum(shares) / len(shares)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_mean_of_336_is_its_definition(seed: int) -> None:
    case, expected = Case(seed), list(by_definition(Case(seed)))
    assert len(expected) == 336
    assert case.numbers().ravel() == pytest.approx(expected, abs=1e-12)
    assert case.score("mean_of_336") == pytest.approx(sum(expected) / 336, abs=1e-12)


@pytest.mark.parametrize(
    ("modalities", "count"), [(("image", "dna"), 160), (("image", "text"), 64), (("dna", "text"), 64)]
)
def test_two_modalities_have_fewer_numbers(modalities: tuple[Modality, ...], count: int) -> None:
    for seed in range(5):
        case, expected = Case(seed, modalities), list(by_definition(Case(seed, modalities)))
        assert len(expected) == count
        assert case.numbers().ravel() == pytest.approx(expected, abs=1e-12)
        assert case.score("mean_of_336") == pytest.approx(sum(expected) / count, abs=1e-12)


def test_there_are_21_pairs() -> None:
    assert len(PAIRS) == len(set(PAIRS)) == 21
    assert [pair for pair in PAIRS if "concatenated" in pair] == [("concatenated", "concatenated")]
    assert sum(key == "all" for _, key in PAIRS) == 4


def test_a_missing_rank_is_a_class_that_can_be_right() -> None:
    case = Case(0)
    case.key_labels, case.query_labels = (
        {**labels, "genus": column([None] * len(labels["genus"]))} for labels in (case.key_labels, case.query_labels)
    )
    assert case.numbers().reshape(21, 4, 4)[:, RANKS.index("genus")].min() == 1


def test_image_to_dna_is_the_harmonic_mean_over_the_species_of_both_kinds() -> None:
    case = Case(0)
    case.keys = {"dna": np.eye(SIZE, dtype=np.float32)}
    case.key_labels = {rank: column(["a", "b", "c", None]) for rank in RANKS}
    seen, unseen = [0, 0, 0, 1, 2], [2, 2, 1]  # nearest keys
    case.queries = {"image": np.eye(SIZE, dtype=np.float32)[seen + unseen]}
    case.query_labels = {rank: column(["a", "a", "b", "b", "a", "c", "b", "b"]) for rank in RANKS}
    case.subset = column(["seen"] * 5 + ["unseen"] * 3)
    assert case.score("image_to_dna") == pytest.approx(harmonic_mean((2 / 3 + 1 / 2) / 2, (1 + 1 / 2) / 2), abs=1e-12)
    case.query_labels = {**case.query_labels, "species": column([None] * 8)}
    with pytest.raises(SpecError, match="query has a species"):
        case.score("image_to_dna")


@pytest.mark.parametrize("rule", ["image_to_dna", "mean_of_336"])
@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_queries_of_one_kind_cannot_select(rule: Rule, kind: str) -> None:
    case = Case(1)
    case.subset[:] = kind
    with pytest.raises(SpecError, match=r"queries of (un)?seen species"):
        case.score(rule)


WORKER = """
import sys
import numpy as np, torch.distributed as dist, torch
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.selection import all_accuracies
from workloads.placement import Placement
rank, meeting, case, out = int(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
stored = dict(np.load(case, allow_pickle=False))
part = lambda name: {key.split(".")[1]: value for key, value in stored.items() if key.startswith(name)}
labels = {name: {k: v.astype(object) for k, v in part(name).items()} for name in ("key_labels", "query_labels")}
split = np.array([f"val_{subset}" for subset in stored["subset"]], dtype=object)
sides = [Embedded(np.arange(len(of)).astype(object), of, labels[f"{name}_labels"], part(side))
         for side, name, of in (("keys", "key", np.full(len(labels["key_labels"]["species"]), "key_seen", object)),
                                ("queries", "query", split))]
np.save(out, all_accuracies(*sides, Placement.here(torch.device("cpu"))))
dist.destroy_process_group()
"""


def test_two_workers_share_the_work_and_have_the_numbers_of_one(tmp_path: Path) -> None:
    case = Case(2)
    stored: dict[str, npt.NDArray[np.generic]] = {"subset": case.subset.astype(str)}
    for name in ("keys", "queries"):
        stored |= {f"{name}.{key}": rows for key, rows in getattr(case, name).items()}
    for name in ("key_labels", "query_labels"):
        named = {rank: column([label or "none" for label in names]) for rank, names in getattr(case, name).items()}
        setattr(case, name, named)
        stored |= {f"{name}.{rank}": names.astype(str) for rank, names in named.items()}
    np.savez(tmp_path / "case.npz", **stored)  # type: ignore[arg-type]  # its other argument is a flag
    outs = [tmp_path / f"{rank}.npy" for rank in range(2)]
    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    run_together(program, [(rank, tmp_path / "meeting", tmp_path / "case.npz", out) for rank, out in enumerate(outs)])
    for out in outs:
        assert np.array_equal(np.load(out), case.numbers())


class WatchedDataset(PreparedDataset):
    """Remembers which splits were asked for."""

    def __init__(self, dataset: PreparedDataset) -> None:
        super().__init__(dataset.folder)
        self.asked: set[str] = set()

    def _filled(self, splits: Sequence[str]) -> list[str]:
        self.asked |= set(splits)
        return super()._filled(splits)


@pytest.fixture(scope="module")
def experiment(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> LoadedModel:
    return open_untrained(tiny_spec, tiny_dataset)


@pytest.mark.parametrize("rule", ["image_to_dna", "mean_of_336"])
def test_only_keys_and_validation_queries_are_ever_read(
    rule: Rule, experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    watched = WatchedDataset(tiny_dataset)
    score = validation_score(with_rule(experiment, rule), watched, Placement())
    assert 0 <= score <= 1
    assert watched.asked == {*PROTOCOLS["clibd"].keys, "val_seen", "val_unseen"}


def with_rule(experiment: LoadedModel, rule: Rule | Literal["last"]) -> LoadedModel:
    return replace(experiment, spec=replace(experiment.spec, selection=rule))


def test_the_score_is_what_the_evaluation_measures_on_validation(
    experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    parts = embed_parts(experiment, tiny_dataset, Placement())
    queries = {part: parts[part] for part in ("val", "test")}
    [expected] = [
        row.value
        for row in evaluate_embedded(parts["keys"], queries, Questions(pairs=[("image", "dna")])).measurements
        if (row.method, row.partition, row.query, row.key) == ("clibd", "val", "image", "dna")
        and (row.level, row.average, row.species, row.metric) == ("species", "macro", "harmonic_mean", "top1")
    ]
    assert validation_score(with_rule(experiment, "image_to_dna"), tiny_dataset, Placement()) == expected


def test_the_last_epoch_has_no_score(experiment: LoadedModel, tiny_dataset: PreparedDataset) -> None:
    with pytest.raises(SpecError, match="no score"):
        validation_score(with_rule(experiment, "last"), tiny_dataset, Placement())


def test_what_cannot_be_selected_is_refused_before_training(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    facts = tiny_dataset.facts
    scored = replace(tiny_spec, selection="mean_of_336")
    check_selection(scored, facts)
    fewer = replace(facts, num_specimens={**facts.num_specimens, "val_unseen": 0})
    check_selection(tiny_spec, fewer)
    with pytest.raises(SpecError, match="queries of unseen species"):
        check_selection(scored, fewer)
    with pytest.raises(SpecError, match="queries of seen and unseen species"):
        check_selection(scored, replace(facts, protocol="insect"))
    with pytest.raises(SpecError, match="'simclr'"):
        check_selection(replace(scored, objective="simclr", modalities=("image",)), facts)
