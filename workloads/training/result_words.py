"""What a finished run says at its end: what it reached, beside what needs no training, and what to do next."""

from collections.abc import Sequence

from workloads.predictions import PAPERS_PAIRS
from workloads.record import Measurement, RunFolder

_FIRST = (("image", "dna"), ("image", "text"), *PAPERS_PAIRS)
_SUBSETS = {"seen": "seen", "unseen": "unseen", "harmonic_mean": "harmonic mean"}
_BESIDE = {
    "random_key": "chance",
    "majority": "the commonest name",
    "kmer_nearest_neighbour": "nearest 5-mers",
    "linear_cca": "linear CCA",
}
_PARTITIONS = {"val": "validation", "test": "test"}


def result_words(run: RunFolder) -> str:
    """Its first retrieval of a table, at species, macro, with 95 % intervals; what stands beside; the next step."""
    rows = [row for row in run.measurements() if row.metric.endswith("top1") and row.level == "species"]
    rows = [row for row in rows if (row.average, row.keys, row.queries) == ("macro", "all", "all")]
    asked = {(row.query, row.key) for row in rows if row.method == "clibd"}
    pair = next((pair for pair in _FIRST if pair in asked), min(asked, default=("", "")))
    partition = next((name for name in _PARTITIONS if any(row.partition == name for row in rows)), "")
    rows = [row for row in rows if (row.query, row.key) == pair and row.partition == partition]
    what = f"{pair[0]} to {pair[1]}, species, macro, {_PARTITIONS.get(partition, '')}"
    others = [f"{name} {_numbers(rows, method)}" for method, name in _BESIDE.items() if _of(rows, method)]
    lines = [f"{what}: {_with_intervals(_of(rows, 'clibd'))}"] if rows else []
    lines += [f"beside it: {'; '.join(others)}"] if others else []
    see = f"clibd evaluate {run.folder} --data DIR, or clibd-results table 1 --run {run.folder}"
    return "\n".join([*lines, f"next: {see}"])


def _of(rows: Sequence[Measurement], method: str) -> list[Measurement]:
    found = {row.species: row for row in rows if row.method == method}
    return [found[subset] for subset in _SUBSETS if subset in found]


def _numbers(rows: Sequence[Measurement], method: str) -> str:
    return f"{', '.join(f'{100 * row.value:.1f}' for row in _of(rows, method))} %"


def _with_intervals(rows: Sequence[Measurement]) -> str:
    return ", ".join(f"{_SUBSETS[row.species]} {100 * row.value:.1f} %{_interval(row)}" for row in rows)


def _interval(row: Measurement) -> str:
    return "" if row.low is None or row.high is None else f" ({100 * row.low:.1f} to {100 * row.high:.1f})"
