"""What runs, in which order, what is skipped or cannot be, and how long it takes."""

from dataclasses import replace

import pytest

from orchestrator.plan import Effort, Pace, Plan, matching, plan
from sweeps.point import Impossible, Point
from workloads.errors import UsageError
from workloads.experiments import starting_from
from workloads.record import State
from workloads.spec import ExperimentSpec
from workloads.tower_specs import RUN_PREFIX

BASE = ExperimentSpec(dataset="d", data_fingerprint="f", batch_size=4)


def points(*seeds: int) -> list[Point]:
    return [Point(row={"seed": seed}, label=f"seed {seed}", spec=replace(BASE, seed=seed)) for seed in seeds]


def started(start: Point, seed: int) -> Point:
    spec = starting_from(replace(BASE, seed=seed), f"{RUN_PREFIX}{start.id}", start.spec)
    return Point(row={"start": start.label}, label=f"from {start.label}", spec=spec)


def measured(run: Point) -> Point:
    return Point(
        row={"of": run.label}, label=f"costs of {run.label}", spec=run.spec, kind="costs", uses={"run": run.id}
    )


def reasons(todo: Plan) -> dict[str, str]:
    return {point.label: reason for point, reason in todo.blocked}


def test_plan_skips_success_and_reruns_failure_and_what_never_began() -> None:
    done, failed, cut, fresh = points(1, 2, 3, 4)
    states: dict[str, State] = {done.id: "finished", failed.id: "failed", cut.id: "missing"}
    todo = plan([done, failed, cut, fresh], states)
    assert todo.finished == (done,)
    assert todo.to_run == (failed, cut, fresh)


def test_two_points_with_one_id_run_once() -> None:
    one, other = points(1, 2)
    todo = plan([one, other, replace(one, row=None)], {})
    assert [point.id for point in todo.to_run] == [one.id, other.id]


def test_a_finished_run_that_is_refused_is_not_finished_and_the_others_go_on() -> None:
    one, other = points(1, 2)
    todo = plan([one, other, started(one, 3)], {one.id: "finished"}, {one.id: "its spec is damaged"})
    assert (todo.finished, todo.waves) == ((), ((other,),))
    assert reasons(todo)["seed 1"] == "its spec is damaged"
    assert "cannot run: its spec is damaged" in reasons(todo)["from seed 1"]


def test_a_point_begins_in_the_wave_behind_all_that_it_needs() -> None:
    first, other = points(1, 2)
    second = started(first, 3)
    third = measured(second)
    todo = plan([third, second, other, first], {})
    assert todo.waves == ((other, first), (second,), (third,))


def test_what_is_finished_elsewhere_is_not_waited_for() -> None:
    first, _ = points(1, 2)
    second = started(first, 3)
    assert plan([second], {first.id: "finished"}).waves == ((second,),)


def test_a_point_whose_start_failed_or_cannot_run_says_so_and_the_others_go_on() -> None:
    bad, broken, good = points(1, 2, 3)
    later, last = started(bad, 4), measured(started(bad, 4))
    behind = started(broken, 5)
    todo = plan([bad, broken, good, later, last, behind], {}, {broken.id: "too large"}, {bad.id: "the disk is full"})
    assert todo.waves == ((good,),)
    assert reasons(todo) == {
        "seed 1": "the disk is full",
        "seed 2": "too large",
        "from seed 1": f"its start {bad.id} failed: the disk is full",
        "costs of from seed 1": (
            f"{later.id}, which it measures, cannot run: its start {bad.id} failed: the disk is full"
        ),
        "from seed 2": f"its start {broken.id} cannot run: too large",
    }


def test_a_start_that_is_nowhere_is_named() -> None:
    first, _ = points(1, 2)
    todo = plan([started(first, 3)], {})
    assert not todo.waves
    assert f"{first.id} is neither a point of this sweep nor finished" in reasons(todo)["from seed 1"]


def test_what_a_data_set_cannot_fill_stays_in_the_plan() -> None:
    gone = Impossible({"seed": 9}, "seed 9", "d has no DNA")
    assert reasons(plan([*points(1), gone], {})) == {"seed 9": "d has no DNA"}


def test_a_filter_takes_what_is_needed_along_and_knows_fields() -> None:
    first, other = points(1, 2)
    second = started(first, 3)
    third = measured(second)
    everything = [first, other, second, third]
    assert matching(everything, "COSTS") == [first, second, third]
    assert matching(everything, "seed=2") == [other]
    with pytest.raises(UsageError, match=r"'seed 1', 'seed 2', 'from seed 1', 'costs of from seed 1'"):
        matching(everything, "seven")


def expected(training: float, kind: str = "train") -> Effort:
    return Effort(kind=kind, training=training, start=7.0, end=5.0)  # type: ignore[arg-type] # a literal


def test_before_anything_was_measured_the_time_left_is_what_was_expected() -> None:
    assert Pace({"a": expected(100.0), "b": expected(0.0, "costs")}).seconds_left == 100 + 7 + 5 + 5


def test_the_time_left_is_corrected_by_what_was_measured() -> None:
    pace = Pace({"a": expected(100.0), "b": expected(300.0), "c": expected(0.0, "costs")})
    pace.starts.append(9.0)
    pace.trained("a", 0.5, seconds=100.0)  # twice as long as expected
    assert pace.seconds_left == 2 * (50 + 300) + 9 + 3 * 5
    pace.ends["train"] = [11.0]
    pace.ended.add("a")
    assert pace.seconds_left == 2 * 300 + 9 + 11 + 5
    pace.at_once = 2
    assert pace.seconds_left == (2 * 300 + 9 + 11 + 5) / 2
    pace.ended |= {"b", "c"}
    assert pace.seconds_left == 0
