"""What was found in a source, as one mapping for machines and as lines for a person; nothing is judged here."""

from collections.abc import Iterator, Mapping
from typing import Any

from workloads.data.sources.cleaning import MARKERS, NAMES
from workloads.data.sources.collect import ImportReport
from workloads.data.sources.source import Source
from workloads.printed_text import in_a_line
from workloads.spec import RANKS

_MARKS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
_WIDEST = 28  # letters of a column's name that are shown
_MODALITIES = {"image": "an image", "image_features": "image features", "barcode": "a barcode"}
_MODALITIES |= {"dna_features": "DNA features", "bin": "a BIN"}


def look_facts(source: Source, report: ImportReport, num_rejects: int, images: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was found, as plain numbers and texts.

    Args:
        source: read to its end.
        report: of its records.
        num_rejects: how many records were refused, in all.
        images: as `look_at_images` gives them.
    """
    found, reading = report.findings.as_json(), source.reading
    columns = reading.columns if reading else ()
    return {
        "source": source.name,
        "kind": reading.kind if reading else "published data set" if source.published else "specimens",
        "encoding": reading.encoding if reading else None,
        "delimiter": reading.delimiter if reading else None,
        "columns": [{"name": c.name, "taken_for": c.taken_for, "examples": list(c.examples)} for c in columns],
        "refused": {"count": num_rejects, "examples": [f"{name}: {reason}" for name, reason in report.rejects[:3]]},
        **report.survey.facts(),
        "names": _of(found, NAMES),
        "markers": {kind: facts["count"] for kind, facts in _of(found, MARKERS).items()},
        "images": dict(images),
        "findings": {kind: facts for kind, facts in found.items() if not kind.startswith((NAMES, MARKERS))},
        "notes": list(report.notes),
    }


def _of(found: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {kind.removeprefix(prefix): facts for kind, facts in found.items() if kind.startswith(prefix)}


def look_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The same as a person reads it; a line of it is a line, whatever stands in the source."""
    for line in _lines(facts):
        yield in_a_line(line)


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    form = [facts["kind"], facts["encoding"], facts["delimiter"] and f"fields between {_mark(facts['delimiter'])}"]
    yield f"{facts['source']}: {', '.join(filter(None, form))}"
    yield from _column_lines(facts["columns"])
    refused = facts["refused"]
    if refused["count"]:
        yield f"{refused['count']:,} record{'s' * (refused['count'] > 1)} refused{_such_as(refused['examples'][:1])}"
    yield from _specimen_lines(facts)
    if markers := facts["markers"]:
        yield f"Markers: {', '.join(f'{name} {count:,}' for name, count in markers.items())}"
    if names := facts["names"]:
        yield "Names, by what was done with them (--names as-given keeps them as they are written):"
        yield from (f"  {kind:<30} {own['count']:>9,}{_such_as(own['examples'])}" for kind, own in names.items())
    yield from _image_lines(facts["images"])
    if facts["findings"] or facts["notes"]:
        yield "Noticed:"
        yield from (f"  {own['count']:,} {kind}{_such_as(own['examples'])}" for kind, own in facts["findings"].items())
        yield from (f"  {note}" for note in facts["notes"])


def _column_lines(columns: list[dict[str, Any]]) -> Iterator[str]:
    """A line each, those that are taken first; those that are neither taken nor filled share one."""
    taken = [column for column in columns if column["taken_for"]]
    others = [column for column in columns if not column["taken_for"]]
    for column in (*taken, *(column for column in others if column["examples"])):
        name = column["name"] or "(no name)"
        yield f"  {name[:_WIDEST]:<{_WIDEST}} {column['taken_for'] or 'not read':<16} {', '.join(column['examples'])}"
    if empty := [column["name"] or "(no name)" for column in others if not column["examples"]]:
        yield f"  not read, and empty in the first rows: {', '.join(empty)}"


def _specimen_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    having = [f"{count:,} with {_MODALITIES[name]}" for name, count in facts["with"].items() if name in _MODALITIES]
    having.append(f"{facts['with_image_and_dna']:,} with image and DNA")
    yield f"{facts['specimens']:,} specimens: {', '.join(having)}"
    species, ranks = facts["species"], [f"{rank} {facts['with'].get(rank, 0):,}" for rank in RANKS]
    yield f"Named at the rank of {', '.join(ranks)}; {facts['without_a_name']:,} at none"
    if species["different"]:
        rare = f"{species['of_one_specimen']:,} of one specimen, {species['of_nine_or_more']:,} of nine or more"
        yield f"Species: {species['different']:,} different, {rare}"
    if own := facts["barcodes"]:
        span = f"{own['shortest']:,} to {own['longest']:,} bases, half of them up to {own['median']:,}"
        usual = f"{own['shorter_than_500']:,} shorter than 500, {own['longer_than_700']:,} longer than 700"
        yield f"Barcodes: {span}; {usual}, {own['with_uncertain_bases']:,} with uncertain bases"


def _image_lines(images: Mapping[str, Any]) -> Iterator[str]:
    if not images.get("looked_at"):
        return
    formats = ", ".join(f"{count:,} {form}" for form, count in images["formats"].items()) or "none that can be read"
    sizes = [" x ".join(map(str, images[end])) for end in ("smallest", "largest") if end in images]
    bad = images["unreadable"]
    faults = f"; {bad['count']:,} cannot be read{_such_as(bad['examples'])}" if bad["count"] else ""
    span = f", {' to '.join(sizes)} pixels" if sizes else ""
    yield f"Images ({images['looked_at']:,} {images['how']}): {formats}{span}{faults}"


def _mark(delimiter: str) -> str:
    return _MARKS.get(delimiter, repr(delimiter))


def _such_as(examples: list[str]) -> str:
    shown = [example[:160] for example in examples if example]
    return f" (such as {'; '.join(shown)})" if shown else ""
