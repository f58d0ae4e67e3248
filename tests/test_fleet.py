"""Which workers a run gets on which machines, what goes side by side and what is refused, through the commands.

Only the two looks at machines are replaced, `fleet_here` and `fleet_of_cluster`; where Ray would start, the test ends.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from commands.clibd import app as clibd
from commands.sweep import app as clibd_sweep
from orchestrator import inventory
from orchestrator.fleet import Fleet, Node, Resources, runs_at_once
from orchestrator.workers import Wanted, Workers, resources_for, seconds_of
from workloads.command_line import run_command
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

FIVE = ("batch-size", "amp", "lora", "temperature", "encoders")
DOOR = "Ray would start here"
A100, T4 = "A100", "T4"


def here(cores: int, gpus: int = 0, kind: str = "NVIDIA A100-SXM4-80GB") -> Fleet:
    logical = max(4, 2 * cores)
    node = Node(host="here", cpus=logical, cores=cores, gpus=gpus, gpu_kind=kind if gpus else None, is_head=True)
    return Fleet(nodes=(node,), is_cluster=False)


def node(cpus: int, gpus: int = 0, kind: str | None = None, **more: Any) -> Node:
    return Node(**{"host": f"of-{cpus}-cpus", "cpus": cpus, "cores": cpus, "gpus": gpus, "gpu_kind": kind, **more})


def cluster(*nodes: Node, may_be_added: tuple[Node, ...] | None = None) -> Fleet:
    return Fleet(nodes=nodes, may_be_added=may_be_added)


HEAD = node(8, is_head=True)
EIGHT = node(96, 8, A100)
SIXTEEN_BY_EIGHT = cluster(HEAD, *[EIGHT] * 16)
MIXED = cluster(HEAD, node(48, 4, A100), node(64, 8, T4), node(64, 8, T4))
TO_ZERO = cluster(HEAD, may_be_added=(replace(EIGHT, host="eight_a100"),) * 3)
ON_CPUS = cluster(node(2, is_head=True), *[node(16)] * 3)
NOTHING = cluster(node(0, is_head=True))

MACHINES: list[tuple[str, Fleet, tuple[int, float, int, int, int, int]]] = [
    # name, fleet, (workers, CPUs a worker, GPUs, loader processes, threads, runs at once)
    ("one core", here(1), (1, 1, 0, 0, 1, 1)),
    ("two cores", here(2), (2, 1, 0, 0, 1, 1)),
    ("eight cores", here(8), (2, 4, 0, 0, 4, 1)),
    ("one GPU, two cores", here(2, 1), (1, 1, 1, 0, 1, 1)),
    ("one GPU, four cores", here(4, 1), (1, 3, 1, 1, 2, 1)),
    ("one GPU, eight cores", here(8, 1), (1, 7, 1, 5, 2, 1)),
    ("four GPUs", here(48, 4), (4, 11, 4, 8, 2, 1)),
    ("eight GPUs, eight cores", here(8, 8), (8, 0.5, 8, 0, 1, 1)),
    ("eight GPUs", here(96, 8), (8, 11, 8, 8, 2, 1)),
    ("16 nodes of eight GPUs", SIXTEEN_BY_EIGHT, (8, 11, 8, 8, 2, 16)),
    ("two kinds of GPU", MIXED, (8, 7, 8, 5, 2, 2)),
    ("scaled to zero", TO_ZERO, (8, 11, 8, 8, 2, 3)),
    ("two CPUs, as on the head alone", cluster(node(2, is_head=True)), (2, 1, 0, 0, 1, 1)),
    ("three nodes of 16 CPUs", ON_CPUS, (2, 8, 0, 0, 8, 3)),
    ("a GPU and no CPU", cluster(HEAD, node(0, 1)), (1, 0, 1, 0, 1, 1)),
]
every_machine = pytest.mark.parametrize(("fleet", "expected"), [m[1:] for m in MACHINES], ids=[m[0] for m in MACHINES])


class Commands:
    """The two programs, on machines that are made up."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = patch, capsys
        self._where: tuple[str, ...] = ()

    def on(self, fleet: Fleet) -> None:
        """From now on these are the machines."""
        self._where = ("--address", "10.0.0.1:6379") if fleet.is_cluster else ()
        self._patch.setattr(inventory, "fleet_of_cluster" if fleet.is_cluster else "fleet_here", lambda *_: fleet)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, with the cluster's address where it is one."""
        self._patch.setattr("sys.argv", [*words, *self._where])
        with pytest.raises(SystemExit) as end:
            run_command(clibd if words[0] == "clibd" else clibd_sweep)
        out = self._capsys.readouterr()
        assert "Traceback" not in out.err
        return end.value.code if isinstance(end.value.code, int) else 1, out.out, " ".join(out.err.split())

    def plan(self, *words: str) -> dict[str, Any]:
        """As JSON."""
        code, out, err = self("clibd-sweep", *words, "--plan", "--format", "json", "--rate", "1")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    @contextmanager
    def door(address: str | None, **_: bool) -> Iterator[None]:
        raise UsageError(DOOR)
        yield

    import orchestrator.embedding
    import orchestrator.free_search  # noqa: F401

    for module in ("session", "train", "embedding", "free_search"):
        monkeypatch.setattr(f"orchestrator.{module}.ray_session", door)
    monkeypatch.chdir(tmp_path)
    return Commands(monkeypatch, capsys)


