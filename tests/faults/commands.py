"""The commands that faults are tried on, each from its words to its exit code; preparation without Ray."""

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence

import torch

from commands import sweep_plan
from commands.clibd import app
from results.comparison import compare
from results.dashboard.site import export, server
from results.figures import drawing
from workloads.command_line import run_command
from workloads.data.prepared.preparation import DatasetOptions, Work, prepare
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.measuring import evaluation_folder
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.storage import Folder
from workloads.training import run

IMPORTED = (evaluation_folder, run, sweep_plan, compare, drawing, export, server)
"""What the commands would import, so that no fork does it again; as would be a BERT, below."""
declare_missing_operators()
importlib.import_module("transformers.models.bert.modeling_bert")
torch.set_num_threads(1)


def _one_by_one(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
    return map(work, shards)


def _prepare() -> None:
    """`clibd data prepare`, with the shards one after another."""
    _, specimens, to = sys.argv
    run_command(
        lambda: _ignore(prepare(SpecimenTable.at(specimens), Folder(to), DatasetOptions(name="t"), _one_by_one))
    )


def _ignore(_: object) -> None:
    """What a command gives is not printed."""


COMMANDS: dict[str, Callable[[], None]] = {"clibd": lambda: run_command(app), "prepare": _prepare}
