"""Crafted files of every format: records, a refusal, or a sentence; in 5 s, in a gigabyte, and never a dead process."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import Seeds
from tests.faults.counts import LEDGER
from tests.faults.performing import LONGEST
from tests.faults.readers import APART, READERS
from tests.faults.stage import DiedError, Stage

_MEMORY = 2**30
_RAREST = 1 / 400
"""Share of the inputs that the rarer outcome has at least: a text of which one line is refused is mostly read."""


@pytest.mark.parametrize("reader", READERS)
def test_what_is_crafted_from_is_read(reader: str, stage: Stage, tmp_path: Path) -> None:
    found = stage.ask(do="read", reader=reader, seed=None, folder=str(tmp_path / "input"))
    assert (found["outcome"], found["said"]) == ("records", "")


@pytest.mark.parametrize("reader", READERS)
def test_any_file_gives_records_or_a_sentence(reader: str, seeds: Seeds, stage: Stage, tmp_path: Path) -> None:
    outcomes, problems = Counter[str](), list[str]()
    for seed in seeds(READERS[reader][0]):
        LEDGER.inputs[reader] += 1
        which = f"{reader}, SEED={seed}"
        try:
            found = stage.ask(do="read", reader=reader, seed=seed, folder=str(tmp_path / "input"))
        except DiedError as error:
            with LEDGER.collected(problems):
                broken = "hangs" if "hangs" in str(error) else "tracebacks"
                LEDGER.keep(broken, reader in APART, f"{which}: {error}")
            continue
        outcomes[found["outcome"]] += 1
        with LEDGER.collected(problems):
            told = found["outcome"] != "traceback" and "\n" not in found["said"]
            LEDGER.keep("tracebacks", told, f"{which}: {found['said']}")
            LEDGER.keep("hangs", found["seconds"] < LONGEST or reader in APART, f"{which}: {found['seconds']:.1f} s")
            LEDGER.keep("leaks", found["grown"] < _MEMORY or reader in APART, f"{which}: {found['grown']:,} bytes")
    assert not problems, "\n".join(problems[:8])
    if "SEED" not in os.environ:  # which may stand for one that failed
        rarer = min(outcomes["records"], outcomes["sentence"])
        assert rarer >= _RAREST * outcomes.total(), f"some are harmless and some are not: {dict(outcomes)}"