@every_machine
def test_make_demos_command_plans_with_what_the_machines_have(
    commands: Commands, demo: str, fleet: Fleet, expected: tuple[int, float, int, int, int, int]
) -> None:
    commands.on(fleet)
    plan = commands.plan("batch-size", "--demo", "--runs", demo)
    found = [plan[name] for name in ("workers", "cpus_per_worker", "gpus", "loader_processes", "threads", "at_once")]
    assert tuple(found) == expected
    assert {point["state"] for point in plan["points"]} == {"to run"}
    code, _, err = commands("clibd-sweep", "batch-size", "--demo", "--runs", demo)
    assert (code, err.endswith(DOOR)) == (2, True)  # the run is of the plan's opinion


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Runs beside a data set of the demo's specimens, of which only the facts are there, so that none are drawn."""
    from orchestrator.prepare import synthetic_insects

    runs = Folder(tmp_path_factory.mktemp("demo"))
    (runs / "synthetic-insects").write_json("dataset.json", asdict(synthetic_insects(runs).facts))
    return str(runs)


@pytest.mark.parametrize("scale", ["small", "paper"])
@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize("fleet", [here(1), here(48, 4), here(96, 8), SIXTEEN_BY_EIGHT], ids=["1", "4", "8", "16x8"])
def test_five_sweeps_are_planned_at_both_scales_and_no_batch_has_to_divide(
    commands: Commands, demo: str, fleet: Fleet, name: str, scale: str
) -> None:
    commands.on(fleet)
    plan = commands.plan(name, "--demo", "--runs", demo, "--scale", scale)
    assert plan["workers"] == max(1, max(node.gpus for node in fleet.nodes))
    for point in plan["points"]:
        assert "divide" not in (point["reason"] or "")
        assert point["state"] == "to run" or "weights" in point["reason"] or "specimens" in point["reason"]


def test_gpus_of_two_kinds_never_share_a_run_and_the_user_chooses(commands: Commands, demo: str) -> None:
    commands.on(MIXED)
    asked = ("batch-size", "--demo", "--runs", demo)
    plan = commands.plan(*asked, "--gpu-kind", "a100")
    assert [plan[name] for name in ("workers", "gpu_kind", "cpus_per_worker", "at_once")] == [4, A100, 11, 1]
    plan = commands.plan(*asked, "--workers", "12")  # two nodes, both of T4
    assert [plan[name] for name in ("workers", "gpu_kind", "one_node", "at_once")] == [12, T4, False, 1]
    code, _, err = commands("clibd-sweep", *asked, "--workers", "18")
    assert code == 2
    assert "needs 18 GPUs and 126 CPUs: 18 workers of 1 GPU (T4) and 7 CPUs" in err
    code, _, err = commands("clibd-sweep", *asked, "--gpu-kind", "H100")
    assert code == 2
    assert f"1 worker of 1 GPU (H100) and 1 CPU; the cluster has 4 nodes, the largest with 8 GPUs ({T4})" in err
    assert f"--gpu-kind '{A100}'" in err
    assert Resources(gpus_per_worker=1, gpu_kind=T4, by_kind=True).per_worker == {
        "CPU": 1,
        "GPU": 1,
        "accelerator_type:T4": 0.001,
    }


