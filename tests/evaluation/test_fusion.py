"""Image and barcode as one row: each way against its definition, one specimen at a time, and who lacks one of them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.open_set_cases import column, lineage, specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, SpecError, UsageError
from workloads.evaluation.embedded import Embedded, has_feature, query_features, query_specimens, unit
from workloads.evaluation.evaluate import Questions, find_answers
from workloads.evaluation.fusion import GATE, Fusing, Gate, fused_rows, fusing_of, fusion_told
from workloads.evaluation.fusion_gate import fit_gate, gate_loss, learn_gate
from workloads.evaluation.measure import measure
from workloads.measuring.evaluation_folder import measure_again
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.predictions import FUSED, FUSED_PAIRS, Place
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec, Fusion
from workloads.storage import Folder

GATED = Gate(np.array([0.5, -1, 2, 0.25]), np.array([1.0, 0.5, -0.5, 0]), 0.1)
WAYS = (Fusing("mean"), Fusing("concatenation"), Fusing("gate", GATED))


def lacking(name: str, seed: int) -> Embedded:
    """Of eight specimens two have no image, and two others no barcode."""
    random = np.random.default_rng(seed)
    rows = {modality: unit(random.normal(size=(8, 4)).astype(np.float32)) for modality in ("image", "dna")}
    masks = {"image": np.arange(8) < 2, "dna": (np.arange(8) > 1) & (np.arange(8) < 4)}
    for modality, mask in masks.items():
        rows[modality][mask] = 0
    species = [f"s{number % 3 + (5 if number > 4 else 0)}" for number in range(8)]
    subset = ["seen" if number <= 4 else "unseen" for number in range(8)]
    ids = column([f"{name} {number}" for number in range(8)])
    return Embedded(ids, column(subset), lineage(species), rows, masks)


def of_unit_length(embedded: Embedded) -> Embedded:
    return replace(embedded, rows={name: unit(rows) for name, rows in embedded.rows.items()})


def by_hand(embedded: Embedded, row: int, feature: str, way: Fusing) -> list[float]:
    image, dna = ([float(x) for x in embedded.rows[name][row]] for name in ("image", "dna"))
    sides = {"image": (image, image), "dna": (dna, dna), FUSED: (image, dna)}[feature]
    if feature == FUSED:  # what is lacking is all zeros
        sides = (image if any(image) else dna, dna if any(dna) else image)
    if way.kind == "concatenation":
        return [x / math.sqrt(2) for x in (*sides[0], *sides[1])]
    score = sum(a * x for a, x in zip((*GATED.image, *GATED.dna), (*sides[0], *sides[1]), strict=True)) + GATED.bias
    share = 0.5 if way.kind == "mean" else 1 / (1 + math.exp(-score))
    mixed = [share * a + (1 - share) * b for a, b in zip(*sides, strict=True)]
    return [x / math.sqrt(sum(y * y for y in mixed)) for x in mixed]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.kind)
def test_every_pair_is_searched_by_the_rows_of_the_definition(way: Fusing) -> None:
    queries, keys = lacking("q", 1), lacking("k", 2)
    found = find_answers(keys, {"val": queries}, Questions(fusing=way, pairs=[]))
    for query, key in FUSED_PAIRS:
        answers = found.answers(Place("val", query, key))
        rows = query_specimens(queries, query).tolist()
        assert answers.ids.tolist() == queries.ids[rows].tolist()
        for row, number in zip(rows, range(len(answers)), strict=True):
            asked = by_hand(queries, row, query, way)
            similar = {
                keys.ids[other]: sum(a * b for a, b in zip(asked, by_hand(keys, other, key, way), strict=True))
                for other in query_specimens(keys, key)
            }
            nearest = sorted(similar, key=lambda name: -similar[name])[:5]
            assert answers.key_ids[number].tolist() == nearest
            assert answers.cosines[number] == pytest.approx([similar[name] for name in nearest], abs=1e-6)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.kind)
def test_who_lacks_one_has_the_other_alone(way: Fusing) -> None:
    own = lacking("q", 3)
    rows = fused_rows(own, way)
    assert len(rows) == 8
    if way.kind != "concatenation":
        assert rows[:2].tolist() == query_features(own, "dna")[:2].tolist()
        assert rows[2:4].tolist() == query_features(own, "image")[:2].tolist()
    assert fusion_told({"keys": own}, way)["specimens"] == {"keys": {"both": 4, "image": 2, "dna": 2}}


def test_who_has_neither_does_not_ask() -> None:
    own = lacking("q", 3)
    masks = {"image": own.lacking["image"], "dna": own.lacking["dna"] | (np.arange(8) == 0)}
    nobody = Embedded(own.ids, own.split, own.labels, own.rows, masks)
    assert query_specimens(nobody, FUSED).tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_nothing_is_fused_where_no_specimen_has_both() -> None:
    own = lacking("q", 3)
    apart = Embedded(own.ids, own.split, own.labels, own.rows, {"image": own.lacking["image"], "dna": np.arange(8) > 1})
    assert not has_feature(apart, FUSED)
    assert not has_feature(Embedded(own.ids, own.split, own.labels, {"image": own.rows["image"]}), FUSED)
    found = find_answers(apart, {"val": lacking("val", 4)}, Questions(fusing=WAYS[0], pairs=[("image", "dna")]))
    assert {place.key for place in found.places} == {"image", "dna"}


def test_other_answers_are_the_same_with_fused_ones_beside() -> None:
    queries, keys = {"val": of_unit_length(specimens("val", 1))}, of_unit_length(specimens("key", 2))
    alone, beside = (find_answers(keys, queries, Questions(fusing=way)) for way in (None, WAYS[0]))
    for place in alone.places:
        assert alone.answers(place).key_ids.tolist() == beside.answers(place).key_ids.tolist()
    assert {(place.query, place.key) for place in beside.places} - {(p.query, p.key) for p in alone.places} == {
        *FUSED_PAIRS
    }
    both = Place("val", FUSED, FUSED), Place("val", "averaged", "averaged")
    assert beside.answers(both[0]).cosines == pytest.approx(beside.answers(both[1]).cosines, abs=1e-6)


# --- The gate


def of_loss_by_hand(weights: list[float], image: list[list[float]], dna: list[list[float]], names: list[int]) -> float:
    rows = []
    for i, d in zip(image, dna, strict=True):
        score = sum(w * x for w, x in zip(weights, (*i, *d, 1.0), strict=True))
        share = 1 / (1 + math.exp(-score))
        mixed = [share * a + (1 - share) * b for a, b in zip(i, d, strict=True)]
        rows.append([x / math.sqrt(sum(y * y for y in mixed)) for x in mixed])
    total = 0.0
    for n, row in enumerate(rows):
        products = [math.exp(7.0 * sum(a * b for a, b in zip(row, other, strict=True))) for other in rows]
        own = sum(p for m, p in enumerate(products) if m != n and names[m] == names[n])
        total += math.log(sum(p for m, p in enumerate(products) if m != n)) - math.log(own)
    return total / len(rows) + 1e-3 * sum(w * w for w in weights[:-1])


def test_the_loss_of_the_gate_and_its_gradient_are_those_of_the_definition() -> None:
    random = np.random.default_rng(0)
    image, dna = (unit(random.normal(size=(7, 3))).astype(np.float64) for _ in range(2))
    names, start = [0, 1, 0, 1, 2, 2, 0], random.normal(size=7)
    weights = torch.tensor(start, requires_grad=True)
    loss = gate_loss(weights, torch.from_numpy(image), torch.from_numpy(dna), torch.tensor(names), 7.0)
    loss.backward()

    def by_definition(at: list[float]) -> float:
        return of_loss_by_hand(at, image.tolist(), dna.tolist(), names)

    assert float(loss.detach()) == pytest.approx(by_definition(start.tolist()), abs=1e-12)
    assert weights.grad is not None
    for number, gradient in enumerate(weights.grad.tolist()):
        up, down = ([w + sign * 1e-6 * (n == number) for n, w in enumerate(start.tolist())] for sign in (1, -1))
        assert gradient == pytest.approx((by_definition(up) - by_definition(down)) / 2e-6, abs=1e-7)


def test_the_gate_learns_which_of_the_two_to_believe() -> None:
    random = np.random.default_rng(1)
    species = [f"s{number // 4}" for number in range(40)]
    centres = unit(random.normal(size=(10, 8)).astype(np.float32))
    dna = unit(np.repeat(centres, 4, axis=0) + 0.1 * random.normal(size=(40, 8)).astype(np.float32))
    rows = {"image": unit(random.normal(size=(40, 8)).astype(np.float32)), "dna": dna}
    training = Embedded(column([str(n) for n in range(40)]), column(["seen"] * 40), lineage(species), rows)
    gate = fit_gate(training, 14.0, 0)
    assert gate.share(rows["image"], rows["dna"]).mean() < 0.2


def test_a_gate_needs_two_specimens_of_a_species_with_both() -> None:
    with pytest.raises(SpecError, match="choose 'mean' or 'concatenation'"):
        fit_gate(lacking("q", 3).take(np.array([0, 3, 4])), 14.0, 0)


def test_the_gate_of_a_run_is_kept_and_measured_with(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, fusion="gate", seed=7)
    run = RunFolder(Folder(tmp_path / "runs" / "train" / spec.id))
    run.begin(spec, {}, {})
    experiment = open_untrained(spec, tiny_dataset)
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    learn_gate(experiment, tiny_dataset, Placement(), run)
    measure(experiment, tiny_dataset, Placement(), run)
    run.finish("finished")
    told = run.folder.read_json("evaluation.json")["fusion"]
    assert told["kind"] == "gate"
    assert told["specimens"]["keys"]["both"] > 0
    pairs = {(row.query, row.key) for row in run.measurements() if row.method == "clibd"}
    assert {*FUSED_PAIRS} <= pairs
    again = measure_again(run, Folder(tmp_path / "mean"), fusion="mean")
    assert again.about["fusion"]["kind"] == "mean"


# --- What a run fuses


def run_of(folder: Folder, fusion: Fusion | None, **more: object) -> RunFolder:
    spec = ExperimentSpec(dataset="d", data_fingerprint="f", embedding_size=4, fusion=fusion, **more)  # type: ignore[arg-type]  # any fields
    run = RunFolder(folder)
    run.begin(spec, {}, {})
    return run


def test_a_run_is_fused_as_it_was_asked_or_as_its_spec_says(tmp_path: object) -> None:
    run = run_of(Folder(str(tmp_path)), "concatenation")
    assert fusing_of(run, None) == Fusing("concatenation")
    assert fusing_of(run, "mean") == Fusing("mean")
    assert fusing_of(run_of(Folder(f"{tmp_path}/plain"), None), None) is None


def test_a_gate_that_is_not_there_or_not_whole_is_named(tmp_path: object) -> None:
    run = run_of(Folder(str(tmp_path)), None)
    with pytest.raises(UsageError, match="--set fusion=gate, or ask for --fusion mean"):
        fusing_of(run, "gate")
    content = {"image": [1.0, 2, 3, 4], "dna": [0.0, 1, 0, 1], "bias": 0.5}
    run.folder.write_json(GATE, content)
    fusing = fusing_of(run, "gate")
    assert fusing is not None
    assert fusing.gate is not None
    assert fusing.gate.bias == 0.5
    for damaged in ({**content, "dna": [1.0]}, {"image": [1.0]}, {**content, "bias": "much"}):
        run.folder.write_json(GATE, damaged)
        with pytest.raises(DamagedError, match=GATE):
            fusing_of(run, "gate")


def test_a_run_without_one_of_them_cannot_be_fused(tmp_path: object) -> None:
    run = run_of(Folder(str(tmp_path)), None, modalities=("image", "text"))
    with pytest.raises(UsageError, match="towers for image, text alone"):
        fusing_of(run, "mean")
    with pytest.raises(SpecError, match="aligned images and barcodes"):
        run_of(Folder(str(tmp_path)), "mean", modalities=("image", "text"))


def test_the_default_keeps_the_ids_of_finished_runs() -> None:
    plain, *fused = (ExperimentSpec(dataset="d", data_fingerprint="f", fusion=way) for way in (None, "mean", "gate"))
    assert plain == ExperimentSpec(dataset="d", data_fingerprint="f")
    assert len({spec.id for spec in (plain, *fused)}) == 3
