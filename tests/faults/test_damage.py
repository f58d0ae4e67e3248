"""Damage to every kind of file of ours: `clibd verify` names it, and no number that is measured is another one."""

import random
from pathlib import Path

import pytest

from tests.faults.conftest import Seeds
from tests.faults.counts import LEDGER
from tests.faults.damages import SEALS, WITH_SEALS, damage, files_below
from tests.faults.scenes import WORDS, Scene, content
from tests.faults.stage import Stage

_NOT_SEALED = ("events.jsonl", "lease.json", "rejects.tsv", "lost_views.tsv", "source.json", "floors.parquet")
"""Of which nothing that is counted is made, or which are made anew."""
_LAST = ("dataset.json", "status.json")
"""What is written last: without it nobody can tell a folder from one that is being made, and verify says so."""


def _places(folder: Path) -> list[Path]:
    found = files_below(folder)
    return [path for path in found if path.name not in _NOT_SEALED and not path.name.endswith(".parquet.json")]


@pytest.fixture(scope="module")
def other(scenes: dict[str, Scene], stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run on the same data, evaluated and sealed."""
    words = WORDS["train"].replace("--seed 3", "--seed 4")
    scene = Scene("another run", scenes["train"].before, tuple(words.split()))
    folder = scene.set_up(tmp_path_factory.mktemp("other") / "work")
    done = scene.run(stage, folder)
    assert done["code"] == 0, done["said"]
    return next(folder.glob("runs/train/*"))


@pytest.mark.parametrize("what", ["data", "run"])
def test_verify_names_every_damaged_file(
    what: str, scenes: dict[str, Scene], other: Path, seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    before, problems = scenes["evaluate"].before, list[str]()
    top = "data" if what == "data" else str(next(iter(before.glob("runs/train/*"))).relative_to(before))
    verify = Scene("verify", before, ("clibd", "verify", top))
    folder = verify.set_up(tmp_path / "work")
    whole = verify.run(stage, folder)
    assert whole["code"] == 0, whole["said"]
    for seed in seeds(60):
        chance, folder = random.Random(seed), verify.set_up(folder)
        place = chance.choice(_places(folder / top))
        kind = damage(place, chance, other / place.relative_to(folder / top) if what == "run" else None)
        found = verify.run(stage, folder)
        LEDGER.faults[f"damage, {what}: {kind}"] += 1
        which = f"SEED={seed}, {place.relative_to(folder)}: {kind}: verify ended with {found['code']}, {found['said']}"
        with LEDGER.collected(problems):
            unfinished = place.name in _LAST and not place.is_file() and "unfinished:" in found["said"]
            of_others = "another" in kind and (
                place.name in SEALS or kind == WITH_SEALS
            )  # whose seals fit no file here
            named = found["code"] == 1 and (of_others or place.name in found["said"])
            LEDGER.keep("undetected damages", named or unfinished, which)
            LEDGER.keep("tracebacks", "Traceback" not in found["said"], which)
    assert not problems, "\n".join(problems[:8])


def test_no_number_is_measured_on_damaged_files(
    scenes: dict[str, Scene], other: Path, seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    evaluate, problems = scenes["evaluate"], list[str]()
    folder = evaluate.set_up(tmp_path / "work")
    done = evaluate.run(stage, folder)
    assert done["code"] == 0, done["said"]
    wanted = content(folder / "measured")
    run = evaluate.words[2]
    for seed in seeds(40):
        chance, folder = random.Random(seed), evaluate.set_up(folder)
        place = chance.choice(_places(folder / chance.choice(("data", run))))
        kind = damage(place, chance, other / place.name if (folder / run) in place.parents else None)
        met = evaluate.run(stage, folder)
        LEDGER.faults[f"damage, evaluated: {kind}"] += 1
        which = f"SEED={seed}, {place.relative_to(folder)}: {kind}: {met['said'][-2000:]}"
        with LEDGER.collected(problems):
            LEDGER.keep("tracebacks", "Traceback" not in met["said"], which)
            same = met["code"] != 0 or content(folder / "measured") == wanted
            LEDGER.keep("undetected damages", same, which)
    assert not problems, "\n".join(problems[:8])
