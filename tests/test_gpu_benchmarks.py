"""The benchmarks of a GPU in their small form, on the processor: every part does what it says, and none needs Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import first_checks, first_light, gpu
from benchmarks.authors_path import PAD_ID, Sizes, drawn_batch
from benchmarks.our_step import GFLOP_PER_SAMPLE, gflop_per_sample, spec_of
from benchmarks.parts import Figures, Part, UnfitError, run_parts
from workloads.data.prepared.dataset import PreparedDataset
from workloads.models.build import TowerInputs, build_model

ROOT = Path(__file__).parents[1]


def lines(file: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return {line["part"]: line for line in found}


def test_first_light_runs_on_a_bare_machine(tmp_path: Path) -> None:
    """Neither Ray nor what evaluation and adapters need is there; the specimens are drawn."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('ray', 'faiss', 'peft', 'open_clip', 'wandb', 'optuna', 'boto3')))\n"
        "from benchmarks.first_light import main\n"
        f"sys.exit(main(['--out', {str(tmp_path)!r}]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = lines(tmp_path / "first_light.jsonl")
    assert list(found) == list(first_light.parts(None, tmp_path))
    assert (tmp_path / "first_light.jsonl").read_text() in done.stdout
    assert found["machine"]["missing"] == []
    assert "peft" in found["machine"]["missing_for_benchmarks_gpu"]
    assert found["replay"]["fp32"]["other_dropout"] > 0.1
    for name in ("training", "large", "large_checkpointed"):
        figures = found[name]
        assert figures["data"].startswith("SYNTHETIC")
        assert figures["share_of_matrix_product"] == pytest.approx(
            found["matrix_product"]["gflop"]
            * figures["specimens_per_second"]
            / (1000 * found["matrix_product"]["bf16_teraflops"])
        )
        assert 0 <= figures["waited_for_batches"] < 1
    assert len(found["training"]["rows_ms"]) > 5
    assert found["training"]["losses"] != found["large"]["losses"]
    assert found["checkpoint"]["next_loss"] == found["checkpoint"]["next_loss_resumed"]


@pytest.mark.parametrize(("part", "what"), [("gradients", "image in bf16 plain"), ("replay", "dropout")])
def test_what_computes_wrongly_stops_all_that_would_follow(
    part: str, what: str, tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if part == "gradients":
        monkeypatch.setattr(first_checks, "LIMIT", 1e-4)  # below what bf16 rounds
    else:
        monkeypatch.setattr("workloads.training.step._seed", lambda *_: None)  # dropout goes on where it is
    words = [str(tiny_dataset.folder), "--out", str(tmp_path), "--parts", f"{part},training"]
    assert first_light.main(words) == 2
    found = lines(tmp_path / "first_light.jsonl")
    assert what in found[part]["stopped"]
    assert found["training"]["left_out"] == found[part]["stopped"]


def test_the_gpu_benchmark_measures_the_products_own_parts(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    names = [name for name in gpu.PARTS if name != "compiled"]  # which takes a compiler and minutes
    assert gpu.main([str(tiny_dataset.folder), "--out", str(tmp_path), "--parts", ",".join(names)]) == 0
    found = lines(tmp_path / "gpu.jsonl")
    assert list(found) == names
    assert found["compared"]["8"]["speedup_over_published"] > 0
    assert found["evaluation"]["fp32"]["same_nearest_key"]["mean"] == 1.0
    assert 0 < found["evaluation"]["bf16"]["furthest_moved"] < 0.1
    assert found["precisions"]["bf16"]["losses"] != found["precisions"]["fp32"]["losses"]
    assert found["lora"]["losses"][0] == pytest.approx(found["training"]["losses"][0], rel=1e-2)
    assert found["probe"]["direct"]["specimens_at_a_time"] > 0


def test_parts_are_chosen_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path), "--parts", "lora,laura"])
    assert "no such part: laura; there are goals, ceiling" in capsys.readouterr().err


def test_a_part_that_fails_is_named_and_the_others_are_still_measured(tmp_path: Path) -> None:
    def broken() -> Figures:
        raise RuntimeError("no such kernel")

    def lacking() -> Figures:
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    def wrong() -> Figures:
        raise UnfitError("gradients are wrong", {"worst": 0.5})

    parts: dict[str, Part] = {"broken": broken, "lacking": lacking, "right": lambda: {"value": 1}}
    parts |= {"wrong": wrong, "late": lambda: {"value": 2}}
    assert run_parts(parts, tmp_path / "lines.jsonl", 60.0) == 4
    found = lines(tmp_path / "lines.jsonl")
    assert found["broken"]["failed"] == "RuntimeError: no such kernel"
    assert found["lacking"]["failed"] == "needs the package cv2; docs/gpu.md has what to bring along"
    assert found["right"]["value"] == 1
    assert (found["wrong"]["stopped"], found["wrong"]["worst"]) == ("gradients are wrong", 0.5)
    assert found["late"]["left_out"] == "gradients are wrong"
    assert run_parts(parts, tmp_path / "lines.jsonl", -1.0) == 0
    assert all("are over" in line["left_out"] for line in lines(tmp_path / "lines.jsonl").values())


def test_the_papers_towers_take_177_gflop_a_specimen() -> None:
    sizes = Sizes()
    with torch.device("meta"):
        inputs = TowerInputs(vocabulary_size=sizes.text_vocabulary, pad_id=PAD_ID)
        model = build_model(spec_of(sizes, "paper"), inputs, pretrained=False)
    batch = {name: values.to("meta") for name, values in drawn_batch(sizes, 2).items()}
    assert gflop_per_sample(model, batch) == pytest.approx(GFLOP_PER_SAMPLE, rel=1e-3)
