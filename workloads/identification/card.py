"""What a database says of itself where it is shared: README.md, as the Hugging Face Hub reads it, and croissant.json.

Both are of the facts alone, so that they say nothing that the database does not hold. Croissant is the metadata of data
sets by MLCommons (version 1.0, http://mlcommons.org/croissant/1.0).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import yaml

from workloads.identification.database import KEY_WORDS, SPECIMENS, SPECIMENS_FILE, DatabaseFacts
from workloads.printed_text import in_a_line
from workloads.spec import RANKS
from workloads.storage import Folder

README, CROISSANT = "README.md", "croissant.json"
_SAID: Mapping[str, str] = {
    "specimen_id": "Id of the specimen",
    "bin": "BIN, BOLD's cluster of barcodes",
    "barcode": "COI barcode, cleaned",
    "trained": "Whether the run learned from specimens of its species; empty without a run",
    "image_key": "Row of keys-image.npy",
    "dna_key": "Row of keys-dna.npy",
    "source": "Data set or file that it came from",
}
_TYPES = {pa.string(): "sc:Text", pa.bool_(): "sc:Boolean", pa.int64(): "sc:Integer"}


def write_card(folder: Folder, facts: DatabaseFacts) -> None:
    """Write both beside the other files, before the facts."""
    folder.write(README, readme(facts).encode())
    folder.write_json(CROISSANT, croissant(facts, folder.digest(SPECIMENS_FILE)))


def readme(facts: DatabaseFacts) -> str:
    """The model card: a header in YAML, and words for people."""
    tags = ["biology", "insects", "species-identification", *(["dna-barcoding"] if "dna" in facts.modalities else [])]
    header = {
        "license": facts.license,
        "library_name": "clibd",
        "tags": [*tags, *(["synthetic"] if facts.synthetic else [])],
    }
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n" + "\n".join(_lines(facts)) + "\n"


def _lines(facts: DatabaseFacts) -> Iterator[str]:
    yield f"# {_text(facts.name)}"
    yield ""
    yield f"{description(facts)}."
    yield ""
    yield "    clibd identify FILES --db FOLDER"
    yield "    clibd db info FOLDER"
    yield ""
    yield "| rank | taxa | specimens without a name |"
    yield "| --- | ---: | ---: |"
    for rank in RANKS:
        yield f"| {rank} | {facts.num_taxa.get(rank, 0):,} | {facts.num_without_name.get(rank, 0):,} |"
    yield ""
    keys = ", ".join(f"{facts.num_keys[kind]:,} of {KEY_WORDS[kind]}" for kind in facts.modalities)
    yield f"- Distinct keys: {keys}"
    yield f"- Keys are made by {f'the run {_text(facts.model)}, which lies in run/' if facts.model else _KMERS}"
    calibrated = ", ".join(facts.calibrated) or f"nothing{f' ({_text(facts.stale)})' if facts.stale else ''}"
    yield f"- A confidence is given by: {calibrated}"
    yield f"- Sources: {', '.join(map(_text, facts.sources)) or 'not said'}"
    yield f"- Licence of the specimens: {_text(facts.license)}"
    yield f"- To cite: {_text(facts.cite) if facts.cite else 'the sources above'}"
    yield f"- Made on {facts.made} with clibd-ray {facts.made_with}; form {facts.version}"


_KMERS = "counts of 5-mers, without a model"


def description(facts: DatabaseFacts) -> str:
    """What it is, in a sentence without its end."""
    drawn = "synthetic, drawn " if facts.synthetic else ""
    by = " and ".join(KEY_WORDS[kind] for kind in facts.modalities)
    species = facts.num_taxa.get("species", 0)
    return f"A database of {facts.num_specimens:,} named {drawn}specimens of {species:,} species, searched by {by}"


def _text(words: str) -> str:
    """Words of a user as words, whatever Markdown would make of them."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|!" else letter for letter in in_a_line(words))


def croissant(facts: DatabaseFacts, specimens: str) -> dict[str, Any]:
    """The metadata as JSON-LD.

    Args:
        facts: of the database.
        specimens: SHA-256 of its table of specimens.
    """
    file = "specimens"
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.name,
        "description": f"{description(facts)}.",
        "license": facts.license,
        "version": "1.0.0",
        "datePublished": facts.made,
        "citeAs": facts.cite or ", ".join(facts.sources),
        "creator": [{"@type": "sc:Organization", "name": name} for name in facts.sources],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": SPECIMENS_FILE,
                "contentUrl": SPECIMENS_FILE,
                "encodingFormat": "application/x-parquet",
                "sha256": specimens,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "specimen",
                "name": "specimen",
                "description": "A row for each specimen.",
                "key": {"@id": "specimen/specimen_id"},
                "field": [_field(column, file) for column in SPECIMENS],
            }
        ],
    }


def _field(column: pa.Field, file: str) -> dict[str, Any]:
    said = _SAID.get(column.name, f"Name of its {column.name}; empty where unknown")
    return {
        "@type": "cr:Field",
        "@id": f"specimen/{column.name}",
        "name": column.name,
        "description": f"{said}.",
        "dataType": _TYPES[column.type],
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }


_TERMS = (
    "citeAs column containedIn equivalentProperty extract field fileObject fileProperty fileSet format "
    "includes isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
"""As the standard has it to the letter, as readers compare it."""