def test_what_was_asked_is_taken_and_may_span_nodes(commands: Commands, demo: str) -> None:
    commands.on(SIXTEEN_BY_EIGHT)
    asked = ("batch-size", "--demo", "--runs", demo)
    plan = commands.plan(*asked, "--workers", "12")
    assert [plan[name] for name in ("workers", "least_workers", "one_node", "at_once")] == [12, 12, False, 10]
    plan = commands.plan(*asked, "--workers", "2-8")
    assert [plan[name] for name in ("workers", "least_workers", "one_node", "at_once")] == [8, 2, False, 16]
    plan = commands.plan(*asked, "--workers", "4")
    assert [plan[name] for name in ("workers", "one_node", "at_once")] == [4, True, 32]
    assert commands.plan(*asked, "--max-concurrent", "3")["at_once"] == 3
    plan = commands.plan(*asked, "--cpu")
    assert [plan[name] for name in ("workers", "gpus", "cpus_per_worker", "at_once")] == [2, 0, 48, 16]


REMEDIES: list[tuple[Fleet, tuple[str, ...], str, tuple[str, ...]]] = [
    (here(8, 1), ("--workers", "8"), "this machine has 1 GPU", ("--workers", "1")),
    (here(2), ("--workers", "9"), "needs 9 CPUs", ("--workers", "2")),
    (here(2), ("--gpu-kind", "A100"), "this machine has 0 GPUs and 2 CPUs", ()),
    (
        TO_ZERO,
        ("--workers", "25"),
        "3 nodes with 8 GPUs (A100) and 96 CPUs (eight_a100) may be added",
        ("--workers", "24"),
    ),
    (ON_CPUS, ("--workers", "60"), "the largest with 0 GPUs and 16 CPUs", ("--workers", "50")),
    (ON_CPUS, ("--workers", "60"), "say how long to wait", ("--workers", "60", "--wait", "30m")),
    (SIXTEEN_BY_EIGHT, ("--workers", "200-300"), "needs 200 GPUs", ("--workers", "128")),
]


@pytest.mark.parametrize(("fleet", "asked", "said", "remedy"), REMEDIES)
def test_what_can_never_be_placed_is_refused_with_a_remedy_that_works(
    commands: Commands, demo: str, fleet: Fleet, asked: tuple[str, ...], said: str, remedy: tuple[str, ...]
) -> None:
    commands.on(fleet)
    sweep = ("clibd-sweep", "batch-size", "--demo", "--runs", demo)
    code, _, err = commands(*sweep, *asked)
    assert code == 2
    assert said in err
    assert " ".join(remedy[-2:]) in err
    plan = commands.plan(*sweep[1:], *asked)
    assert all(point["state"] == "cannot run" and said in point["reason"] for point in plan["points"])
    assert commands(*sweep, *remedy)[2].endswith(DOOR)


def test_where_no_node_has_a_processor_nothing_is_placed(commands: Commands, demo: str, table: str) -> None:
    commands.on(NOTHING)
    for words in (
        ("clibd-sweep", "batch-size", "--demo", "--runs", demo),
        ("clibd", "data", "prepare", table, "--to", "prepared"),
    ):
        code, _, err = commands(*words)
        assert code == 2
        assert "needs 1 CPU on one node: 1 worker of 1 CPU; the cluster has 1 node" in err
        assert "ray start --address" in err
    assert not Path("prepared").exists()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, synthetic_table: Callable[..., Any]) -> str:
    path = tmp_path_factory.mktemp("table") / "specimens.parquet"
    synthetic_table(path, 150, 3)
    return str(path)


@every_machine
def test_prepare_starts_on_every_machine(
    commands: Commands, table: str, fleet: Fleet, expected: tuple[int, ...]
) -> None:
    commands.on(fleet)
    assert commands("clibd", "data", "prepare", table, "--to", "prepared") == (2, "", f"error: {DOOR}")


@every_machine
def test_training_says_what_it_takes(
    commands: Commands, tiny_dataset: PreparedDataset, fleet: Fleet, expected: tuple[int, float, int, int, int, int]
) -> None:
    commands.on(fleet)
    workers, cpus, gpus, *_ = expected
    asked = ("clibd", "train", "--data", str(tiny_dataset.folder), "--scale", "small", "--batch-size", "7")
    code, _, err = commands(*asked, *(() if fleet.is_cluster else ("--workers", str(workers))))
    assert code == 2
    count = min(workers, 7)  # nobody trains on nothing
    assert f"on {count} {'GPU' if gpus else 'CPU'} worker{'s' * (count > 1)}, each with" in err
    assert f"{cpus:g} CPU" in err
    assert err.endswith(DOOR)


