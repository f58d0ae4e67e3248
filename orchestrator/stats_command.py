"""Carries out `clibd data stats`."""

from pathlib import Path

from orchestrator.progress import stderr_console
from results.data_report import Format, write_statistics
from workloads.data.prepared import PreparedDataset
from workloads.data.specimen_table import SpecimenTable
from workloads.storage import Folder


def stats_command(data: str, out: Path, form: Format) -> None:
    """Tables on stdout; tables and figures as files."""
    console = stderr_console()
    table, name = SpecimenTable.at(data), None
    if not data.endswith(".parquet"):
        dataset = PreparedDataset(Folder(data))
        table, name = dataset.specimens(), dataset.facts.name
    console.print(f"Counting {len(table):,} specimens")
    report = write_statistics(table, out, name)
    print(report.render(form))
    console.print(f"{len(report.files)} files in {out}: {', '.join(report.files)}")
