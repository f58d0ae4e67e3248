"""Tables 5 to 7 of the paper, of a data set, from what `clibd data stats` has left; else as they are published."""

from collections.abc import Mapping

from results.published import PublishedNumber, published_table
from results.sheet import Cell, Sheet, Unit
from workloads.storage import Folder

TABLES: Mapping[int | str, tuple[str, int, Unit]] = {
    5: ("Average number of records per taxon", 2, "records"),
    6: ("Taxa of seen and unseen species", 0, "taxa"),
    7: ("Accuracy of the most frequent class (micro) and of chance (macro)", 2, "share"),
}
"""Captions, and the decimals and units that they are printed with."""


def data_sheets(number: int, runs: Folder | None) -> list[Sheet]:
    """A sheet for each data set that was counted into RUNS/statistics, or into a folder there."""
    caption, decimals, _ = TABLES[number]
    place = (runs or Folder("runs")) / "statistics"
    counted = [at for at in (place, *(place / name for name in place.folders())) if at.has("statistics.json")]
    if runs and counted:
        from results.data.report import read_statistics  # draws figures as well, which takes long to load

        return [read_statistics(folder)[str(number)] for folder in counted]
    reason = f"not counted: `clibd data stats DIR --out {place}`"
    cells = tuple(_printed(entry, number, reason) for entry in published_table(number))
    about = ("Nothing of ours stands here yet.",)
    return [Sheet(title=f"Table {number}. {caption}", cells=cells, about=about, decimals=decimals)]


def _printed(entry: PublishedNumber, number: int, reason: str) -> Cell:
    names = [str(entry.where[name]) for name in ("split", "method", "species", "partition") if name in entry.where]
    return Cell(
        table=str(number),
        row={"taxa": entry.where["level"]},
        block=str(entry.where.get("average", "")).title(),
        column=" ".join(names).replace("_", " "),
        rank=entry.where["level"],
        unit=TABLES[number][2],
        published=entry.value,
        published_note=entry.note,
        reason=reason,
    )
