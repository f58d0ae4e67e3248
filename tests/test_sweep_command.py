"""`clibd-sweep` before anything runs: what it refuses, with the way out, what it plans, and files of one's own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands.clibd import app as clibd
from commands.sweep import app
from commands.sweep_file import read_sweep, write_template
from orchestrator.request import SweepRequest, folders_of, points_of
from sweeps import SWEEPS
from tests.sealed import say_otherwise
from tests.sweep_cases import base, every_scale, possible, trained
from workloads.command_line import run_command
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError
from workloads.experiments import Scale
from workloads.record import RunFolder
from workloads.storage import Folder


class Command:
    """Calls `clibd-sweep` in an empty folder, on the tiny data set unless told otherwise."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Folder) -> None:
        self._patch, self._capsys, self.data = patch, capsys, str(data)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self._patch.setattr("sys.argv", ["clibd-sweep", *words])
        with pytest.raises(SystemExit) as end:
            run_command(app)
        out = self._capsys.readouterr()
        return end.value.code if isinstance(end.value.code, int) else 1, out.out, out.err

    def plan(self, *words: str) -> dict[str, Any]:
        """A plan at the small scale, as JSON."""
        code, out, err = self(*words, "--data", self.data, "--scale", "small", "--plan", "--format", "json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.fixture
def sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_dataset: PreparedDataset, tmp_path: Path
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys, tiny_dataset.folder)


MISUSES = [
    (("batchsize", "--demo"), "did you mean batch-size?"),
    (("no-such-sweep", "--demo"), "clibd-sweep list"),
    (("lora",), "--demo"),
    (("lora", "--data", "no/such/folder"), "clibd data prepare"),
    (("lora", "--data", "no/such/folder", "--plan"), "clibd data prepare"),
    (("lora", "--demo", "--price", "2"), "add --plan"),
    (("lora", "--data", "DATA", "--scale", "small", "--plan", "--set", "epoch=3"), "did you mean epochs"),
    (("batch-size", "--data", "DATA", "--scale", "small", "--set", "batch_size=20"), "'batch-size' decides this field"),
    (("lora", "--data", "DATA", "--scale", "small", "--set", "image.fine_tuning=lora"), "'lora' decides this field"),
    (("lora", "--data", "DATA", "--scale", "small", "--plan", "--filter", "seven"), "'lora'"),
    (("insect", "--data", "DATA", "--insect", "no/such/folder", "--plan"), "Name the folder that holds INSECT"),
    (("nothing.py", "--data", "DATA", "--plan"), "clibd-sweep new nothing"),
    (("new", "amp"), "choose another name"),
    (("new", "Learning Rate"), "small letters"),
]


@pytest.mark.parametrize(("words", "named"), MISUSES)
def test_misuse_is_one_sentence_that_names_the_way_out(sweep: Command, words: tuple[str, ...], named: str) -> None:
    code, out, err = sweep(*(sweep.data if word == "DATA" else word for word in words))
    assert (code, out) == (2, "")
    assert named in err
    assert "Traceback" not in err


FILES = [
    ("x = 1\n", "it has none"),
    ("SWEEP = 3\n", "it is of type int"),
    ("x = 0\ny = 1 / x\n", "line 2: `y = 1 / x`: ZeroDivisionError"),
    ("x = (\n", "line 1: `x = (`: SyntaxError"),
    ("from sweeps.point import Sweep\nSWEEP = Sweep(name='amp', question='', points=list)\n", "'amp' is taken"),
    ("from sweeps.point import Sweep\nSWEEP = Sweep(name='a/b', question='', points=list)\n", "no name of a folder"),
    (
        "from sweeps.point import Sweep\ndef points(base):\n    return base.nothing\n"
        "SWEEP = Sweep(name='own', question='', points=points)\n",
        "line 3: `return base.nothing`: AttributeError",
    ),
    (
        "from sweeps.point import Sweep\nSWEEP = Sweep(name='own', question='', points=lambda base: [1])\n",
        "type int",
    ),
]


@pytest.mark.parametrize(("text", "named"), FILES)
def test_a_file_that_is_no_sweep_is_told_with_its_line(sweep: Command, tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "own.py").write_text(text)
    code, _, err = sweep("own.py", "--data", sweep.data, "--plan")
    assert code == 2
    assert "own.py" in err
    assert named in err


