"""Preparation of a data set, whoever runs the tasks: what is decided before the shards, and what is written after them.

specimen table -> claim the folder, sort by split, labels and frame -> shards (Ray Data, or a loop) -> dataset.json
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.files.images import JPEG_QUALITY
from workloads.data.prepared.dataset import MADE_LATER, SCHEMA_VERSION, SPECIMEN_TABLE, DatasetFacts
from workloads.data.prepared.shards import Shard, ShardReport, make_shard, plan_shards
from workloads.data.prepared.taxon_text import TextTokenizer, learn_word_pieces
from workloads.data.sources.insect_files import keep_published
from workloads.data.specimens.barcode import consensus
from workloads.data.specimens.partition import check_partition
from workloads.data.specimens.schema import (
    FEATURES,
    VIEWS,
    evenly_spaced,
    filled_columns,
    lineage_text,
    offered,
    table_fingerprint,
)
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.specimens.statistics import count_taxa
from workloads.delimited_out import reject_list
from workloads.errors import SourceError, TooManyRejectsError, UsageError
from workloads.leftovers import remove_leftovers
from workloads.seals import DATASET, with_seal
from workloads.spec import RANKS
from workloads.storage import Folder

LOST_VIEWS = "lost_views.tsv"
_FRAME_SAMPLE = 20_000
"""Specimens whose barcodes give the common frame, at most."""

Work = Callable[[Shard], ShardReport]
RunShards = Callable[[Work, Sequence[Shard]], Iterable[ShardReport]]
"""Runs the work on every shard, in any order, and gives the reports as they come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetOptions:
    """What someone who prepares a data set can choose."""

    name: str
    """Part of the ids of its runs."""
    image_size: int = 256
    """Shorter side that larger images are reduced to, pixels."""
    text_tokenizer: str | None = None
    """A Hugging Face tokeniser by name or folder; None learns word pieces from the labels."""
    complete: bool = False
    """Whether specimens that lack one of the data set's modalities are refused."""
    max_rejects: float = 0.001
    """Share of records that may be refused; above it the preparation stops. What has too little is not among them."""


