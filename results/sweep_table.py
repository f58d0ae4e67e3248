"""One table of a folder of runs, in one call."""

from results.collect import collect
from results.render import Format, render_table
from results.tables import TABLES
from workloads.storage import Folder


def render_sweep_table(runs: Folder, number: int, form: Format) -> str:
    """The regenerated table.

    Raises:
        MissingRunsError: no run of its sweep is finished.
    """
    return render_table(number, collect(runs, TABLES[number]), form)