def test_training_never_takes_more_than_there_is(commands: Commands, tiny_dataset: PreparedDataset) -> None:
    commands.on(here(8, 4))
    asked = ("clibd", "train", "--data", str(tiny_dataset.folder), "--scale", "small")
    code, _, err = commands(*asked, "--workers", "8")
    assert code == 2
    assert "Take `--workers 4`" in err
    assert not Path("runs").exists()  # nothing was begun
    assert "add --workers or --address" in commands(*asked, "--gpu-kind", A100)[2]


def test_so_does_evaluation_here_and_on_a_cluster(
    commands: Commands, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    run = RunFolder(Folder(tmp_path / "run"))
    experiment = open_untrained(tiny_spec, tiny_dataset)
    run.begin(tiny_spec, {}, {})
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    run.finish("finished")
    asked = ("clibd", "evaluate", str(run.folder), "--data", str(tiny_dataset.folder))
    for fleet, most in ((here(2), 4), (here(8, 4), 4), (ON_CPUS, 50), (TO_ZERO, 24)):
        commands.on(fleet)
        code, _, err = commands(*asked, "--workers", str(most + 1))
        assert code == 2
        assert f"a run needs {most + 1} " in err
        assert commands(*asked, "--workers", str(most))[2].endswith(DOOR)
    assert commands(*asked)[2].endswith(DOOR)
    commands.on(NOTHING)
    assert "ray start" in commands(*asked)[2]


@pytest.mark.parametrize("words", [("--workers", "0"), ("--workers", "8-2"), ("--workers", "four"), ("--wait", "30")])
def test_what_means_nothing_is_said_with_what_would(commands: Commands, demo: str, words: tuple[str, str]) -> None:
    commands.on(here(2))
    code, _, err = commands("clibd-sweep", "batch-size", "--demo", "--runs", demo, "--plan", *words)
    assert code == 2
    assert f"{words[0]} {words[1]}: write " in err


def test_times_and_workers_are_read() -> None:
    assert [seconds_of(text) for text in ("90s", "30m", "2h", "1.5h")] == [90, 1800, 7200, 5400]
    assert [Workers.parse(text) for text in ("4", "2-8")] == [Workers(4, 4), Workers(2, 8)]
    with pytest.raises(UsageError, match="--cpu leaves GPUs alone"):
        Wanted.of(None, True, A100, None)


def test_runs_side_by_side_follow_the_nodes_and_each_node_stands_for_itself() -> None:
    four = resources_for(cluster(node(48, 4, A100)), Wanted())
    assert four.placement == "STRICT_PACK"
    assert runs_at_once(four, cluster(HEAD)) == 1  # it waits
    assert runs_at_once(four, cluster(node(24, 2, A100), node(24, 2, A100))) == 1
    assert runs_at_once(four, cluster(node(48, 4, A100), node(96, 8, A100), node(64, 8, T4))) == 3
    assert runs_at_once(four, cluster(node(48, 8, A100))) == 1  # the processors run out first
    two = resources_for(here(8), Wanted(workers=Workers(1, 1)))
    assert (two.threads, runs_at_once(two, here(8))) == (8, 1)  # runs on CPUs share no cores


def test_no_worker_is_without_a_part_of_the_batch_and_threads_are_taken_over() -> None:
    assert Resources(num_workers=4, gpus_per_worker=1, threads=2).for_batch(150).num_workers == 4
    few = Resources(num_workers=8, least_workers=4, threads=1).for_batch(2)
    assert (few.num_workers, few.least_workers, few.threads) == (2, 2, 4)


def test_resources_say_what_they_are() -> None:
    assert Resources(num_workers=1).describe == "1 CPU worker"
    wide = Resources(num_workers=8, least_workers=2, gpus_per_worker=1, gpu_kind=A100, cpus_per_worker=0.5)
    assert (wide.describe, wide.each) == ("2 to 8 GPU workers", "1 GPU (A100) and 0.5 CPUs")
