"""Answers in the forms that people read on: one writer a format, each fed some answers at a time.

    csv, tsv, xlsx   the columns of `ANSWERS`, several flags between `; `; formulas are text
    json             an array of objects, null fields left out
    parquet          the table itself
    dwc              terms of Darwin Core, tab between them; the score stands in identificationRemarks
    bcdm             BOLD's column names (BCDM), tab between them
    blast6           the twelve columns of `-outfmt 6`, without a header, for barcodes whose nearest one scores above 0

Percent identity, mismatches, gaps and places of blast6 are those of the alignment; bits and expected numbers are
blastn's for match 1 and change -2, over the keys' number times the length of the nearest one.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import IO, Any, Literal, get_args

import pyarrow as pa

from workloads.delimited_out import delimited
from workloads.errors import UsageError
from workloads.identification.alignment import Alignment
from workloads.identification.answers import ANSWERS, VALIDATED
from workloads.identification.database import DatabaseFacts
from workloads.spec import RANKS
from workloads.storage import parquet_into

Format = Literal["csv", "tsv", "json", "parquet", "xlsx", "dwc", "bcdm", "blast6"]
FORMATS: tuple[Format, ...] = get_args(Format)
BINARY = ("parquet", "xlsx")
"""Formats that are no text, and are not printed on a terminal."""
_ENDINGS: Mapping[str, Format] = {f".{name}": name for name in FORMATS} | {".b6": "blast6", ".txt": "tsv"}
Write = Callable[[pa.Table], None]
"""Is given tables of `WITH_ALIGNMENT`, one after another."""
_MOST_ROWS = 1_048_576
"""Of a sheet of Excel, its header included."""
_DWC = (
    *("occurrenceID", "identificationID", "scientificName", "taxonRank", "kingdom", "phylum", "class", "order"),
    *("family", "genus", "specificEpithet", "taxonConceptID", "identifiedBy", "dateIdentified"),
    *("identificationReferences", "identificationRemarks", "identificationVerificationStatus"),
)
_BCDM = (
    *("sampleid", "identification", "identification_rank", "identification_method", "identified_by", "bin_uri"),
    *("kingdom", "phylum", "class", "order", "family", "genus", "species", "nearest_processid", "similarity"),
    *("identity", "score", "notes"),
)


def format_of(wanted: str | None, out: str | None) -> Format:
    """The format that was asked for, else that of the file's ending, else CSV.

    Raises:
        UsageError: there is no such format.
    """
    if wanted is None:
        ending = "" if out is None else "." + out.lower().rpartition(".")[2]
        return _ENDINGS.get(ending, "csv")
    found = next((form for form in FORMATS if form == wanted), None)
    if found is None:
        raise UsageError(f"--format {wanted}: it is one of {', '.join(FORMATS)}")
    return found


def writing(form: Format, sink: IO[bytes], facts: DatabaseFacts) -> AbstractContextManager[Write]:
    """A writer of answers into an open file; what it writes is whole when the block ends well.

    Args:
        form: the format.
        sink: open for writing bytes.
        facts: of the database, which answers refer to.
    """
    binary = {"parquet": _parquet, "xlsx": _xlsx}
    return binary[form](sink) if form in binary else _text(form, sink, facts)


@contextmanager
def _text(form: Format, sink: IO[bytes], facts: DatabaseFacts) -> Iterator[Write]:
    """CSV and its kin, and JSON."""
    mark = "," if form == "csv" else "\t"
    headers: Mapping[str, Sequence[str]] = {"csv": ANSWERS.names, "tsv": ANSWERS.names, "dwc": _DWC, "bcdm": _BCDM}
    count = 0

    def put(text: str) -> None:
        sink.write(text.encode())

    def write(answers: pa.Table) -> None:
        nonlocal count
        if form == "json":
            for row in answers.to_pylist():
                put((",\n" if count else "") + json.dumps(_said(row), ensure_ascii=False))
                count += 1
        else:
            put(delimited(_lines(form, answers, facts), mark))
        sink.flush()

    put("[\n" if form == "json" else delimited([headers[form]], mark) if form in headers else "")
    yield write
    if form == "json":
        put("\n]\n" if count else "]\n")


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _short(row[name]) for name in ANSWERS.names if row[name] is not None}


def _short(value: Any) -> Any:
    """Six decimals of a number, as more of them say nothing."""
    return round(value, 6) if isinstance(value, float) else value


def _lines(form: Format, answers: pa.Table, facts: DatabaseFacts) -> Iterator[Sequence[Any]]:
    rows = answers.to_pylist()
    if form == "blast6":
        yield from _blast6(rows, facts)
    elif form == "dwc":
        yield from (_darwin_core(row, facts) for row in rows)
    elif form == "bcdm":
        yield from (_bcdm(row, facts) for row in rows)
    else:
        yield from (_flat(row) for row in rows)


def _flat(row: Mapping[str, Any]) -> list[Any]:
    """The fields of a row, each one value."""
    return ["; ".join(value) if isinstance(value := row[name], list) else _short(value) for name in ANSWERS.names]


def _deepest(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The name of a row and its rank."""
    rank = row["rank"] or next((rank for rank in reversed(RANKS) if row[rank]), None)
    return (row[rank], rank) if rank else (None, None)


