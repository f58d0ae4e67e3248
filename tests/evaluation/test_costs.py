"""Costs of towers: counts against hand counts and the paper's figures, and what `clibd costs` prints of them."""

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from commands.costs import costs
from results.measured import QUANTITIES, costs_sheet
from results.published import find_published, published_table
from results.render import render_sheets
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import MissingPathError
from workloads.experiments import Data, base_spec
from workloads.measuring.costs_folder import (
    BERT_VOCABULARY,
    Cost,
    TowerCost,
    drawn_inputs,
    measure_costs,
    median_seconds,
    tower_costs,
)
from workloads.models.build import TowerInputs, build_model
from workloads.models.loaded import open_untrained, write_inputs
from workloads.recipes import with_fine_tuning
from workloads.record import RunFolder, read_evaluation
from workloads.spec import MODALITIES, ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import DnaTower, ImageTower

CPU = torch.device("cpu")


def printed_cost(modality: str, quantity: str) -> float:
    """What the paper prints."""
    number = find_published("D.4", {"modality": modality, "statistic": quantity})
    assert number is not None
    return number.value


@pytest.fixture(scope="module")
def papers() -> dict[str, TowerCost]:
    data = Data(name="none", fingerprint="none", synthetic=False, modalities=MODALITIES)
    inputs = TowerInputs(vocabulary_size=BERT_VOCABULARY)
    return {cost.modality: cost for cost in tower_costs(base_spec("paper", data, "paper"), inputs)}


def transformer_macs(tokens: int, width: int, hidden: int, depth: int) -> int:
    """Query, key, value and output; scores and their products with values; the feed-forward layers."""
    return depth * (4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * hidden)


def test_operations_of_the_papers_towers_are_those_counted_by_hand(papers: dict[str, TowerCost]) -> None:
    image = transformer_macs(197, 768, 3072, 12) + 196 * (3 * 16 * 16) * 768 + 768 * 768
    dna = transformer_macs(133, 768, 3072, 12) + 133 * 768 * (768 + 768)  # every token goes through both layers
    text = transformer_macs(20, 512, 2048, 4) + 512 * 768
    assert [papers[name].forward_flops / 2 for name in MODALITIES] == [image, dna, text]
    assert sum(cost.forward_flops for cost in papers.values()) == pytest.approx(59.19e9, rel=1e-3)
    assert sum(cost.step_flops for cost in papers.values()) == pytest.approx(177.348e9, rel=1e-5)


def test_what_the_paper_calls_flops_are_multiply_adds(papers: dict[str, TowerCost]) -> None:
    for name, printed in (("dna", "5.90"), ("text", "0.13")):
        assert printed_cost(name, "macs_per_500") == float(printed) * 1e12
    assert 250 * papers["dna"].forward_flops == pytest.approx(5.90e12, rel=2e-3)
    assert round(250 * papers["text"].forward_flops / 1e12, 2) == 0.13
    assert round(500 * papers["text"].forward_flops / 1e12, 2) != 0.13


def test_parameters_and_tokens_are_the_papers(papers: dict[str, TowerCost]) -> None:
    assert [papers[name].tokens for name in MODALITIES] == [197, 133, 20]
    assert round(papers["dna"].parameters / 1e6, 1) == 87.4
    assert round((papers["text"].parameters + 512 * 512 + 512) / 1e6, 1) == 29.2  # with the pooler that ours lacks


def test_counting_computes_nothing_and_agrees_with_a_real_pass(tiny_spec: ExperimentSpec) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    inputs = TowerInputs(vocabulary_size=90)
    model = build_model(tiny_spec, inputs, pretrained=False)
    for cost in tower_costs(tiny_spec, inputs):
        batch = drawn_inputs(tiny_spec, inputs, cost.modality, 3, CPU)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            model.towers[cost.modality](batch).sum().backward()
        assert counter.get_total_flops() / 3 == cost.step_flops
        assert sum(each.numel() for each in model.towers[cost.modality].parameters()) == cost.parameters


def test_frozen_trunks_cost_no_backward_pass(tiny_spec: ExperimentSpec) -> None:
    inputs = TowerInputs(vocabulary_size=90)
    full, frozen = (tower_costs(with_fine_tuning(tiny_spec, kind), inputs) for kind in ("full", "frozen"))
    for whole, rest in zip(full, frozen, strict=True):
        assert rest.forward_flops == whole.forward_flops
        assert rest.step_flops < 1.2 * rest.forward_flops < whole.step_flops


@pytest.mark.parametrize(
    ("dna", "image"),
    [
        (DnaTower(kind="cnn"), ImageTower(architecture="resnet18", image_size=32)),
        (DnaTower(kind="kmers", width=8, depth=2), ImageTower(kind="features", width=8, depth=2)),
        (DnaTower(kind="features", width=8, depth=2), ImageTower(kind="features", width=8, depth=2)),
        (
            DnaTower(kind="kmers", kmers=(1,), counts="hellinger", hidden="residual", width=8, depth=2, kept=0.5),
            ImageTower(kind="features", hidden="residual", width=8, depth=2, noise=1.0),
        ),
        (DnaTower(kind="dnabert2", width=24, depth=1, num_heads=3, hidden_width=48), None),
        (None, ImageTower(kind="openclip", architecture="ViT-B-32", image_size=64, width=64, depth=1)),
    ],
)
def test_every_kind_of_tower_can_be_counted(
    dna: DnaTower | None, image: ImageTower | None, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, dna=dna or tiny_spec.dna, image=image or tiny_spec.image)
    inputs = TowerInputs(image_feature_size=12, dna_feature_size=7, vocabulary_size=90)
    costs = {cost.modality: cost for cost in tower_costs(spec, inputs)}
    assert all(cost.step_flops > cost.forward_flops > 0 for cost in costs.values())
    if dna is not None:
        assert (costs["dna"].tokens is None) == (dna.kind != "dnabert2")
    if image is not None:
        assert costs["image"].tokens == (5 if image.kind == "openclip" else None)