def test_a_new_sweep_can_be_planned_as_it_is_and_is_never_overwritten(sweep: Command, tmp_path: Path) -> None:
    code, out, _ = sweep("new", "my-question")
    assert code == 0
    file = next(tmp_path.glob("*.py"))
    assert file.name in out
    assert {point["state"] for point in sweep.plan(file.name, "--set", "batch_size=20")["points"]} == {"to run"}
    written = file.read_text()
    assert sweep("new", "my-question")[0] == 2
    assert file.read_text() == written


def test_batches_larger_than_the_data_set_are_refused_before_ray_starts(sweep: Command) -> None:
    code, _, err = sweep("batch-size", "--data", sweep.data, "--set", "image.weights=none")
    assert code == 2
    assert "cannot fill one batch" in err


def test_labels_alone_are_too_few_modalities(sweep: Command, tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    say_otherwise(tiny_dataset.folder, "dataset.json", Folder(tmp_path), modalities=["text"])
    code, _, err = sweep("lora", "--data", str(tmp_path), "--plan")
    assert code == 2
    assert "at least two of image, dna and text" in err


def test_the_plan_starts_nothing_and_lists_every_run(sweep: Command, tmp_path: Path) -> None:
    code, out, _ = sweep("encoders", "--scale", "small", "--data", sweep.data, "--plan")
    assert code == 0
    assert out.count("to run  ") == 5
    assert "5 of 5 runs to do" in out
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_clibd_is_the_same_program(
    sweep: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("lora", "--data", sweep.data, "--scale", "small", "--plan", "--rate", "1")
    monkeypatch.setattr("sys.argv", ["clibd", "sweep", *words])
    with pytest.raises(SystemExit):
        run_command(clibd)
    assert capsys.readouterr().out == sweep(*words)[1]


def test_a_plan_says_what_is_finished_whoever_made_it_and_what_cannot_be(
    sweep: Command, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    request = SweepRequest(
        sweeps=(SWEEPS["batch-size"],), scale="small", data=tiny_dataset, runs=Folder(tmp_path / "runs")
    )
    points = points_of(request)
    name, run = min(folders_of(points).items(), key=lambda item: "-b50-" not in item[0])
    spec = next(point.spec for point in points.all if getattr(point, "id", "") == name)
    elsewhere = RunFolder(request.runs / "another" / run.id)
    elsewhere.begin(spec, {}, {})
    elsewhere.finish("finished")

    found = sweep.plan("batch-size")

    states = {point["label"]: point["state"] for point in found["points"]}
    assert states == {f"batch {n}": "finished" if n == 50 else "cannot run" for n in (50, 100, 150, 200)}
    assert all("cannot fill one batch" in p["reason"] for p in found["points"] if p["state"] == "cannot run")
    assert found["to_run"]["points"] == 0

    spec = Path(elsewhere.folder.path) / "spec.json"
    spec.unlink()
    assert f"Move the folder {elsewhere.folder} away, and it is made anew" in reason_of_batch_50(sweep)
    spec.mkdir()  # what the disk does not let be read
    assert f"move the folder {elsewhere.folder} away, and it is made anew" in reason_of_batch_50(sweep)


def reason_of_batch_50(sweep: Command) -> str:
    (point,) = [point for point in sweep.plan("batch-size")["points"] if point["label"] == "batch 50"]
    assert point["state"] == "cannot run"
    return str(point["reason"])


def test_a_plan_counts_time_memory_disk_and_cost(sweep: Command) -> None:
    words = ("lora", "--rate", "0.02", "--filter", "LoRA", "--price", "3")
    [point] = sweep.plan(*words)["points"]
    [longer] = sweep.plan(*words, "--set", "epochs=50")["points"]
    assert longer["tflop"] > 1.9 * point["tflop"] > 0
    assert longer["seconds"] > point["seconds"]
    assert longer["disk_bytes"] == point["disk_bytes"] > 4 * 5e5
    assert point["memory_bytes"] > 16 * 1e5
    sums = sweep.plan(*words)["to_run"]
    assert sums["cost"] == pytest.approx(3 * sums["device_hours"])


def test_a_plan_says_what_it_takes_to_measure_each_epoch_in_fp32_and_how_much_less_tf32_does(sweep: Command) -> None:
    words = ("lora", "--recipe", "paper", "--rate", "1", "--filter", "LoRA")

    def seconds(*more: str) -> float:
        [point] = sweep.plan(*words, *more)["points"]
        found: float = point["selecting_seconds"]
        return found

    whole, _, told = seconds(), *sweep(*words, "--data", sweep.data, "--scale", "small", "--plan")[:2]
    assert "behind each epoch that may be selected" in told
    assert whole > 0
    assert seconds("--set", "epochs=28") == pytest.approx(2 * whole)  # of the small scale's 14
    assert seconds("--set", "first_selected_epoch=7") == pytest.approx(whole / 2)
    assert seconds("--set", "evaluation_precision=tf32") == pytest.approx(whole / 4)
    assert seconds("--set", "evaluation_precision=bf16") == pytest.approx(whole / 8)
    [point], [unselected] = (sweep.plan(*words, *more)["points"] for more in ((), ("--set", "selection=last")))
    assert unselected["selecting_seconds"] == 0
    assert point["seconds"] == pytest.approx(unselected["seconds"] + whole)


def test_towers_from_scratch_wait_for_no_weights(sweep: Command, tmp_path: Path) -> None:
    words = ("seeds", "--data", sweep.data, "--set", "batch_size=20", "--plan", "--format", "json", "--from-scratch")
    found = json.loads(sweep(*words)[1])
    assert found["weights"] == {}
    assert {point["state"] for point in found["points"]} == {"to run"}


def test_weights_that_are_not_here_are_all_named_with_their_places_and_nobody_is_asked(
    sweep: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", lambda *address: pytest.fail("somebody was asked"))
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    words = ("seeds", "--data", sweep.data, "--set", "batch_size=20", "--plan", "--format", "json")
    text = tmp_path / "cache" / "weights" / "prajjwal1" / "bert-small"
    for kept in (False, True):
        found = json.loads(sweep(*words)[1])
        names = set(found["weights"])
        assert {"barcodebert-5mer"} < names
        assert ("prajjwal1/bert-small" in names) is not kept
        assert all(
            str(tmp_path / "cache") in remedy or "clibd convert" in remedy for remedy in found["weights"].values()
        )
        assert {point["state"] for point in found["points"]} == {"cannot run"}
        assert found["with_weights"]["points"] == len(found["points"])
        text.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors", "vocab.txt"):
            (text / name).touch()


def test_the_plan_of_the_paper_leads_from_each_table_to_its_command(sweep: Command) -> None:
    found = sweep.plan("paper", "--rate", "1")
    commands = {entry["table"]: entry["command"] for entry in found["tables"]}
    assert {number for number in commands if isinstance(number, int)} == set(range(1, 21))
    assert commands[18].startswith("clibd-sweep amp --data ")
    assert commands[6].startswith("clibd data stats ")
    ids = [point["id"] for point in found["points"] if point.get("id")]
    assert len(ids) == len(set(ids)) > 20


def test_every_sweep_is_listed_with_its_tables(sweep: Command) -> None:
    code, out, _ = sweep("list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines.keys() == SWEEPS.keys()
    assert "Table 20" in lines["batch-size"]
    assert "Table 3, 15, 16" in lines["open-set"]


def test_a_start_is_found_by_its_id_wherever_it_is_finished(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    request = SweepRequest(sweeps=(SWEEPS["simclr-start"],), scale="small", data=tiny_dataset, runs=Folder(tmp_path))
    points = points_of(replace(request, only="from SimCLR"))
    [start] = [name for point in points.all for name in getattr(point, "needs", ())]
    assert str(folders_of(points)[start].folder) == str(Folder(tmp_path) / "simclr-start" / start)
    RunFolder(Folder(tmp_path) / "modalities" / start).finish("finished")
    assert str(folders_of(points)[start].folder) == str(Folder(tmp_path) / "modalities" / start)


@every_scale
def test_the_template_of_a_users_own_sweep_runs_as_it_is(
    scale: Scale, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = read_sweep(str(write_template("learning-rate")))
    assert sweep.name == "learning-rate"
    found = possible(sweep.points(base(scale)))
    assert len(trained(found)) == 3
    assert base(scale).spec.id in trained(found)  # the middle one is everybody's
    [table] = sweep.tables
    assert table.number == "learning-rate"
    assert all(set(table.row_fields) <= set(point.row or {}) for point in found)


@pytest.mark.parametrize(
    ("name", "reason"), [("My Sweep", "cannot name a sweep"), ("amp", "already"), ("paper", "already")]
)
def test_a_name_that_cannot_be_or_is_taken_is_refused(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        write_template(name)
