"""Checkpoints with a changed bit, cut, or with something behind their end: none is read, and the one before is."""

import random
from pathlib import Path

from tests.faults.conftest import Seeds
from tests.faults.counts import LEDGER
from tests.training.checkpoints import newest, same, save_all, state
from tests.training.test_damaged_checkpoints import FILES, damage


def test_no_damaged_checkpoint_is_read(seeds: Seeds, tmp_path: Path) -> None:
    save_all(tmp_path, 1, 2)
    for number, seed in enumerate(seeds(600)):
        file = tmp_path / "step-00000002" / FILES[number % 3]
        content, warnings = file.read_bytes(), list[str]()
        file.write_bytes(damage(content, random.Random(seed)))
        LEDGER.inputs["damaged checkpoint"] += 1
        found = newest(tmp_path, warnings.append)
        which = f"SEED={seed}, {file.name}: {warnings}"
        LEDGER.keep("undetected damages", same(found.tensors, state(1)) and len(warnings) == 1, which)
        file.write_bytes(content)