def prepare(
    table: SpecimenTable,
    target: Folder,
    wanted: DatasetOptions,
    run: RunShards,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> DatasetFacts:
    """Make a prepared data set from a partitioned specimen table.

    Shards that are there already are kept, so an interrupted preparation goes on where it stopped. Queries whose
    species has lost all of its keys to the list of rejects follow them there.

    Args:
        table: partitioned specimens.
        target: where the data set goes.
        wanted: what was chosen.
        run: who makes the shards.
        on_shard: told how many of how many shards are done.

    Raises:
        UsageError: the table is not partitioned, or the folder holds another data set.
        PartitionError: the partition would not measure what it claims to.
        TooManyRejectsError: more specimens than allowed cannot be used; all of them are in rejects.tsv, and the shards
            stay, so that nothing is made twice when more are allowed.
        SourceError: not one specimen could be used.
    """
    facts = first_facts(table, wanted)
    check_partition(table.protocol, table.column("species"), table.column("split"), table.column("specimen_id"))
    specimens = SpecimenTable(target, SPECIMEN_TABLE)
    claim, kept = _claim(target, facts, table.facts.root)
    if not (kept and target.has(SPECIMEN_TABLE) and target.digest(SPECIMEN_TABLE) == kept):
        table.sorted_by_split(specimens)
        target.write_json(_SOURCE, {**claim, SPECIMEN_TABLE: target.digest(SPECIMEN_TABLE)})
    if facts.protocol == "insect":
        keep_published(Path(table.facts.root), target)
    published = wanted.text_tokenizer
    tokenizer = (
        TextTokenizer.from_weights(published).to_json() if published else learn_word_pieces(_training_labels(specimens))
    )
    target.write("tokenizer.json", tokenizer.encode())
    sampled = pa.Table.from_batches(evenly_spaced(specimens.batches(["barcode"]), len(specimens), _FRAME_SAMPLE))
    facts = replace(facts, frame=consensus(sampled["barcode"].drop_null().to_pylist()))
    shards = plan_shards(facts)
    reports, num_rejected = [], 0
    for report in run(partial(make_shard, str(target), facts), shards):
        reports.append(report)
        on_shard(len(reports), len(shards))
        num_rejected += len(report.rejects)
    if num_rejected > wanted.max_rejects * len(table):  # of all, so that the share to allow is the last one asked
        _write_rejects(target, reports)
        raise TooManyRejectsError(num_rejected, len(table), wanted.max_rejects, f"{target}/rejects.tsv")
    return _finish(target, facts, _with_keys_left(target, specimens, facts, reports, run, shards))


def _with_keys_left(
    target: Folder,
    specimens: SpecimenTable,
    facts: DatasetFacts,
    reports: Sequence[ShardReport],
    run: RunShards,
    shards: Sequence[Shard],
) -> list[ShardReport]:
    """The reports after queries whose species has lost all of its keys are taken out, as nothing could answer them."""
    refused = {identifier for report in reports for identifier, _ in (*report.rejects, *report.left_out)}
    if not refused:
        return list(reports)
    columns = pa.Table.from_batches(specimens.batches(["specimen_id", "species", "split"]))
    kept = columns.filter(pc.invert(pc.is_in(columns["specimen_id"], value_set=pa.array(sorted(refused), pa.string()))))
    protocol = specimens.protocol
    keys = pc.unique(kept.filter(_in_splits(kept, protocol.keys))["species"])
    answered = pc.is_in(kept["species"], value_set=keys.drop_null())
    lost = kept.filter(pc.and_(_in_splits(kept, protocol.asking()), pc.invert(answered)))
    if not len(lost):
        return list(reports)
    of_queries = set(pc.unique(lost["split"]).to_pylist())
    again = [shard for shard in shards if shard.split in of_queries]
    withheld = frozenset(lost["specimen_id"].to_pylist())
    others = [report for report in reports if report.split not in of_queries]
    return [*others, *run(partial(make_shard, str(target), facts, withheld=withheld), again)]


def _in_splits(table: pa.Table, splits: Sequence[str]) -> pa.ChunkedArray:
    return pc.is_in(table["split"], value_set=pa.array(splits, pa.string()))


def first_facts(table: SpecimenTable, wanted: DatasetOptions) -> DatasetFacts:
    """What is known of a data set before its shards are made."""
    filled: set[str] = set()
    sizes: dict[str, Counter[int]] = {name: Counter() for name in FEATURES}
    fingerprint = table_fingerprint(_surveyed(table, filled, sizes))
    counts = count_taxa(table.column, table.protocol)
    present = [split for split, count in counts.num_records.items() if count]
    commonest = {name: counts.most_common(1)[0][0] for name, counts in sizes.items() if counts}
    tokenizer = f"-{hashlib.sha256(wanted.text_tokenizer.encode()).hexdigest()[:4]}" if wanted.text_tokenizer else ""
    return DatasetFacts(
        schema_version=SCHEMA_VERSION,
        name=wanted.name,
        fingerprint=f"{fingerprint}-{wanted.image_size}{tokenizer}{'-complete' if wanted.complete else ''}",
        content="",
        synthetic=table.facts.synthetic_seed is not None,
        source=table.facts.source,
        seed=table.facts.synthetic_seed,
        protocol=table.facts.protocol,
        partition=table.facts.partition or "",
        modalities=offered(filled),
        image_size=wanted.image_size,
        jpeg_quality=JPEG_QUALITY,
        text_tokenizer=wanted.text_tokenizer or "word pieces learned from the training labels",
        barcodes="barcode" in filled,
        frame="",
        image_feature_size=commonest.get("image_features"),
        dna_feature_size=commonest.get("dna_features"),
        num_specimens={split: counts.num_records[split] for split in present},
        num_labelled={split: {rank: int(counts.of(rank, [split]).sum()) for rank in RANKS} for split in present},
        num_rejects=0,
        reject_reasons={},
        views=VIEWS.name in filled and commonest.get("image_features") is None,
        complete=wanted.complete,
    )


def _surveyed(table: SpecimenTable, filled: set[str], sizes: dict[str, Counter[int]]) -> Iterator[pa.RecordBatch]:
    """The rows of a table; on the way it is noted what they have.

    Args:
        table: specimens.
        filled: names of the columns in which there is something.
        sizes: how often each column of features has which length.
    """
    for batch in table.batches():
        filled |= filled_columns(batch)
        if pc.any(pc.match_substring(batch["image"], "\n")).as_py():
            filled.add(VIEWS.name)
        for name in FEATURES:
            lengths = pc.list_value_length(batch[name]).drop_null()
            sizes[name].update({item["values"]: item["counts"] for item in pc.value_counts(lengths).to_pylist()})
        yield batch


_SOURCE = "source.json"


def _claim(target: Folder, facts: DatasetFacts, root: str) -> tuple[dict[str, Any], str | None]:
    """Mark a folder as holding one data set.

    Returns:
        The mark, and SHA-256 of the specimen table of an earlier preparation that can be gone on with; None without.

    Raises:
        UsageError: the folder holds another data set, or something else.
    """
    names = ("fingerprint", "schema_version", "jpeg_quality", "protocol", "partition")
    claim = {**{name: getattr(facts, name) for name in names}, "root": root}
    stored = target.read_json(_SOURCE) if target.has(_SOURCE) else None
    kept = stored.pop(SPECIMEN_TABLE, None) if isinstance(stored, dict) else None
    there = [name for name in (*target.files(), *target.folders()) if not name.endswith(".tmp")]  # of killed processes
    if stored is None and there:
        raise UsageError(f"{target} is not empty; name a new folder for the prepared data set")
    if stored is not None and {**stored, "root": root} != claim:
        raise UsageError(f"{target} holds another data set, or another preparation of this one; name a new folder")
    if stored != claim:  # images that have moved are looked for in their new place
        target.write_json(_SOURCE, claim)
    return claim, kept if stored == claim else None


def _training_labels(table: SpecimenTable) -> set[str]:
    labels: set[str] = set()
    for batch in table.batches([*RANKS, "split"]):
        distinct = pa.Table.from_batches([batch]).group_by([*RANKS, "split"]).aggregate([])
        training = [taxon for taxon in distinct.to_pylist() if taxon["split"] in table.protocol.training]
        labels.update(map(lineage_text, training))
    return labels


def _write_rejects(target: Folder, reports: Iterable[ShardReport]) -> list[tuple[str, str]]:
    rejects = sorted(reject for report in reports for reject in (*report.rejects, *report.left_out))
    with reject_list(target) as write:
        for reject in rejects:
            write(*reject)
    return rejects


def _write_lost_views(target: Folder, reports: Iterable[ShardReport]) -> int:
    """List the images that their specimens do without; a list of an earlier preparation goes where there are none."""
    lost = sorted(view for report in reports for view in report.lost_views)
    if not lost:
        target.remove(LOST_VIEWS)
        return 0
    with reject_list(target, LOST_VIEWS) as write:
        for view in lost:
            write(*view)
    return len(lost)


def _kind(reason: str) -> str:
    """A reason without the names and numbers of its record."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*", "…", reason)


def _finish(target: Folder, facts: DatasetFacts, reports: Sequence[ShardReport]) -> DatasetFacts:
    """Count what the shards hold, and write dataset.json.

    Raises:
        SourceError: not one specimen could be used.
    """
    counts: Counter[str] = Counter()
    labelled: dict[str, Counter[str]] = {split: Counter() for split in facts.num_specimens}
    having: dict[str, Counter[str]] = {split: Counter() for split in facts.num_specimens}
    rejects = _write_rejects(target, reports)
    digest = hashlib.sha256()
    for report in sorted(reports, key=lambda report: (report.split, report.content)):
        digest.update(report.content.encode())
        counts[report.split] += report.num_rows
        labelled[report.split].update(report.num_labelled)
        having[report.split].update(report.having)
    if not counts.total():
        raise SourceError(facts.source, "", f"no specimen can be used ({rejects[0][1]})")
    facts = replace(
        facts,
        content=digest.hexdigest()[:16],
        num_specimens={split: counts[split] for split in facts.num_specimens},
        num_labelled={split: dict(labelled[split]) for split in facts.num_specimens},
        num_lost_views=_write_lost_views(target, reports),
        having={split: dict(sorted(counts.items())) for split, counts in having.items()}
        if any(not {*facts.modalities} <= {*what.split("+")} for counts in having.values() for what in counts)
        else {},
        num_rejects=len(rejects),
        reject_reasons=dict(Counter(_kind(reason) for _, reason in rejects).most_common(20)),
    )
    for name in target.folders() if target.is_local else ():
        remove_leftovers(Path(target.path, name))  # of a task that was killed while it wrote
    written = asdict(facts)
    if not facts.views:
        del written["num_lost_views"]  # so that a data set of one image each has the bytes that it always had
    target.write_json(DATASET, with_seal({**written, "files": _digests(target)}))
    return facts


def _digests(target: Folder) -> dict[str, str]:
    """SHA-256 of every file but those that are made or written later; of shards, as they were written."""
    names = {name for name in target.walk() if name not in (DATASET, *MADE_LATER)}
    return {
        name: target.read_json(f"{name}.json")["sha256"] if f"{name}.json" in names else target.digest(name)
        for name in sorted(names)
    }
