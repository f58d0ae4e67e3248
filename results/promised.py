"""The table of `clibd db check`: what became of the promise of a confidence, cell by cell."""

from collections.abc import Mapping
from typing import Any

from results.sheet import Cell, Sheet

WORDS = {"image": "image", "dna": "barcode", "both": "image and barcode"}
GROUPS = {
    "known": "in the database",
    "other": "not in the database",
    "outside": "not in the database, nor its taxon",
}


def promise_sheet(facts: Mapping[str, Any], database: str, synthetic: bool) -> Sheet:
    """The cells as a table.

    Args:
        facts: as `check.json` has them.
        database: its name.
        synthetic: whether its specimens were drawn.
    """
    asked = {100 * cell["asked"] for cell in facts["cells"]}
    words = f"Names with a confidence of {', '.join(f'{each:g} %' for each in sorted(asked))} and more"
    notes = [
        facts["verdict"] + ".",
        "Where the taxon of a rank is not in the database no name is right: there the share that gets one is at most "
        "what the confidence leaves of 100 %.",
        "p: one-sided exact binomial test that the promise holds, by Holm's method over all cells.",
    ]
    if count := facts["num_keys_themselves"]:
        notes.append(f"{count:,} specimens are in the database themselves and were not asked about.")
    if count := facts["num_without_species"]:
        notes.append(f"{count:,} specimens have no species and were not asked about.")
    cells = [cell for each in facts["cells"] for cell in _cells(each, database, synthetic)]
    about = (f"Database {database}{' (synthetic)' if synthetic else ''}",)
    return Sheet(title=words, cells=tuple(cells), about=about, notes=tuple(notes), show_rank=True)


def _cells(each: Mapping[str, Any], database: str, synthetic: bool) -> list[Cell]:
    """What stands in one line: the share that gets a name, how many of these are right, and whether that is too few."""
    row = {"Evidence": WORDS[each["evidence"]], "Species": GROUPS[each["group"]], "Verdict": each["verdict"]}
    common: dict[str, Any] = {
        "table": "check",
        "row": row,
        "rank": each["rank"],
        "dataset": database,
        "synthetic": synthetic,
    }
    number, given = each["num_specimens"], each["num_given"]
    right = each["num_right"] / given if given else None
    why = None if right is not None else "no name was given"
    return [
        Cell(**common, column="Specimens", ours=number, unit="count"),
        Cell(**common, column="Named", ours=given / number, n=number),
        Cell(**common, column="Names", ours=given, unit="count"),
        Cell(**common, column="Right", ours=right, n=given, reason=why),
        Cell(**common, column="p (Holm)", ours=each["p_holm"], unit="p", reason=_reason(each)),
    ]


def _reason(each: Mapping[str, Any]) -> str | None:
    return "fewer than 50 names" if each["p_holm"] is None else None
