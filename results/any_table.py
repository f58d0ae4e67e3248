"""Any regenerated table by its number, whatever it is made from: a sweep's runs, or evaluated folders."""

from collections.abc import Sequence

from results.model_rows import render_model_table
from results.model_tables import MODEL_TABLES
from results.open_set_table import NUMBERS, render_open_set_table
from results.render import Format
from results.sweep_table import render_sweep_table
from results.tables import TABLES
from workloads.errors import MissingPathError, UsageError
from workloads.storage import Folder

_ELSEWHERE = {
    4: "`clibd bzsl INSECT` prints table 4",
    **dict.fromkeys((5, 6, 7), "`clibd data stats` makes tables 5 to 7"),
}


def render_any_table(number: int, runs: Folder | None, folders: Sequence[Folder], form: Format) -> str:
    """One table, as text.

    Args:
        number: in the paper.
        runs: folder of the sweeps' runs; None where single folders are named.
        folders: evaluated ones.
        form: Markdown, or long form with a record for each number.

    Raises:
        UsageError: there is no such table, or it is made from the other kind of thing.
        MissingPathError: nothing is there.
        MissingRunsError: no run of the sweep is finished.
    """
    if number in TABLES:
        if folders:
            raise UsageError(f"table {number} is made from a sweep's runs; name their folder with --runs")
        if runs is None or not runs.folders():
            raise MissingPathError(str(runs), "runs", "Run a sweep first, such as `clibd-sweep batch-size --demo`.")
        return render_sweep_table(runs, number, form)
    if number not in (*MODEL_TABLES, *NUMBERS):
        raise UsageError(_ELSEWHERE.get(number, f"the paper has no table {number} of results"))
    if not folders:
        raise UsageError(f"table {number} is made from evaluated folders; name them with --run")
    if number in MODEL_TABLES:
        return render_model_table(number, folders, form)
    if len(folders) > 1:
        raise UsageError(f"table {number} is of one model; name one folder with --run")
    return render_open_set_table(number, folders[0], form)
