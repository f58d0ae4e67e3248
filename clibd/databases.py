"""A database of named specimens at hand: what it holds, what is near, and what a specimen is called."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import pyarrow as pa

from clibd.material import Given, Material, Part, material_of
from clibd.showing import Rows, facts_html
from workloads.command_line import Tell
from workloads.errors import UsageError
from workloads.identification.asking import queries_of
from workloads.identification.contents import taxa
from workloads.identification.database import KEY_KINDS, KEY_WORDS, DatabaseFacts, KeyKind
from workloads.identification.database import Database as StoredDatabase
from workloads.identification.embedding import Embedder, embedder_of
from workloads.identification.identifying import Asking, Identifier, in_parts
from workloads.identification.query import Query
from workloads.identification.searching import nearest as nearest_keys
from workloads.placement import Placement, this_device
from workloads.spec import RANKS, Rank

_AT_A_TIME = 256
"""Specimens whose images are held at a time."""
NEAREST = pa.schema(
    [
        ("specimen_id", pa.string()),  # of the query
        ("evidence", pa.string()),  # image or dna
        ("place", pa.int64()),  # 1 is the nearest; null where nothing could be compared
        ("similarity", pa.float64()),  # cosine
        ("nearest_id", pa.string()),  # the first of the specimens that have this key
        ("num_specimens", pa.int64()),  # that have it
        *[(rank, pa.string()) for rank in RANKS],  # of that specimen
        ("bin", pa.string()),
        ("error", pa.string()),  # why a query has no neighbours
    ]
)


class Database:
    """A database of named specimens, read where it lies."""

    def __init__(self, place: "str | os.PathLike[str]", *, cpu: bool = False) -> None:
        """Open it; keys and models are read when they are needed.

        Args:
            place: its folder, or `hf-hub:OWNER/NAME`, which is fetched once.
            cpu: whether GPUs are left alone.

        Raises:
            MissingPathError: there is none, or not a whole one.
            DamagedError: it is not what was written.
            NewerVersionError: it is of a newer version.
        """
        self._stored = StoredDatabase(os.fspath(place))
        self._placement = Placement(this_device(cpu))
        self._embedder: Embedder | None = None
        self._identifier: Identifier | None = None
        _ = self.info

    @property
    def info(self) -> DatabaseFacts:
        """What it holds: counts, modalities, the run that embeds, what it is calibrated for."""
        return self._stored.facts

    def taxa(self, rank: Rank = "species") -> Rows:
        """The names at a rank with those above them, their specimens, BINs and barcodes (`contents.taxa`)."""
        if rank not in RANKS:
            raise UsageError(f"there is no rank {rank!r}; there are {', '.join(RANKS)}")
        found = taxa(self._stored, rank)
        return Rows(found, f"{len(found):,} names of {self._called} ({rank})")

    def nearest(
        self,
        images: Given = None,
        barcodes: Given = None,
        *,
        k: int = 10,
        ids: Sequence[str] | None = None,
        progress: Tell = lambda done, total: None,
    ) -> Rows:
        """The nearest keys of every specimen, exactly, by its image, by its barcode, or by each.

        Args:
            images: as `Run.embed` takes them.
            barcodes: likewise.
            k: how many; all where there are fewer.
            ids: of the specimens, as `Run.embed` has it.
            progress: told how many of how many specimens are done.

        Returns:
            Rows of `NEAREST`, the nearest first; a specimen that cannot be compared has one row with the reason.

        Raises:
            UsageError: nothing was given, lengths differ, or the database has no keys of what was given.
        """
        if k < 1:
            raise UsageError(f"k is {k}; ask for one neighbour at least")
        material = material_of(ids, images=images, barcodes=barcodes)
        kinds: list[KeyKind] = [kind for kind in KEY_KINDS if KEY_WORDS[kind] in material.values]
        for kind in kinds:
            self._stored.keys(kind)  # says what the database has instead
        tables = [
            pa.Table.from_pylist(list(chain.from_iterable(self._near(kind, part, k) for kind in kinds)), schema=NEAREST)
            for part in _parts(material, progress)
        ]
        return Rows(pa.concat_tables(tables) if tables else NEAREST.empty_table(), f"Nearest in {self._called}")

    def _near(self, kind: KeyKind, part: Part, k: int) -> Iterator[dict[str, Any]]:
        """The rows of some queries by one modality."""
        queries, has, problems = part.queries, part.having(kind), part.reasons(kind)
        found: dict[int, tuple[Any, Any]] = {}
        if has:
            self._embedder = self._embedder or embedder_of(self._stored, self._placement)
            rows, why = self._embedder.embed(kind, [queries[place] for place in has])
            good = [row for row, reason in enumerate(why) if reason is None]
            more = {has[row]: reason for row, reason in enumerate(why) if reason is not None}
            problems = [more.get(place, problem) for place, problem in enumerate(problems)]
            if good:
                keys, cosines = nearest_keys(rows[good], self._stored.keys(kind), k)
                found = {has[row]: (keys[place], cosines[place]) for place, row in enumerate(good)}
        order, starts = self._stored.members(kind)
        for place, query in enumerate(queries):
            if place not in found:
                yield {"specimen_id": query.id, "evidence": kind, "error": problems[place]}
                continue
            for number, (key, cosine) in enumerate(zip(*(each.tolist() for each in found[place]), strict=True), 1):
                members = order[starts[key] : starts[key + 1]]
                yield {
                    **{"specimen_id": query.id, "evidence": kind, "place": number, "similarity": cosine},
                    **{"num_specimens": len(members), **self._about(int(members[0]))},
                }

    def _about(self, row: int) -> dict[str, Any]:
        specimen = self._stored.specimens.slice(row, 1).select(["specimen_id", *RANKS, "bin"]).to_pylist()[0]
        return {"nearest_id": specimen.pop("specimen_id"), **specimen}

    def identify(
        self,
        files: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None" = None,
        *,
        images: Given = None,
        barcodes: Given = None,
        ids: Sequence[str] | None = None,
        confidence: float = 0.95,
        rank: Rank | None = None,
        k: int | None = None,
        within: Collection[str] | None = None,
        all_ranks: bool = False,
        progress: Tell = lambda done, total: None,
    ) -> Rows:
        """The names of specimens, each at the deepest rank at which the asked confidence holds.

        Args:
            files: images, folders, patterns, FASTA, tables and archives, as `clibd identify` reads them; or
            images: as `Run.embed` takes them, and
            barcodes: likewise; a specimen with both is named by both.
            ids: of the specimens, as `Run.embed` has it; of files their records say it.
            confidence: least share of names that are right, as it was calibrated.
            rank: the deepest rank that is named; None: species.
            k: neighbours to list instead of a name.
            within: taxa of any rank, such as a checklist; keys of others are not searched.
            all_ranks: a row a rank, each with its confidence.
            progress: told how many specimens, of how many if that is known, are read.

        Returns:
            Rows with the columns of `clibd identify` (docs/files.md). What cannot be read has its reason in `error`.

        Raises:
            UsageError: nothing or both kinds were given, or no key is of a taxon of `within`.
        """
        asking = Asking(confidence=confidence, rank=rank, k=k, within=within, all_ranks=all_ranks)
        queries = self._queries(files, {"images": images, "barcodes": barcodes}, ids, progress)
        if self._identifier is None or self._identifier.asking != asking:
            self._identifier = Identifier(self._stored, asking, self._placement)
        tables = [self._identifier.answer(some) for some in in_parts(queries)]
        if not tables:
            raise UsageError("there is no specimen to identify in what was given")
        table: pa.Table = pa.concat_tables(tables)
        return Rows(table, f"{len(table):,} answers of {self._called}")

    def _queries(
        self, files: Any, given: Mapping[str, Given], ids: Sequence[str] | None, progress: Tell
    ) -> Iterable[Query]:
        if files is None:
            return chain.from_iterable(part.queries for part in _parts(material_of(ids, **given), progress))
        if any(values is not None for values in given.values()) or ids is not None:
            raise UsageError("give files, or images and barcodes with their ids, and not both")
        names = [files] if isinstance(files, str | os.PathLike) else list(files)
        return _counted(queries_of([os.fspath(name) for name in names]), progress)

    @property
    def _called(self) -> str:
        return f"{self.info.name}{' (SYNTHETIC specimens)' if self.info.synthetic else ''}"

    def __repr__(self) -> str:
        return f"Database({self._called}: {self.info.num_specimens:,} specimens, {' and '.join(self.info.modalities)})"

    def _repr_html_(self) -> str:
        facts = {name: value for name, value in asdict(self.info).items() if name not in ("version", "name")}
        told = {name: _listed(value) for name, value in facts.items() if value not in (None, "", (), {})}
        return facts_html(f"Database {self._called}", told)


def _listed(value: Any) -> Any:
    return ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, Mapping) else value


def _parts(material: Material, progress: Tell) -> Iterator[Part]:
    """The queries of specimens, some at a time, so that no more images are held."""
    count = len(material.ids)
    for start in range(0, count, _AT_A_TIME):
        stop = min(start + _AT_A_TIME, count)
        yield material.part(start, stop)
        progress(stop, count)


def _counted(queries: Iterable[Query], progress: Tell) -> Iterator[Query]:
    for number, query in enumerate(queries, 1):
        yield query
        progress(number, None)


def identify(database: "Database | str | os.PathLike[str]", files: Any = None, **asked: Any) -> Rows:
    """`Database.identify` of a database, or of the place of one."""
    return _opened(database).identify(files, **asked)


def nearest(database: "Database | str | os.PathLike[str]", **asked: Any) -> Rows:
    """`Database.nearest` of a database, or of the place of one."""
    return _opened(database).nearest(**asked)


def _opened(database: "Database | str | os.PathLike[str]") -> Database:
    return database if isinstance(database, Database) else Database(database)