def test_the_median_of_the_repeats_is_reported_without_the_first_pass() -> None:
    clock = iter([10.0, 11.0, 20.0, 27.0, 30.0, 32.0])
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), CPU, 3, lambda: next(clock)) == 2.0
    assert len(calls) == 4


def test_published_storage_is_in_mebibytes_of_whole_barcodes() -> None:
    for size, quantity, printed in ((660, "bytes_of_labelled", 53), (165, "bytes_of_labelled_2bit", 13.3)):
        published = printed_cost("dna", quantity)
        assert published / 2**20 == pytest.approx(printed)
        assert 84_450 * size == pytest.approx(published, rel=4e-3)


def test_every_published_number_has_a_row_to_stand_in() -> None:
    assert {number.where["statistic"] for number in published_table("D.4")} <= set(QUANTITIES)
    assert len(published_table("D.4")) == 11
    assert find_published("D.4", {"modality": "image", "statistic": "tokens"}) is None


OWN = [
    Cost("dna", "macs_per_500", 5.88e12),
    Cost("dna", "seconds_per_500", 0.05, "fp32, a GPU"),
    Cost("text", "macs_per_500", 0.1268e12),
    Cost("text", "bytes_of_labelled", None, "not measured"),
]


def test_published_numbers_stand_beside_ours_with_their_notes_once() -> None:
    text = render_sheets([costs_sheet(list(map(asdict, OWN)))], "md")
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells[2][1:] == ["multiply-adds (MAC) forward, 500 samples", "5,900,000,000,000*1", "5,880,000,000,000"]
    assert cells[3][1:] == ["seconds to embed 500 samples (fp32, a GPU)", "0.015*2", "0.05"]
    assert cells[4][2:] == ["130,000,000,000*1", "126,800,000,000"]
    assert cells[5][2:] == ["12,582,912*3", "– [1]"]
    assert text.count("printed as FLOPS") == 1
    assert "[1] not measured" in text


def test_costs_as_csv_and_json_are_plain_numbers() -> None:
    sheets = [costs_sheet(list(map(asdict, OWN)))]
    rows = list(csv.DictReader(io.StringIO(render_sheets(sheets, "csv"))))
    assert rows[0]["ours"] == "5880000000000.0"
    assert rows[0]["published"] == "5900000000000.0"
    assert rows[3]["ours"] == ""
    assert [row["ours"] for row in json.loads(render_sheets(sheets, "json"))] == [each.value for each in OWN]


def test_the_command_counts_and_times_the_towers_of_a_run(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(Folder(tmp_path / tiny_spec.id))
    run.begin(tiny_spec, {}, {})
    write_inputs(run, open_untrained(tiny_spec, tiny_dataset))
    costs(str(run.folder), str(tiny_dataset.folder), 2, "json")
    shown = json.loads(capsys.readouterr().out)
    rows = {(row["row"]["modality"], row["row"]["quantity"].partition(" (2 samples")[0]): row["ours"] for row in shown}
    names = {quantity: name for quantity, (name, _) in QUANTITIES.items()}
    assert rows["image", names["tokens"]] == 5
    forward = names["forward_flops"]
    assert rows["all", forward] == pytest.approx(sum(rows[name, forward] for name in MODALITIES))
    assert rows["dna", names["seconds_per_500"]] is None
    assert rows["dna", names["seconds_per_batch"]] > 0


def test_costs_as_a_point_of_a_sweep_are_a_whole_folder(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    run, target = RunFolder(Folder(tmp_path / tiny_spec.id)), Folder(tmp_path / "costs")
    run.begin(tiny_spec, {}, {})
    write_inputs(run, open_untrained(tiny_spec, tiny_dataset))
    found = measure_costs(run.folder, tiny_dataset.folder, target, 2)
    assert target.read_json("costs.json")["costs"] == [asdict(cost) for cost in found]
    assert read_evaluation(target)["dataset"] == tiny_spec.dataset
    assert RunFolder(target).measurements() == []
    labels = tiny_dataset.load(list(tiny_dataset.facts.num_specimens), ["text", "species"]).to_pylist()
    sizes = [len(row["text"].encode()) for row in labels if row["species"]]
    stored = {(cost.modality, cost.quantity): cost for cost in found}
    assert [stored["dna", f"bytes_per_sample{suffix}"].value for suffix in ("", "_2bit")] == [660, 165]
    size = stored["text", "bytes_per_sample"]
    assert "SYNTHETIC" in size.how
    assert size.value == pytest.approx(sum(sizes) / len(sizes))
    times = {cost.modality: cost for cost in found if cost.quantity == "seconds_per_batch"}
    assert list(times) == list(MODALITIES)
    for cost in times.values():
        assert cost.value is not None
        assert cost.value > 0
        assert cost.how.startswith("2 samples, fp32, ")


def test_costs_of_a_folder_that_is_no_run_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="Name a run folder"):
        costs(str(tmp_path), None, 2)
