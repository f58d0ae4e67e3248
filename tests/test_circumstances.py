"""What decides the last bits of a run is kept with it, and a run that goes on otherwise says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from results.paper.tables import table_sheets
from tests.training.training import AT_EVERY_STEP, StopHereError, interruption
from workloads.circumstances import circumstances
from workloads.continued import changes, told, words
from workloads.data.prepared.dataset import PreparedDataset
from workloads.placement import Placement
from workloads.record import RunFolder, provenance
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training.report import Listener
from workloads.training.run import train_run
from workloads.verify import things_in


def trained(
    spec: ExperimentSpec, dataset: PreparedDataset, folder: Path, listeners: tuple[Listener, ...] = ()
) -> RunFolder:
    run = RunFolder(Folder(folder))
    run.begin(spec, {}, provenance([]))
    with run.ending() as details:
        details |= train_run(spec, run, dataset, Placement(), AT_EVERY_STEP, listeners)
    return run


def test_they_are_plain_and_name_machine_threads_and_libraries() -> None:
    here = circumstances(Placement(), precision="fp32")
    assert json.loads(json.dumps(here)) == here
    assert here["threads"] == torch.get_num_threads()
    assert here["cpu"] == torch.backends.cpu.get_cpu_capability()
    assert {"device", "interop_threads", "workers", "code", "python", "torch", "numpy", "pillow"} <= here.keys()


def test_a_setting_of_the_environment_that_changes_kernels_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = circumstances(Placement())
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    changed = changes(before, circumstances(Placement()))
    assert changed == {"MKL_CBWR": [None, "COMPATIBLE"]}
    assert "MKL_CBWR was not set and is COMPATIBLE" in words(7, changed)


def test_a_run_that_goes_on_with_other_threads_says_so_and_keeps_it(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = replace(tiny_spec, modalities=("image", "dna"), epochs=2)
    before = torch.get_num_threads()
    other = 1 if before > 1 else 2
    with pytest.raises(StopHereError):
        trained(spec, tiny_dataset, tmp_path, (interruption(2),))
    assert "continued" not in RunFolder(Folder(tmp_path)).folder.read_json("provenance.json")
    capsys.readouterr()
    torch.set_num_threads(other)
    try:
        with pytest.raises(StopHereError):
            trained(spec, tiny_dataset, tmp_path, (interruption(3),))
    finally:
        torch.set_num_threads(before)
    said = capsys.readouterr().err
    assert said.count("goes on from step") == 1
    assert f"threads was {before} and is {other}" in said
    run = trained(spec, tiny_dataset, tmp_path)
    kept = run.folder.read_json("provenance.json")
    assert [each["changed"] for each in kept["continued"]] == [
        {"threads": [before, other]},
        {"threads": [other, before]},
    ]
    assert 0 < kept["continued"][0]["step"] <= kept["continued"][1]["step"]
    assert kept["circumstances"]["threads"] == before
    assert told(run.source()).count(f"threads was {before} and is {other}") == 1
    [(_, check)] = things_in(run.folder)
    assert check(lambda done, total: None).note == told(run.source())
    [sheet] = table_sheets(1, None, [run.folder])
    assert f"{run.id}: {told(run.source())}." in sheet.notes
    assert run.folder.read_json("evaluation.json")["circumstances"]["threads"] == before
    again = trained(spec, tiny_dataset, tmp_path)  # anew: its checkpoints went with its end
    assert "continued" not in again.folder.read_json("provenance.json")
