"""Changes a database: more specimens, fewer, or those of two. All is written anew, aside, and takes its place whole.

Confidence is calibrated against the keys that there are. So where keys change it is calibrated anew, and where that is
not possible there is none, and the database says since when.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from workloads.errors import UsageError, some_of
from workloads.identification.building import Doing, Showing, counts_of, keep_run, recorded, say_noticed, seal_database
from workloads.identification.contents import like
from workloads.identification.database import (
    CALIBRATING,
    RUN,
    THUMBNAILS,
    Database,
    DatabaseFacts,
    KeyKind,
    write_facts,
)
from workloads.identification.embedding import Embedder
from workloads.identification.material import Material
from workloads.identification.placing import local, placed
from workloads.identification.writing import Kept, SpecimenWriter, Written
from workloads.spec import RANKS
from workloads.storage import Folder

_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Change:
    """What came of a change."""

    written: Written
    """All that is there now; of what was left out, only of the specimens that came."""
    num_new: int = 0
    num_gone: int = 0
    """Specimens that are no longer there; where specimens came, those in whose place new ones are."""
    unknown: Sequence[str] = ()
    """Ids and taxa that were to be removed and are not there."""


def add(
    database: Database,
    material: Material,
    embedder: Embedder,
    *,
    replace_records: bool = False,
    doing: Doing | None = None,
) -> Change:
    """Add specimens to a database, embedded by its own run.

    Of two specimens of one id the first stays, or with `replace_records` the new one.

    Raises:
        UsageError: none of them can be added, or the database lies in the hub's cache.
    """
    doing, facts = doing or Doing(), database.facts
    with _changed(database, doing) as folder:
        with recorded(folder, embedder.kinds, _has_thumbnails(database)) as writer:
            num_kept = 0 if replace_records else _copy(database, writer, doing.showing)
            with doing.showing(f"Embedding {material.name}", "specimens") as tell:
                for some in material.known(tell, writer.leave_out):
                    writer.embed(some, embedder)
            say_noticed(material, doing)
            num_new = writer.written.num_specimens - num_kept
            if replace_records:
                num_kept = _copy(database, writer, doing.showing, without=frozenset(writer.ids))
        if not num_new:
            first = f" (the first: {writer.written.left_out[0][1]})" if writer.written.left_out else ""
            raise UsageError(f"{material.name}: no specimen of it can be added to {database.folder}{first}")
        sources = tuple(dict.fromkeys((*facts.sources, material.name)))
        facts = replace(facts, sources=sources, synthetic=facts.synthetic or material.synthetic)
        _finish(folder, [database], facts, writer, f"{num_new:,} specimens were added", doing)
    return Change(writer.written, num_new, facts.num_specimens - num_kept)


def remove(
    database: Database, ids: Collection[str] = (), taxa: Collection[str] = (), *, doing: Doing | None = None
) -> Change:
    """Take specimens out of a database, by their ids and by the taxa that they are in, of any rank.

    Raises:
        UsageError: none of them is there, nothing would be left, or the database lies in the hub's cache.
    """
    doing, facts = doing or Doing(), database.facts
    gone, unknown = _to_remove(database, ids, taxa)
    if not gone:
        close = like(unknown[0], database) if unknown else ""
        raise UsageError(f"{database.folder} has nothing of {some_of(unknown, 3) or 'what was named'}{close}")
    if len(gone) == facts.num_specimens:
        raise UsageError(f"nothing would be left of {database.folder}; remove the folder itself")
    with _changed(database, doing) as folder:
        with recorded(folder, facts.modalities, _has_thumbnails(database)) as writer:
            _copy(database, writer, doing.showing, without=gone)
        _finish(folder, [database], facts, writer, f"{len(gone):,} specimens were removed", doing)
    return Change(writer.written, 0, len(gone), unknown)


def _to_remove(database: Database, ids: Collection[str], taxa: Collection[str]) -> tuple[set[str], list[str]]:
    """The ids of specimens that go, and what was named and is not there."""
    gone, found, named = set[str](), set[str](), {*taxa}
    wanted = {*ids}
    for rows in database.rows(["specimen_id", *RANKS]):
        for row in rows:
            own = {row[rank] for rank in RANKS} & named
            if own or row["specimen_id"] in wanted:
                gone.add(row["specimen_id"])
            found |= own
    return gone, [name for name in dict.fromkeys((*ids, *taxa)) if name not in gone and name not in found]


def merge(
    first: Database, second: Database, target: str | Path, *, replace_it: bool = False, doing: Doing | None = None
) -> Change:
    """Make one database of two whose keys are of the same run, or both of k-mers; of two specimens of one id the first.

    Raises:
        UsageError: their keys cannot be compared, or something is in the place that is not to be replaced.
    """
    doing, facts, other = doing or Doing(), first.facts, second.facts
    if facts.weights != other.weights:
        raise UsageError(
            f"{first.folder} and {second.folder} cannot be merged: the keys of the former are of {_model(facts)}, "
            f"those of the latter of {_model(other)}. Build one of them again with the model of the other"
        )
    path = local(target)
    kinds: list[KeyKind] = [*dict.fromkeys((*facts.modalities, *other.modalities))]
    with placed(path, replace=replace_it, on_remark=doing.on_remark) as folder:
        with recorded(folder, kinds, _has_thumbnails(first) or _has_thumbnails(second)) as writer:
            num_first = _copy(first, writer, doing.showing)
            num_second = _copy(second, writer, doing.showing)
        facts = replace(
            facts,
            name=path.name,
            sources=tuple(dict.fromkeys((*facts.sources, *other.sources))),
            synthetic=facts.synthetic or other.synthetic,
            license=facts.license if facts.license == other.license else f"{facts.license}, {other.license}",
            cite="; ".join(dict.fromkeys(filter(None, (facts.cite, other.cite)))),
            calibrated=(*facts.calibrated, *other.calibrated),
        )
        _finish(folder, [first, second], facts, writer, "two databases were merged", doing)
    return Change(writer.written, num_second, first.facts.num_specimens - num_first)


def _model(facts: DatabaseFacts) -> str:
    return (
        f"the run {facts.model} (weights {(facts.weights or '')[:12]}…)" if facts.model else "5-mers, without a model"
    )


@contextmanager
def _changed(database: Database, doing: Doing) -> Iterator[Folder]:
    """A folder that takes the place of a database.

    Raises:
        UsageError: the database lies in the hub's cache, where others look for what the hub has.
    """
    if database.is_fetched:
        raise UsageError(f"{database.folder} is the hub's cache, and is not changed; copy it, and name the copy")
    with placed(local(database.folder.address), replace=True, on_remark=doing.on_remark) as folder:
        yield folder


def _copy(database: Database, writer: SpecimenWriter, showing: Showing, without: Collection[str] = frozenset()) -> int:
    """Write what is in a database, but for some ids; gives how many specimens were written."""
    kept, before, done = Kept(database), writer.written.num_specimens, 0
    with showing(f"Copying {database.facts.name}", "specimens") as tell:
        for rows in database.rows():
            writer.keep([row for row in rows if row["specimen_id"] not in without], kept)
            done += len(rows)
            tell(done, database.facts.num_specimens)
    if database.folder.has(THUMBNAILS):
        with database.sealed.open_parquet(THUMBNAILS) as file:
            for batch in file.iter_batches(_AT_ONCE):
                mask = [name in kept.ids for name in batch["specimen_id"].to_pylist()]
                writer.keep_thumbnails(batch.filter(pa.array(mask, pa.bool_())))
    return writer.written.num_specimens - before


def _has_thumbnails(database: Database) -> bool:
    return database.folder.has(THUMBNAILS)


def _finish(
    folder: Folder, of: Sequence[Database], facts: DatabaseFacts, writer: SpecimenWriter, why: str, doing: Doing
) -> None:
    """Write what is beside the specimens: the run, what calibrates, the calibration, the facts."""
    if (run := of[0].run) is not None:
        keep_run(run, folder / RUN)
    stale = f"{why} since it was calibrated" if facts.calibrated else facts.stale
    facts = replace(facts, **counts_of(writer.written), calibrated=(), stale=stale)
    _keep_calibrating(folder, [inner for each in of if (inner := each.calibrating)], writer.ids, facts)
    seal_database(folder, facts, doing)


def _keep_calibrating(folder: Folder, of: Sequence[Database], keys: Collection[str], facts: DatabaseFacts) -> None:
    """Copy the specimens that calibrate, but for those that are keys now."""
    if not of:
        return
    inner = folder / CALIBRATING
    Path(inner.address).mkdir()
    with SpecimenWriter(inner, [*dict.fromkeys(kind for each in of for kind in each.facts.modalities)]) as writer:
        for each in of:
            _copy(each, writer, Doing().showing, without=keys)
    if writer.written.num_specimens:
        write_facts(inner, replace(facts, name=of[0].facts.name, **counts_of(writer.written)))
    else:
        folder.remove_folder(CALIBRATING)
