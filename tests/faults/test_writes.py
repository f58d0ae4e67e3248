"""Each command, killed or met by a disk that fails at every time that it writes, and then started again."""

import random
from pathlib import Path

import pytest

from tests.faults.conftest import Seeds
from tests.faults.counts import LEDGER
from tests.faults.scenes import ERRORS, Scene, content, judge
from tests.faults.stage import KILL, Stage

_NUM_FAULTS = {"import": 26, "partition": 12, "prepare": 100, "train": 22, "evaluate": 16}
_KINDS = (KILL, *ERRORS, "full disk")


@pytest.mark.parametrize("name", _NUM_FAULTS)
def test_whatever_fails_at_any_write_the_same_command_again_gives_what_an_undisturbed_one_does(
    name: str, scenes: dict[str, Scene], seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    scene = scenes[name]
    undisturbed = scene.set_up(tmp_path / "work")
    done = scene.run(stage, undisturbed)
    wanted, calls = content(undisturbed), done["calls"]
    largest = max(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    every = max(1, calls // _NUM_FAULTS[name])
    problems = list[str]()
    for number, seed in enumerate(seeds(_NUM_FAULTS[name])):
        chance, folder = random.Random(seed), scene.set_up(tmp_path / "work")
        kind = _KINDS[0] if number * every < calls and number % 2 == 0 else chance.choice(_KINDS)
        at = 1 + (number * every + chance.randrange(every)) % calls
        fault = {"largest": chance.randint(1, largest)} if kind == "full disk" else {"fault": kind, "at": at}
        met = scene.run(stage, folder, **fault)
        if not (kind == KILL and met["code"] != -9):  # a shorter way, which did not come so far
            LEDGER.faults[f"{name}: {kind}"] += 1
        with LEDGER.collected(problems):
            judge(scene, stage, folder, wanted, met, f"SEED={seed} {fault}")
    assert not problems, "\n".join(problems[:8])


@pytest.mark.parametrize("name", ["prepare", "train"])
def test_killed_at_any_moment_a_command_goes_on(
    name: str, scenes: dict[str, Scene], seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    scene = scenes[name]
    undisturbed = scene.set_up(tmp_path / "work")
    done = scene.run(stage, undisturbed)
    wanted, problems = content(undisturbed), list[str]()
    for seed in seeds(6):
        folder, after = scene.set_up(tmp_path / "work"), random.Random(seed).uniform(0.01, done["seconds"])
        met = scene.run(stage, folder, kill_after=after)
        LEDGER.faults[f"{name}: killed at some moment"] += 1
        with LEDGER.collected(problems):
            judge(scene, stage, folder, wanted, met, f"SEED={seed}, killed after {after:.2f} s")
    assert not problems, "\n".join(problems[:8])
