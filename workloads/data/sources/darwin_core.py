"""Darwin Core archives, as GBIF and museums export them: a folder or a zip file, of which meta.xml says what is where.

The core holds occurrences; extensions beside it hold sequences (DNADerivedData) and addresses of pictures (Multimedia),
joined by the core's id. An archive is read in place, row by row; only the joined values are held, some 0.8 GB a million
barcodes. Not read with python-dwca-reader: it unpacks the whole archive to a disk, however large, and expands what
entities an XML file defines.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from workloads.data.files.zip_members import READING_ERRORS, TextFile, open_text, zipped_texts
from workloads.data.sources.delimited import TableRow, read_described
from workloads.data.sources.findings import Findings
from workloads.data.sources.markers import fitness
from workloads.data.sources.reading import Reading
from workloads.data.sources.source import Refused, Source
from workloads.data.sources.table_files import TableFile, of_rows
from workloads.errors import SourceError

META = "meta.xml"
_LONGEST_META = 2**20
_MOST_COLUMNS = 10_000
_SPACE = "{http://rs.tdwg.org/dwc/text/}"
_CORE_ID, _SEQUENCE, _GENE = "core id", "dna_sequence", "target_gene"
_ADDRESSES = ("accessURI", "identifier")  # Audubon Core, and GBIF's multimedia
_NAMES = {_SEQUENCE: "barcode", _GENE: "marker"}


@dataclass(frozen=True, slots=True)
class _File:
    """One table of an archive."""

    path: TextFile
    kind: str
    """The last part of its row type, such as `Occurrence`."""
    delimiter: str
    names: Mapping[int, str]
    """Terms by the numbers of their columns, without their name spaces; the core's id among them."""
    constants: Mapping[str, str]
    """Values that all rows share."""
    num_headers: int

    def rows(self, findings: Findings) -> Iterator[TableRow | Refused]:
        return read_described(self.path, self.delimiter, self.names, self.num_headers, findings)


def darwin_core(path: Path, given: Mapping[str, str]) -> Source:
    """The specimens of an archive.

    Args:
        path: the folder with meta.xml in it, or the zip file.
        given: field of a specimen and the term that holds it, from `--map`.

    Raises:
        SourceError: meta.xml is none, or names what is not there; a core of something else than occurrences.
        UsageError: a term that is given does not exist.
    """
    core, extensions = _described(path)
    if core.kind != "Occurrence":
        reason = (
            f"its core is {core.kind or 'unnamed'}, not Occurrence; export the occurrences, or read {core.path.name}"
        )
        raise SourceError(path, META, reason)
    root = path if path.is_dir() else path.parent
    source = Source(name=str(path), records=(), root=str(root.absolute()))
    source.notes.append(f"{path}: a Darwin Core archive of {', '.join(file.path.name for file in (core, *extensions))}")
    table = _joined(core, extensions, given, source.findings)
    source.records, source.reading = table.records, table.reading
    source.notes += table.notes
    return source


def _joined(core: _File, extensions: list[_File], given: Mapping[str, str], findings: Findings) -> TableFile:
    """The rows of the core with what the extensions have of them: each with that of its sequences that is COI."""
    sequences, addresses, joined = dict[str, list[tuple[str, str]]](), dict[str, str](), set[str]()
    for extension in extensions:
        terms = set(extension.names.values())
        if _SEQUENCE in terms:
            joined |= {_SEQUENCE, _GENE}
            for key, row in _keyed(extension, findings):
                sequences.setdefault(key, []).append((row[_SEQUENCE], row.get(_GENE, "")))
        elif address := next((term for term in _ADDRESSES if term in terms), None):
            joined.add("image_urls")
            for key, row in _keyed(extension, findings):
                addresses[key] = f"{addresses[key]} {row[address]}" if key in addresses else row[address]
    known = [name for name in (*core.names.values(), *core.constants) if name != _CORE_ID]
    header = list(dict.fromkeys([_CORE_ID, *known, *(_NAMES.get(name, name) for name in sorted(joined))]))
    if not {"occurrenceID", "catalogNumber", "materialSampleID"} & set(known):
        given = {"specimen_id": _CORE_ID, **given}

    def rows() -> Iterator[TableRow | Refused]:
        for row in core.rows(findings):
            if isinstance(row, Refused):
                yield row
                continue
            where, values = row
            key = values.get(_CORE_ID, "")
            whole = {**dict.fromkeys(header, ""), **core.constants, **values}
            whole |= {"image_urls": addresses.get(key, "")} if "image_urls" in header else {}
            if _SEQUENCE in joined:
                whole |= _best(sequences.get(key, ()), key, findings)
            yield where, whole

    return of_rows(core.path, header, rows(), given, Reading(kind="Darwin Core archive"))


