"""Answers that a person has confirmed or corrected, and files of them."""

import io
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, Field

from workloads.identification.answers import ANSWERS, VALIDATED, epithet, table_of
from workloads.identification.database import DatabaseFacts
from workloads.identification.formats import Format, writing
from workloads.spec import RANKS, Rank

FORMS: Mapping[Format, str] = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "dwc": "text/tab-separated-values",
}
"""Formats of a download, and their media types."""
_ENDINGS = {"dwc": "dwc.tsv"}
_OF_THE_MACHINE = ("score", "runner_up", "runner_up_score", "num_keys")
"""What says nothing of a name that a person gave."""
_Name = Annotated[str, Field(max_length=300)]


class Taxon(BaseModel):
    """A taxon that a person chose."""

    rank: Rank
    order: _Name | None = None
    family: _Name | None = None
    genus: _Name | None = None
    species: _Name | None = None


class Judged(BaseModel):
    """An answer, and what a person says of it."""

    row: dict[str, Any] = Field(description="A row as it was answered.")
    right: bool = Field(False, description="Whether a person confirmed it.")
    taxon: Taxon | None = Field(None, description="What it is instead.")


class Download(BaseModel):
    """What a file is to hold."""

    format: str = Field("csv", description=f"One of {', '.join(FORMS)}.")
    answers: list[Judged]


def judged_row(judged: Judged) -> dict[str, Any]:
    """The row as it is written: where a person judged, the flag `ValidatedByHuman` says so."""
    row = {name: judged.row.get(name) for name in ANSWERS.names}
    flags = [flag for flag in row["flags"] or [] if flag != VALIDATED]
    if judged.taxon is not None:
        names: dict[str, Any] = {rank: getattr(judged.taxon, rank) for rank in RANKS}
        nothing: dict[str, Any] = dict.fromkeys(_OF_THE_MACHINE)
        row |= {**nothing, **names, "rank": judged.taxon.rank}
        row["species_epithet"] = epithet(row["species"])
    return {**row, "flags": [*flags, VALIDATED] if judged.right or judged.taxon is not None else flags}


def written(form: Format, rows: Iterable[Mapping[str, Any]], facts: DatabaseFacts) -> bytes:
    """A file of rows.

    Raises:
        ValueError: a value is of another type than its column.
    """
    try:
        table = table_of([*rows])
    except (pa.ArrowException, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    with writing(form, sink := io.BytesIO(), facts) as write:
        write(table)
    return sink.getvalue()


def file_name(form: Format) -> str:
    """As it is saved under."""
    return f"identified.{_ENDINGS.get(form, form)}"
