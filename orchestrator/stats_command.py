"""Carries out `clibd data stats`."""

from orchestrator.progress import stderr_console
from results.data_report import Format, StatisticsReport, write_statistics
from workloads.data.prepared import PreparedDataset
from workloads.data.specimen_table import SpecimenTable
from workloads.data.statistics import count_columns, count_taxa
from workloads.spec import RANKS
from workloads.storage import Folder


def stats_command(data: str, out: str, form: Format) -> None:
    """Tables on stdout; tables and figures as files."""
    console = stderr_console()
    report = _of_table(data, out) if data.endswith(".parquet") else _of_prepared(data, out)
    print(report.render(form))
    console.print(f"{len(report.files)} files in {out}: {', '.join(report.files)}")


def _of_table(data: str, out: str) -> StatisticsReport:
    table = SpecimenTable.at(data)
    stderr_console().print(f"Counting {len(table):,} specimens")
    facts, counts = table.facts, count_taxa(table)
    return write_statistics(
        counts, out, facts.source, synthetic=facts.synthetic_seed is not None, partition=facts.partition
    )


def _of_prepared(data: str, out: str) -> StatisticsReport:
    """Of what is in the shards: the data set's own specimen table also has those that preparation refused."""
    dataset = PreparedDataset(Folder(data))
    facts = dataset.facts
    stderr_console().print(f"Counting {sum(facts.num_specimens.values()):,} specimens")
    labels = dataset.load([split for split, count in facts.num_specimens.items() if count], RANKS)
    counts = count_columns(labels.column, facts.splits)
    return write_statistics(counts, out, facts.name, synthetic=facts.synthetic, partition=facts.partition)