def _best(sequences: Sequence[tuple[str, str]], key: str, findings: Findings) -> dict[str, str]:
    """Barcode and marker of a specimen: of its sequences that of COI-5P, or what may be it; then the longest."""
    if len(sequences) > 1:
        findings.add("further sequences of a specimen in the archive, left out", key, len(sequences) - 1)
    best = max(sequences, key=lambda own: (fitness(own[1]), len(own[0])), default=("", ""))
    return {"barcode": best[0], "marker": best[1]}


def _keyed(file: _File, findings: Findings) -> Iterator[tuple[str, dict[str, str]]]:
    for row in file.rows(findings):
        if isinstance(row, Refused):
            findings.add(f"rows of {file.path.name} cannot be read", f"{row.identifier}: {row.reason}")
        else:
            yield row[1][_CORE_ID], row[1]


def _described(path: Path) -> tuple[_File, list[_File]]:
    """Core and extensions, as meta.xml says."""
    members: dict[str, TextFile] = {}
    if path.is_dir():
        members = {file.name: file for file in path.iterdir() if file.is_file()}
    else:
        members = {text.at.rpartition("/")[2]: text for text in zipped_texts(path, META)}
    if META not in members:
        raise SourceError(path, "", f"no Darwin Core archive: it has no {META}")
    try:
        with open_text(members[META]) as stream:
            text = stream.read(_LONGEST_META + 1)
    except READING_ERRORS as error:
        raise SourceError(path, META, f"not readable ({' '.join(str(error).split())})") from error
    if len(text) > _LONGEST_META:
        raise SourceError(path, META, "it is longer than 1 MiB")
    try:
        tree = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise SourceError(path, META, f"not readable as XML ({' '.join(str(error).split())})") from error
    core = tree.find(f"{_SPACE}core")
    if core is None:
        raise SourceError(path, META, "it names no core")
    extensions = [_file(path, part, members, "coreid") for part in tree.findall(f"{_SPACE}extension")]
    return _file(path, core, members, "id"), extensions


def _file(path: Path, part: Element, members: Mapping[str, TextFile], id_tag: str) -> _File:
    kind = (part.get("rowType") or "").rpartition("/")[2]
    place = part.find(f"{_SPACE}files/{_SPACE}location")
    name = (place.text or "").strip() if place is not None else ""
    if name not in members:
        raise SourceError(path, META, f"it names the file {name[:80]!r} of {kind}, which is not there")
    delimiter = (part.get("fieldsTerminatedBy") or ",").replace("\\t", "\t")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\n\r':
        raise SourceError(path, META, f"{name}: fields end in {delimiter[:20]!r}, and one character is read")
    names, constants = dict[int, str](), dict[str, str]()
    for field in part.findall(f"{_SPACE}field"):
        term = (field.get("term") or "").rpartition("/")[2].rpartition("#")[2]
        if (index := _number(path, field.get("index"))) is not None:
            names[index] = term
        elif term:
            constants[term] = field.get("default") or ""
    identifier = part.find(f"{_SPACE}{id_tag}")
    if identifier is not None and (index := _number(path, identifier.get("index"))) is not None:
        names[index] = _CORE_ID
    elif id_tag == "coreid":
        raise SourceError(path, META, f"{name}: no <coreid> says which column joins it to the core")
    return _File(members[name], kind, delimiter, names, constants, _number(path, part.get("ignoreHeaderLines")) or 0)


def _number(path: Path, text: str | None) -> int | None:
    if text is None or not text.strip():
        return None
    if not text.strip().isascii() or not text.strip().isdigit() or len(text) > 6 or int(text) > _MOST_COLUMNS:
        raise SourceError(path, META, f"{text[:20]!r} is no number of a column or of lines")
    return int(text)
