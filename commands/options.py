"""Options that several commands share, and how a command ends."""

from typing import Annotated, Literal

import typer

from workloads.errors import MissingPathError
from workloads.storage import Folder

Form = Literal["md", "csv", "json", "latex", "html"]
FormOption = Annotated[
    Form, typer.Option("--format", help="md, latex and html to read; csv and json have every number in long form.")
]
RunsOption = Annotated[str, typer.Option(help="Folder of runs, as `clibd-sweep --runs` was given.")]


def existing_runs(runs: str) -> Folder:
    """The folder of runs.

    Raises:
        MissingPathError: there are none in it.
    """
    folder = Folder(runs)
    if not folder.folders():
        raise MissingPathError(runs, "runs", "Run a sweep first, such as `clibd-sweep batch-size --demo`.")
    return folder
