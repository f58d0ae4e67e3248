"""What runs, what is skipped, and how long it takes."""

from dataclasses import replace

import pytest

from orchestrator.plan import Pace, plan
from orchestrator.resources import Resources, choose_resources, concurrent_runs
from sweeps.point import Point
from workloads.errors import DriftError
from workloads.record import State
from workloads.spec import ExperimentSpec

BASE = ExperimentSpec(dataset="d", data_fingerprint="f", batch_size=4)


def points(*seeds: int) -> list[Point]:
    return [Point({"seed": seed}, f"seed {seed}", replace(BASE, seed=seed)) for seed in seeds]


def test_plan_skips_success_and_reruns_failure_and_what_never_began() -> None:
    done, failed, cut, fresh = points(1, 2, 3, 4)
    states: dict[str, State] = {done.spec.id: "finished", failed.spec.id: "failed", cut.spec.id: "missing"}
    todo = plan([done, failed, cut, fresh], states, {done.spec.id: done.spec})
    assert todo.finished == (done,)
    assert todo.to_run == (failed, cut, fresh)


def test_two_points_with_one_spec_run_once() -> None:
    one, other = points(1, 2)
    todo = plan([one, other, one], {}, {})
    assert todo.to_run == (one, other)


def test_a_finished_run_of_another_experiment_is_reported_with_the_field() -> None:
    [point] = points(1)
    stored = replace(point.spec, weight_decay=0.5)
    with pytest.raises(DriftError, match=r"weight_decay = 0\.5, this sweep asks for 0\.01"):
        plan([point], {point.spec.id: "finished"}, {point.spec.id: stored})


def test_nothing_is_known_about_the_time_before_anything_was_measured() -> None:
    assert Pace({"a": 100.0}, {"a": 0.0}).seconds_left(num_open=1) is None


def test_the_time_left_is_work_over_rate_and_what_runs_take_beside() -> None:
    pace = Pace({"a": 100.0, "b": 300.0}, {"a": 100.0, "b": 20.0}, 60.0, 120.0, overhead=7.0)
    # 280 specimens at two a second, and one run that has still to begin.
    assert pace.seconds_left(num_open=1) == 140 + 7
    assert pace.seconds_left(num_open=1, at_once=2) == (140 + 7) / 2
    pace.done["b"] = 300.0
    assert pace.seconds_left(num_open=0) == 0


GPU = Resources(num_workers=2, gpus_per_worker=1, cpus_per_worker=4)


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "expected"),
    [
        (GPU, 64, 8, 4),
        (GPU, 16, 8, 2),  # the processors run out first
        (GPU, 64, 3, 1),  # three GPUs hold one run of two
        (GPU, 0, 0, 1),  # a cluster scaled to zero grows for one
        (Resources(num_workers=2), 64, 0, 1),  # runs on CPUs go one by one
    ],
)
def test_as_many_runs_go_side_by_side_as_fit_the_cluster(
    resources: Resources, cpus: float, gpus: float, expected: int
) -> None:
    assert concurrent_runs(resources, cluster_cpus=cpus, cluster_gpus=gpus) == expected


@pytest.mark.parametrize(("num_cpus", "workers", "threads"), [(8, None, 4), (2, 3, 1)])
def test_a_laptop_gets_two_workers_that_share_its_cores(num_cpus: int, workers: int | None, threads: int) -> None:
    found = choose_resources(num_cpus=num_cpus, num_gpus=0, remote=False, workers=workers, cpu_only=False)
    assert found == Resources(num_workers=workers or 2, threads=threads)


@pytest.mark.parametrize(
    ("num_gpus", "remote", "workers", "expected"), [(0, True, None, 4), (2, False, None, 2), (8, True, 1, 1)]
)
def test_a_cluster_gets_the_papers_four_gpus_and_a_machine_its_own(
    num_gpus: int, remote: bool, workers: int | None, expected: int
) -> None:
    found = choose_resources(num_cpus=64, num_gpus=num_gpus, remote=remote, workers=workers, cpu_only=False)
    assert (found.num_workers, found.gpus_per_worker) == (expected, 1)
    spared = choose_resources(num_cpus=64, num_gpus=num_gpus, remote=remote, workers=workers, cpu_only=True)
    assert spared.gpus_per_worker == 0


def test_resources_say_what_they_are() -> None:
    assert Resources(num_workers=1).describe == "1 CPU worker"
    assert GPU.describe == "2 GPU workers"
