"""How a table was taken: its form, and which of its columns holds what, for a person to see before anything is lost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from workloads.data.specimens.schema import stands_for_nothing

_EXAMPLES = 3
_LONGEST = 40  # letters of an example that are shown


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """One column of somebody's table."""

    name: str
    taken_for: str | None
    """Field of a specimen; None for a column that is not read."""
    examples: tuple[str, ...]
    """The first three different values that say something, shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a file was taken for."""

    kind: str
    """Such as `table` or `FASTA`."""
    columns: tuple[ColumnReading, ...] = ()
    encoding: str | None = None
    """Of the text as a whole; single values in another one are findings."""
    delimiter: str | None = None


def column_readings(
    header: Sequence[str], taken: Iterable[tuple[str, str]], sample: Sequence[Mapping[str, object]]
) -> tuple[ColumnReading, ...]:
    """What each column of a table is taken for, with examples.

    Args:
        header: names of the columns.
        taken: field, or what else it is read for, and column.
        sample: the first rows, by the names of the columns.
    """
    fields: dict[str, list[str]] = {}
    for field, name in taken:
        fields.setdefault(name, []).append(field)
    return tuple(
        ColumnReading(name, " and ".join(fields[name]) if name in fields else None, _examples(name, sample))
        for name in header
    )


def _examples(name: str, sample: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    values = (str(row[name]).strip() for row in sample if row.get(name) is not None)
    distinct = list(dict.fromkeys(value for value in values if not stands_for_nothing(value)))[:_EXAMPLES]
    return tuple(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..." for value in distinct)
