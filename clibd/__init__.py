"""CLIBD from a notebook: embed images and barcodes, search databases, identify specimens, and score answers.

    run = clibd.load_run("runs/train/insects-…")
    run.embed(images=["wing.jpg"], barcodes=["AACTTTATATTTT…"])
    clibd.Database("DB").identify(images=["wing.jpg"])

Nothing here computes: names, tables and models come from `workloads`, and are imported when they are asked for, so that
`import clibd` waits for nothing. Every error that a person can meet is a `ClibdError` with a remedy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from workloads.errors import ClibdError, MissingPathError, UsageError

if TYPE_CHECKING:
    from clibd.databases import Database, identify, nearest
    from clibd.evaluating import Evaluation, evaluate
    from clibd.runs import Embeddings, Run, attention_mask, load_run
    from clibd.scoring import Scores, score
    from clibd.showing import Rows
    from clibd.specimens import Specimens, partition, read_table
    from clibd.zero_shot import ZeroShot, bzsl

__all__ = [
    "ClibdError",
    "Database",
    "Embeddings",
    "Evaluation",
    "MissingPathError",
    "Rows",
    "Run",
    "Scores",
    "Specimens",
    "UsageError",
    "ZeroShot",
    "attention_mask",
    "bzsl",
    "evaluate",
    "identify",
    "load_run",
    "nearest",
    "partition",
    "read_table",
    "score",
]

_MODULES = {
    **dict.fromkeys(("Database", "identify", "nearest"), "databases"),
    **dict.fromkeys(("Evaluation", "evaluate"), "evaluating"),
    **dict.fromkeys(("Embeddings", "Run", "attention_mask", "load_run"), "runs"),
    **dict.fromkeys(("Scores", "score"), "scoring"),
    "Rows": "showing",
    **dict.fromkeys(("Specimens", "partition", "read_table"), "specimens"),
    **dict.fromkeys(("ZeroShot", "bzsl"), "zero_shot"),
}


def __getattr__(name: str) -> Any:
    """What is asked for by name, imported now."""
    if name not in _MODULES:
        raise AttributeError(f"module 'clibd' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(f"clibd.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
