"""What is in a database: its facts for people and programs, and its taxa at a rank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from math import floor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workloads.errors import UsageError, some_of
from workloads.identification.calibration import WORDS, Calibration
from workloads.identification.confidence import USUAL
from workloads.identification.database import CALIBRATING, KEY_WORDS, Database
from workloads.spec import RANKS, Rank

_MB = 1e6


def info(database: Database) -> dict[str, Any]:
    """Everything that is known of a database, as plain numbers and texts.

    Sizes are bytes; of taxa it says how many the run has learned from (`trained`), has not (`untrained`), and of how
    many nothing is known.
    """
    facts, folder = database.facts, database.folder
    sizes = {name: folder.size(name) or 0 for name in folder.walk()}
    inner = database.calibrating
    return {
        **asdict(facts),
        "address": str(folder),
        "species": _species(database),
        "num_bins": pc.count_distinct(database.specimens["bin"], mode="only_valid").as_py(),
        "num_calibrating": inner.facts.num_specimens if inner else 0,
        "bytes": sum(sizes.values()),
        "bytes_of": {
            "run": _within(sizes, "run"),
            CALIBRATING: _within(sizes, CALIBRATING),
            **{name: size for name, size in sizes.items() if "/" not in name},
        },
    }


def _within(sizes: Mapping[str, int], folder: str) -> int:
    return sum(size for name, size in sizes.items() if name.startswith(f"{folder}/"))


def _species(database: Database) -> dict[str, int]:
    known = taxa(database, "species")["trained"]
    trained, untrained = (pc.sum(pc.equal(known, value)).as_py() or 0 for value in (True, False))
    return {"trained": trained, "untrained": untrained, "unknown": known.null_count}


def info_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """What `info` gives, for people."""
    drawn = " (synthetic: drawn, not collected)" if facts["synthetic"] else ""
    yield f"{facts['name']}: {facts['num_specimens']:,} specimens{drawn}, {facts['num_bins']:,} BINs"
    named = facts["num_without_name"]
    yield from (
        f"  {rank:<8} {facts['num_taxa'].get(rank, 0):>9,} taxa{_without(named.get(rank, 0))}" for rank in RANKS
    )
    for kind in facts["modalities"]:
        yield f"Keys of {KEY_WORDS[kind]}: {facts['num_keys'][kind]:,} distinct"
    if facts["model"] is None:
        yield "Model: none; barcodes are compared by their 5-mers"
    else:
        species = facts["species"]
        yield f"Model: {facts['model']}, weights {facts['weights'][:12]}…"
        unknown = f", of {species['unknown']:,} it is not known" if species["unknown"] else ""
        yield f"Species that it learned from: {species['trained']:,}, others: {species['untrained']:,}{unknown}"
    yield f"Confidence: {_calibration(facts)}"
    if facts["num_other_names"]:
        yield f"Barcodes of several species: {facts['num_other_names']:,} specimens, in other_names.tsv"
    if facts["num_left_out"]:
        yield f"Left out: {facts['num_left_out']:,} specimens, in left_out.tsv"
    run = f", of which the run {size / _MB:,.1f} MB" if (size := facts["bytes_of"]["run"]) else ""
    yield f"Size: {facts['bytes'] / _MB:,.1f} MB{run}"
    yield f"Sources: {some_of(facts['sources'], 5) or 'not said'}"
    yield f"Licence: {facts['license']}; to cite: {facts['cite'] or 'its sources'}"
    made = facts["made"] or "an unknown day"
    yield f"Made on {made} with clibd-ray {facts['made_with'] or '?'}, form {facts['version']}"


def shortfalls(database: Database) -> Iterator[str]:
    """By what no species is named at the confidence that is asked for where nobody says another, and what to do."""
    if not database.facts.calibrated:
        return
    calibration, has_run = Calibration.of(database), database.facts.model is not None
    for evidence in calibration.evidences:
        if (highest := calibration.highest(evidence, RANKS[-1])) >= USUAL:
            continue
        less = f"Ask for less (--confidence {floor(100 * highest) / 100:g}), or build" if highest >= 0.01 else "Build"
        more = "; barcodes bear out more in a database without a run" if has_run and evidence == "dna" else ""
        yield (
            f"By {WORDS[evidence]} no species is named at {100 * USUAL:g} %: {calibration.num_strangers(evidence)} "
            f"species {'that its run did not learn from' if has_run else 'that stand for new ones'} bear out "
            f"{100 * highest:.1f} % at most. {less} it of more species{more}"
        )


def _without(count: int) -> str:
    return f", {count:,} specimens without a name" if count else ""


def _calibration(facts: Mapping[str, Any]) -> str:
    if facts["calibrated"]:
        by = f", on {facts['num_calibrating']:,} specimens that are no keys" if facts["num_calibrating"] else ""
        by += " and keys of species that the run did not learn from" if by and facts["model"] else ""
        return f"calibrated for {', '.join(facts['calibrated'])}{by}"
    return f"none; {facts['stale']}" if facts["stale"] else "none: names come without a confidence"


def taxa(database: Database, rank: Rank = "species", under: str | None = None) -> pa.Table:
    """The taxa of a database at a rank, in the order of their names.

    Args:
        database: whose.
        rank: of the taxa.
        under: only those within a taxon of this rank or a higher one.

    Returns:
        The columns of the ranks down to this one, `specimens`, `bins` and `barcodes` (how many different ones), and
        `trained`: whether the run learned from any of its species, null where that is not known. A taxon with two
        parents has two rows.

    Raises:
        UsageError: the database has no such taxon to look under.
    """
    above = list(RANKS[: RANKS.index(rank) + 1])
    table = database.specimens.select([*above, "bin", "dna_key", "trained"])
    table = table.filter(pc.is_valid(table[rank]))
    if under is not None:
        table = table.filter(_within_taxon(table, above, under, database))
    counted = table.group_by(above).aggregate(
        [
            ("dna_key", "count", pc.CountOptions(mode="all")),
            ("bin", "count_distinct", pc.CountOptions(mode="only_valid")),
            ("dna_key", "count_distinct", pc.CountOptions(mode="only_valid")),
            ("trained", "max"),
        ]
    )
    columns = [counted[name] for name in (*above, "dna_key_count", "bin_count_distinct", "dna_key_count_distinct")]
    found = pa.table([*columns, counted["trained_max"]], names=[*above, "specimens", "bins", "barcodes", "trained"])
    return found.sort_by([(name, "ascending") for name in (rank, *above[:-1])])


def _within_taxon(table: pa.Table, ranks: Sequence[str], name: str, database: Database) -> pa.ChunkedArray:
    mask = pa.chunked_array([pa.nulls(len(table), pa.bool_()).fill_null(False)])
    for rank in ranks:
        mask = pc.or_(mask, pc.equal(table[rank], name).fill_null(False))
    if not pc.any(mask).as_py():
        raise UsageError(f"{database.folder} has no taxon {name!r} at {' or '.join(ranks)}{like(name, database)}")
    return mask


def like(name: str, database: Database) -> str:
    """Names of a database that are like one that it has not, for a message; nothing where there are none."""
    known = {each for rank in RANKS for each in pc.unique(database.specimens[rank]).to_pylist() if each}
    close = get_close_matches(name, sorted(known), 3)
    return f"; there is {', '.join(close)}" if close else ""
