"""FASTA and FASTQ, read line by line in bounded memory, with the headers of the databases that people have.

    >id                                                        bare, with the labels in a table beside it
    >id|Phylum;Class;Order;Family;Genus;Species                BarcodeBERT
    >id|Species name|COI-5P|accession                          BOLD v4
    >id|COI-5P|Country|Kingdom,…,Genus,Species,Subspecies      BOLD v5
    >accession Species name … gene, partial cds                NCBI, also DADA2's `addSpecies`
    >id root_1;Eukaryota_2759;…;Species name_7000              MIDORI2, with or without ranks before the names
    >id;tax=k:…,g:…,s:…;                                       SINTAX
    >Kingdom;Phylum;…;Genus;Species;                           DADA2: no id, so the sequences are numbered
    >Species_name|accession|SH…|reps|k__…;s__…                 UNITE, and any header with `k__…;p__…`

Lines that start with `#` or `;` are comments. Not read with dnaio: its FASTA reader ends at the first byte that is not
text, its FASTQ reader at the first bad record, and both hold sequences of any length.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from workloads.data.files.zip_members import TextFile
from workloads.data.sources.findings import Findings
from workloads.data.sources.lineages import label_of, lineage_of
from workloads.data.sources.lines import Encodings, bounded_lines
from workloads.data.sources.source import RawRecord, Refused
from workloads.errors import RecordError, SourceError

FORMS = (
    "Labels stand in the headers: `>id|Phylum;…;Species`, BOLD v4 and v5, NCBI, MIDORI2, SINTAX, DADA2, UNITE and "
    "QIIME 2's `k__…;s__…` are read; or lay a table of ids and labels beside the file, and name the folder"
)
"""What can be done where no header names a taxon."""
LONGEST_SEQUENCE = 100_000
"""In letters; the barcode region has 658 bases, a whole mitochondrion some 16,000."""
_LONGEST_HEADER = 4096  # letters that are looked at
_NCBI = re.compile(r"(?:(?:gi\|\d+\|)?(?:gb|ref|emb|dbj|lcl|tpg)\|)([^|\s]+)\|?\s*")
_BINOMIAL = re.compile(r"(?:UNVERIFIED(?:_ORG)?:|PREDICTED:|TPA:)?\s*([A-Z][a-z]+(?: x)? [a-z][a-z-]+\.?)(?=[\s,;]|$)")
_GENE = re.compile(
    r"cytochrome (?:c )?oxidase (?:subunit |polypeptide )?(?:\d|I+)\b|cytochrome b\b|\b\d+(?:\.\d)?S\b|\bITS\d?\b|"
    r"internal transcribed spacer|elongation factor|histone|NADH dehydrogenase|\bCO(?:I+|X\d|\d)\b",
    re.IGNORECASE,
)


def read_fasta(path: TextFile, findings: Findings | None = None) -> Iterator[RawRecord | Refused]:
    """Records with specimen_id, barcode, and the ranks that their headers name.

    Raises:
        SourceError: not FASTA, or it breaks off; the message names the line.
    """
    start, header, sequence = 0, b"", bytearray()
    made = _Sequences(path, findings)
    for number, line in chain(enumerate(bounded_lines(path), start=1), [(-1, b">")]):  # which ends the last record
        if line is not None and (not line or line.isspace() or line[:1] in (b"#", b";")):
            continue
        if line is not None and line[:1] == b">":
            if start:
                yield made.record(start, header, sequence)
            start, header, sequence = number, line, bytearray()
        elif not start:
            raise SourceError(path, f"line {number}", "not FASTA: no '>' at the start of the first record")
        elif len(sequence) <= LONGEST_SEQUENCE:
            sequence += bytes(LONGEST_SEQUENCE + 1) if line is None else line


def read_fastq(path: TextFile, findings: Findings | None = None) -> Iterator[RawRecord | Refused]:
    """Records of FASTQ, of four lines each; qualities are not used.

    A record that is no such four lines is refused, and reading goes on at the next line that can begin one.

    Raises:
        SourceError: not FASTQ, or it breaks off; the message names the line.
    """
    lines = ((number, line) for number, line in enumerate(bounded_lines(path), start=1) if line is None or line.strip())
    window: list[tuple[int, bytes | None]] = []
    count, lost = 0, False
    made = _Sequences(path, findings)
    for numbered in chain(lines, [(-1, b"")] * 3):
        window.append(numbered)
        if len(window) < 4:
            continue
        (number, header), (_, bases), (_, plus), (_, quality) = window
        whole = header is not None and header[:1] == b"@" and plus is not None and plus[:1] == b"+"
        if not whole or number < 0:
            if number > 0 and not lost:
                if not count:
                    raise SourceError(path, f"line {number}", "not FASTQ: no record of '@', bases, '+' and qualities")
                yield Refused(f"line {number}", "no FASTQ record of '@', bases, '+' and qualities begins here")
                lost = True
            window.pop(0)
            continue
        count, lost, window = count + 1, False, []
        if bases is None or quality is None or len(bases) != len(quality):
            yield Refused(f"line {number}", "its bases and its qualities differ in number, or are longer than 1 MiB")
            continue
        yield made.record(number, header or b"", bytearray(bases))


def read_sequences(path: TextFile, findings: Findings) -> Iterator[RawRecord | Refused]:
    """FASTQ by its ending, and FASTA otherwise."""
    return read_fastq(path, findings) if is_fastq(path.name) else read_fasta(path, findings)


def is_fastq(name: str) -> bool:
    """Whether a file is FASTQ, by its ending."""
    return name.lower().removesuffix(".gz").endswith((".fastq", ".fq"))


class _Sequences:
    """What the records of one file are made of."""

    def __init__(self, path: TextFile, findings: Findings | None) -> None:
        self._encodings = Encodings(path.name, Findings() if findings is None else findings)
        self._stem, self._count = Path(path.name.lower().removesuffix(".gz")).stem, 0

    def record(self, line: int, header: bytes, sequence: bytearray) -> RawRecord | Refused:
        self._count += 1
        where = f"line {line}"
        try:
            record = _names(self._encodings.text(header, "header", where)[1:_LONGEST_HEADER].strip())
        except RecordError as error:
            return Refused(where, str(error))
        if not record["specimen_id"] and len(record) > 1:
            record["specimen_id"] = f"{self._stem}:{self._count}"
        if len(sequence) > LONGEST_SEQUENCE:
            reason = f"{where}: a sequence of more than {LONGEST_SEQUENCE:,} letters is longer than any barcode"
            return Refused(record["specimen_id"] or where, reason)
        # What is no ASCII is no nucleotide either, and is left out as such when the barcode is cleaned.
        return {**record, "barcode": sequence.decode("ascii", errors="replace"), "where": where}


def _names(header: str) -> dict[str, str]:
    """Id, marker and ranks of a header, as far as it names them; the id is empty where it has none.

    Raises:
        RecordError: it is no line.
    """
    if "\r" in header or "\n" in header:
        raise RecordError("a line end of another kind stands within the header")
    if ";tax=" in header:
        return {"specimen_id": header.partition(";")[0].strip(), **(lineage_of(header) or {})}
    if named := _NCBI.match(header):
        return _described(named[1], header[named.end() :])
    first, *others = header.split("|")
    if others:
        return _piped(first, others)
    words = header.split(None, 1)
    if len(words) > 1 and (lineage := lineage_of(words[1])) is not None:
        return {"specimen_id": words[0], **lineage}
    if ";" in header and (lineage := lineage_of(header)) is not None:
        return {"specimen_id": "", **lineage}
    return _described(words[0] if words else "", words[1] if len(words) > 1 else "")


def _piped(first: str, others: list[str]) -> dict[str, str]:
    """A header of fields between `|`, of BOLD, UNITE or BarcodeBERT."""
    identifier = first.split()[0] if first.strip() else ""
    for place, part in enumerate(others):
        if (";" not in part and "," not in part) or (lineage := lineage_of(part)) is None:
            continue
        if "__" in part and place == len(others) - 1 and len(others) > 1:  # UNITE: the name comes before the accession
            return {"specimen_id": others[0].strip() or identifier, **lineage}
        marker = others[0].strip() if place and "," in part else ""
        identifier = identifier.removesuffix(f".{marker}") if marker else identifier
        return {"specimen_id": identifier, **({"marker": marker} if marker else {}), **lineage}
    record = {"specimen_id": identifier, **label_of(others[0])}
    return record | {"marker": others[1].strip()} if len(others) > 1 else record


def _described(identifier: str, description: str) -> dict[str, str]:
    """An accession and the words after it, as NCBI writes them."""
    record = {"specimen_id": identifier}
    if found := _BINOMIAL.match(description):
        record |= label_of(found[1])
    if gene := _GENE.search(description):
        record["marker"] = gene[0]
    return record