def _remarks(row: Mapping[str, Any]) -> str:
    """Score, evidence and flags in words."""
    shares = (("score", "confidence"), ("similarity", "similarity"), ("identity", "identity"))
    said = [f"{word} {row[name]:.4g}" for name, word in shares if row[name] is not None]
    said += [f"evidence {row['evidence']}"] if row["evidence"] else []
    said += ["synthetic data"] if row["synthetic"] else []
    return "; ".join([*said, *row["flags"], *([f"error: {row['error']}"] if row["error"] else [])])


def _darwin_core(row: Mapping[str, Any], facts: DatabaseFacts) -> list[Any]:
    name, rank = _deepest(row)
    by = None if VALIDATED in row["flags"] else f"clibd-ray {facts.made_with}".strip()
    lineage = [row[each] for each in ("kingdom", "phylum", "class", "order", "family", "genus", "species_epithet")]
    where = f"{facts.name}: {row['nearest_id']}" if row["nearest_id"] else facts.name
    status = (VALIDATED if VALIDATED in row["flags"] else "PredictedByMachine") if name else None
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    identification = f"{row['specimen_id']}:{rank}" if rank else row["specimen_id"]
    fields = [row["specimen_id"], identification, name, rank, *lineage, row["bin"], by, today, where]
    return [*fields, _remarks(row), status]


def _bcdm(row: Mapping[str, Any], facts: DatabaseFacts) -> list[Any]:
    name, rank = _deepest(row)
    method = {"dna": "BARCODE", "image": "IMAGE", "both": "BARCODE AND IMAGE"}.get(row["evidence"] or "")
    taxa = [row[each] for each in ("kingdom", "phylum", "class", *RANKS)]
    first = [row["specimen_id"], name, rank, method, f"clibd-ray, {facts.name}", row["bin"], *taxa]
    return [*first, row["nearest_id"], *map(_short, (row["similarity"], row["identity"], row["score"])), _remarks(row)]


def _blast6(rows: Sequence[Mapping[str, Any]], facts: DatabaseFacts) -> Iterator[Sequence[Any]]:
    for row in rows:
        if row["alignment"] is None or (alignment := Alignment(**row["alignment"])).bits <= 0:
            continue
        expected = alignment.expected(facts.num_keys.get("dna", 1) * alignment.key_end)
        counts = [alignment.length, alignment.num_different, alignment.num_openings]
        places = [alignment.query_start, alignment.query_end, alignment.key_start, alignment.key_end]
        shares = [round(100 * alignment.identity, 3), *counts, *places, f"{expected:.3g}", round(alignment.bits, 1)]
        yield [_word(row["specimen_id"]), _word(row["nearest_id"]), *shares]


def _word(identifier: str) -> str:
    """An id without blanks, at which readers of BLAST's tables would cut it."""
    return "_".join(identifier.split())


@contextmanager
def _parquet(sink: IO[bytes]) -> Iterator[Write]:
    with parquet_into(pa.PythonFile(sink, mode="w"), ANSWERS) as writer:
        yield lambda answers: writer.write_table(answers.select(ANSWERS.names))


@contextmanager
def _xlsx(sink: IO[bytes]) -> Iterator[Write]:
    """Sheets of a million rows each, written row by row to a temporary file, so that memory does not grow."""
    import xlsxwriter  # a tenth of a second, which no other format waits for

    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(sink, {**options, "strings_to_numbers": False, "nan_inf_to_errors": True})
    sheet: Any = None
    line = _MOST_ROWS

    def put(values: Sequence[Any]) -> None:
        nonlocal line
        for column, value in enumerate(values):
            if isinstance(value, str):
                sheet.write_string(line, column, value[:32_767])
            elif value is not None and not (isinstance(value, float) and math.isnan(value)):
                sheet.write(line, column, value)
        line += 1

    def write(answers: pa.Table) -> None:
        nonlocal sheet, line
        for row in answers.to_pylist():
            if line >= _MOST_ROWS:
                sheet, line = book.add_worksheet(), 0
                put(ANSWERS.names)
            put(_flat(row))

    yield write
    if sheet is None:
        sheet, line = book.add_worksheet(), 0
        put(ANSWERS.names)
    book.close()
