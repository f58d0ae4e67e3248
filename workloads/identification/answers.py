"""What `clibd identify` answers: one table for every format, with the columns of pybioclip first and under its names.

A row is a specimen at the deepest rank that holds; of `--all-ranks` a rank of a specimen, of `--k` a neighbour of it.
Databases hold names from the order down, so kingdom, phylum and class are empty, and so are common names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from workloads.spec import RANKS

ANSWERS = pa.schema(
    [
        ("file_name", pa.string()),  # the file, and the line or member, that the specimen came from
        ("specimen_id", pa.string()),
        ("rank", pa.string()),  # of the name; null where no rank holds, and in the rows of neighbours
        ("kingdom", pa.string()),
        ("phylum", pa.string()),
        ("class", pa.string()),
        *[(rank, pa.string()) for rank in RANKS[:-1]],
        ("species_epithet", pa.string()),
        ("species", pa.string()),
        ("common_name", pa.string()),
        ("score", pa.float64()),  # the confidence of the name; null without a calibration
        ("evidence", pa.string()),  # image, dna or both
        ("runner_up", pa.string()),  # name at that rank of the nearest key of another name
        ("runner_up_score", pa.float64()),  # similarity of that key
        ("bin", pa.string()),  # that most specimens of the nearest key have, whatever rank holds
        ("nearest_id", pa.string()),  # a specimen of the nearest key of the name; of the nearest key without a name
        ("similarity", pa.float64()),  # cosine of that key
        ("identity", pa.float64()),  # of the two barcodes (workloads.identification.alignment), 0 to 1
        ("num_keys", pa.int64()),  # distinct keys of the name in the database
        ("flags", pa.list_(pa.string())),
        ("error", pa.string()),  # why nothing of the specimen could be read
        ("synthetic", pa.bool_()),  # whether the database's specimens were drawn
    ]
)
"""Every column but `file_name` and `specimen_id` may be null."""

_PLACES = ("num_equal", "num_different", "num_gaps", "num_openings")
ALIGNMENT = pa.struct(
    [(name, pa.int64()) for name in (*_PLACES, "query_start", "query_end", "key_start", "key_end", "query_size")]
)
WITH_ALIGNMENT = ANSWERS.append(pa.field("alignment", ALIGNMENT))
"""The same beside how the two barcodes lie (`workloads.identification.alignment.Alignment`), as writers take them."""

DISAGREE = "image and barcode disagree"
UNTRAINED = "near a species that was never trained"
SEVERAL_BINS = "several BINs"
ONE_KEY = "one key only"
NO_CALIBRATION = "no calibration"
BELOW = "below the asked confidence"
OFF_THE_LIST = "nearest key is not on the list"
NAMELESS = "nothing near has a name"
VALIDATED = "ValidatedByHuman"
"""Of a name that a person gave or confirmed, as Darwin Core's identificationVerificationStatus has it."""


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of `WITH_ALIGNMENT`; what a row does not say is null, and its flags are none."""
    return pa.Table.from_pylist([{"flags": [], **row} for row in rows], schema=WITH_ALIGNMENT)


def epithet(species: str | None) -> str | None:
    """What stands after the genus in the name of a species; None where there is no such word."""
    return (species or "").partition(" ")[2] or None
