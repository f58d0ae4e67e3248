"""Runs whose machines come late, go away, stand still and come back, or lack what the run needs."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.nodes import PATIENCE, Nodes, processes_of, title, until
from workloads.attempts import Attempt, Attempts
from workloads.lease import read_lease
from workloads.record import RunFolder, find_runs
from workloads.storage import Folder

TRAIN = ("clibd", "train", "image-dna", "--scale=small", "--batch-size=20", "--cpu", "--wait=30m")
EPOCHS = 30
WEIGHTS = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
SAME = ("model.safetensors", "measurements.parquet", "predictions.parquet", "trained_on.parquet")


def run_in(runs: str) -> RunFolder:
    """The one run there, once its training has begun."""
    found = until(lambda: find_runs(Folder(runs), "train"), "a run")
    return found[0]  # type: ignore[no-any-return] # what `until` gives


def trained(run: RunFolder) -> int:
    """Epochs so far."""
    return sum(event["event"] == "epoch" for event in run.events())


def trains_on(run: RunFolder, program: "subprocess.Popen[str]") -> None:
    """Wait for two more epochs."""
    before = trained(run)
    until(lambda: trained(run) >= before + 2, "two epochs", program)


def waits(run: RunFolder) -> None:
    """Wait until its command has found no room, and says so to everybody."""

    def waiting() -> bool:
        found = read_lease(run.folder)
        return found is not None and found.holder.facts.get("state") == "waiting"

    until(waiting, "a run that waits")


def ended(program: "subprocess.Popen[str]") -> str:
    """What a program says on stderr until it ends well."""
    _, said = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, said
    return said


def told(attempts: Sequence[Attempt]) -> list[tuple[str | None, int]]:
    return [(attempt.outcome, attempt.workers) for attempt in attempts]


def content(run: RunFolder) -> dict[str, bytes]:
    return {name: run.folder.read(name) for name in SAME}


def test_a_run_waits_for_machines_outlives_one_and_a_stopped_worker_and_leaves_the_same_bytes(
    nodes: Nodes, data: str, runs: str
) -> None:
    nodes.add(num_cpus=0)
    plain, hit = f"{runs}/plain", f"{runs}/hit"
    command = (*TRAIN, "--workers=2", f"--epochs={EPOCHS}", f"--data={data}")
    program = nodes.start(*command, f"--runs={plain}")
    waits(run_in(plain))
    nodes.add(num_cpus=1)
    lost = nodes.add(num_cpus=1)
    assert "waiting for 2 CPUs" in ended(program)

    program = nodes.start(*command, f"--runs={hit}")
    run = run_in(hit)
    trains_on(run, program)
    nodes.kill(lost)
    until(lambda: Attempts(run.folder).all()[0].outcome, "the end of the first group", program)
    nodes.add(num_cpus=1)
    trains_on(run, program)
    stopped = [process for process in processes_of(nodes.folder) if "RayTrainWorker" in title(process)][-1]
    stopped.send_signal(signal.SIGSTOP)
    ended(program)

    attempts = Attempts(run.folder).all()
    assert told(attempts) == [("lost", 2), ("lost", 2), ("finished", 2)], attempts
    assert all(attempt.traceback and attempt.reason for attempt in attempts[:2])
    assert not stopped.is_running()
    assert [event["epoch"] for event in run.events() if event["event"] == "epoch"] == list(range(EPOCHS))
    assert content(run) == content(run_in(plain))
    assert not (run.folder / "checkpoints").folders()
    assert "ray" not in run.folder.folders()


@pytest.mark.soak
def test_machines_that_come_after_four_minutes_are_waited_for(nodes: Nodes, data: str, runs: str) -> None:
    nodes.add(num_cpus=0)
    program = nodes.start(*TRAIN, "--workers=2", "--epochs=2", f"--data={data}", f"--runs={runs}")
    run = run_in(runs)
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(timeout=240)
    nodes.add(num_cpus=2)
    ended(program)
    assert told(Attempts(run.folder).all()) == [("finished", 2)]


def test_two_workers_become_one_when_a_machine_is_drained_and_two_again(nodes: Nodes, data: str, runs: str) -> None:
    nodes.add(num_cpus=0)
    nodes.add(num_cpus=1)
    leaving = nodes.add(num_cpus=1)
    program = nodes.start(*TRAIN, "--workers=1-2", "--epochs=60", f"--data={data}", f"--runs={runs}")
    run = run_in(runs)
    trains_on(run, program)
    drain(nodes, leaving.node_id)
    until(lambda: len(Attempts(run.folder).numbers()) == 2, "a second group", program)
    nodes.kill(leaving)
    trains_on(run, program)
    nodes.add(num_cpus=1)
    ended(program)

    assert told(Attempts(run.folder).all()) == [("preempted", 2), ("grown", 1), ("finished", 2)]
    assert [event["epoch"] for event in run.events() if event["event"] == "epoch"] == list(range(60))


def drain(nodes: Nodes, node: str) -> None:
    """What a cloud's notice comes to in Ray: the node will be taken away in two minutes."""
    ray = str(Path(sys.executable).with_name("ray"))
    words = ["--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken back"]
    subprocess.run(
        [ray, "drain-node", "--address", nodes.address, *words, "--deadline-remaining-seconds", "120"],
        check=True,
        capture_output=True,
    )


def test_what_machines_lack_that_come_late_is_named_before_anything_trains(
    nodes: Nodes, data: str, runs: str, tmp_path: Path
) -> None:
    weights = tmp_path / "weights" / WEIGHTS
    weights.mkdir(parents=True)
    (weights / "model.safetensors").touch()  # nobody gets as far as to look into it
    nodes.add(num_cpus=0, env={"CLIBD_CACHE": str(tmp_path)})
    command = (*TRAIN, "--workers=3", "--set=image.weights=timm", f"--data={data}", f"--runs={runs}")
    program = nodes.start(*command, env={"CLIBD_CACHE": str(tmp_path)})
    run = run_in(runs)
    for cache in (tmp_path, tmp_path / "other", "/proc/nowhere"):
        nodes.add(num_cpus=1, env={"CLIBD_CACHE": str(cache)})
    _, said = program.communicate(timeout=PATIENCE)
    assert program.returncode == 1, said
    [attempt] = Attempts(run.folder).all()
    assert told([attempt]) == [("failed", 3)], attempt
    assert "Traceback" not in said
    for what in (said, run.status()["reason"], attempt.reason):
        assert f"{attempt.hosts[1]}: the cache /proc/nowhere cannot be written" in what
        assert f"{attempt.hosts[1]}: the weights '{WEIGHTS}' are not on this machine" in what
    assert (run.state(), trained(run)) == ("failed", 0)
