"""Preparation of a data set, whoever runs the tasks: what is decided before the shards, and what is written after them.

specimen table -> claim the folder, sort by split, labels and frame -> shards (Ray Data, or a loop) -> dataset.json
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.files.images import JPEG_QUALITY
from workloads.data.prepared.dataset import SCHEMA_VERSION, SPECIMENS, DatasetFacts, write_facts, write_rejects
from workloads.data.prepared.frame import NUM_SAMPLED, consensus
from workloads.data.prepared.shards import Recipe, Shard, ShardReport, make_shard, plan_shards, rows_per_shard
from workloads.data.prepared.taxon_text import TextTokenizer, learn_word_pieces
from workloads.data.sources.insect_files import keep_published
from workloads.data.specimens.partition_checks import check_partition
from workloads.data.specimens.schema import FEATURES, filled_columns, lineage_text, offered, table_fingerprint
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError, TooManyRejectsError, UsageError
from workloads.spec import RANKS
from workloads.storage import Folder

MAX_REJECTS = 0.001
"""Share of records that may be refused; above it the preparation stops."""

Work = Callable[[Shard], ShardReport]
Run = Callable[[Work, Sequence[Shard]], Iterable[ShardReport]]
"""Runs the work on every shard, in any order, and gives the reports as they come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What someone who prepares a data set can choose."""

    name: str
    """Part of the ids of its runs."""
    image_size: int = 256
    """Shorter side that larger images are reduced to, pixels."""
    text_tokenizer: str | None = None
    """A Hugging Face tokeniser by name or folder; None learns word pieces from the labels."""
    max_rejects: float = MAX_REJECTS


def prepare(
    table: SpecimenTable,
    target: Folder,
    wanted: Wanted,
    run: Run,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> DatasetFacts:
    """Make a prepared data set from a partitioned specimen table.

    Shards that are there already are kept, so an interrupted preparation goes on where it stopped.

    Args:
        table: partitioned specimens.
        target: where the data set goes.
        wanted: what was chosen.
        run: who makes the shards.
        on_shard: told how many of how many shards are done.

    Raises:
        UsageError: the table is not partitioned, or the folder holds another data set.
        PartitionError: the partition would not measure what it claims to.
        TooManyRejectsError: more specimens than allowed cannot be used; all found so far are in rejects.tsv.
        SourceError: not one specimen could be used.
    """
    facts = first_facts(table, wanted)
    check_partition(table.protocol, table.column("species"), table.column("split"), table.column("specimen_id"))
    specimens = SpecimenTable(target, SPECIMENS)
    if not _claim(target, facts, table.facts.root) or not target.has(SPECIMENS):
        table.sorted_by_split(specimens)
    if facts.protocol == "insect":
        keep_published(Path(table.facts.root), target)
    labels, barcodes = _labels_and_barcodes(specimens)
    published = wanted.text_tokenizer
    tokenizer = TextTokenizer.from_weights(published).to_json() if published else learn_word_pieces(labels)
    target.write("tokenizer.json", tokenizer.encode())
    facts = replace(facts, frame=consensus(barcodes))
    alike = ("modalities", "image_size", "image_feature_size", "barcodes", "frame", "dna_feature_size")
    recipe = Recipe(root=table.facts.root, **{name: getattr(facts, name) for name in alike})
    shards = plan_shards(facts.num_specimens, rows_per_shard(len(table), recipe))
    reports, num_rejected = [], 0
    for report in run(partial(_make, str(target), recipe), shards):
        reports.append(report)
        on_shard(len(reports), len(shards))
        num_rejected += len(report.rejects)
        if num_rejected > wanted.max_rejects * len(table):
            write_rejects(target, _rejects(reports))
            where = f"{target}/rejects.tsv"
            raise TooManyRejectsError(num_rejected, len(table), wanted.max_rejects, where)
    return _finish(target, facts, reports)


def _make(target: str, recipe: Recipe, shard: Shard) -> ShardReport:
    """The work on one shard; travels to the processes that do it."""
    return make_shard(SpecimenTable(Folder(target), SPECIMENS), shard, recipe, Folder(target))


def first_facts(table: SpecimenTable, wanted: Wanted) -> DatasetFacts:
    """What is known of a data set before its shards are made."""
    filled: set[str] = set()
    sizes: dict[str, Counter[int]] = {name: Counter() for name in FEATURES}
    labelled: dict[str, Counter[str]] = {}
    fingerprint = table_fingerprint(_surveyed(table, filled, sizes, labelled))
    commonest = {name: counts.most_common(1)[0][0] for name, counts in sizes.items() if counts}
    tokenizer = f"-{hashlib.sha256(wanted.text_tokenizer.encode()).hexdigest()[:4]}" if wanted.text_tokenizer else ""
    return DatasetFacts(
        schema_version=SCHEMA_VERSION,
        name=wanted.name,
        fingerprint=f"{fingerprint}-{wanted.image_size}{tokenizer}",
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
        num_specimens=_checked_counts(table),
        num_labelled=labelled,
        num_rejects=0,
        reject_reasons={},
    )


def _surveyed(
    table: SpecimenTable, filled: set[str], sizes: dict[str, Counter[int]], labelled: dict[str, Counter[str]]
) -> Iterator[pa.RecordBatch]:
    """The rows of a table; on the way it is noted what they have.

    Args:
        table: specimens.
        filled: names of the columns in which there is something.
        sizes: how often each column of features has which length.
        labelled: specimens with a name, by split and rank.
    """
    for batch in table.batches():
        filled |= filled_columns(batch)
        for name in FEATURES:
            lengths = pc.list_value_length(batch[name]).drop_null()
            sizes[name].update({item["values"]: item["counts"] for item in pc.value_counts(lengths).to_pylist()})
        splits = pa.Table.from_batches([batch.select(["split", *RANKS])]).group_by("split")
        for row in splits.aggregate([(rank, "count") for rank in RANKS]).to_pylist():
            labelled.setdefault(row["split"], Counter()).update({rank: row[f"{rank}_count"] for rank in RANKS})
        yield batch


def _checked_counts(table: SpecimenTable) -> dict[str, int]:
    """Specimens of each split.

    Raises:
        UsageError: a specimen has no split, or one that does not exist.
    """
    counts = table.count_by_split()
    if unknown := set(counts) - set(table.protocol.splits):
        raise UsageError(
            f"the specimen table has no split for some specimens ({', '.join(map(str, unknown))}); "
            "run `clibd data partition` first"
        )
    return {str(split): count for split, count in counts.items()}


def _claim(target: Folder, facts: DatasetFacts, root: str) -> bool:
    """Mark a folder as holding one data set; whether what an earlier preparation left of it can be gone on with.

    Raises:
        UsageError: the folder holds another data set, or something else.
    """
    names = ("fingerprint", "schema_version", "jpeg_quality", "protocol", "partition")
    claim = {**{name: getattr(facts, name) for name in names}, "root": root}
    stored = target.read_json("source.json") if target.has("source.json") else None
    if stored is None and (target.files() or target.folders()):
        raise UsageError(f"{target} is not empty; name a new folder for the prepared data set")
    if stored is not None and {**stored, "root": root} != claim:
        raise UsageError(f"{target} holds another data set, or another preparation of this one; name a new folder")
    target.write_json("source.json", claim)
    return stored == claim  # images that have moved are looked for in their new place


def _labels_and_barcodes(table: SpecimenTable) -> tuple[set[str], list[str]]:
    """Distinct labels of the training splits, and evenly spaced barcodes to take a consensus of."""
    labels: set[str] = set()
    barcodes: list[str] = []
    every, row = math.ceil(len(table) / NUM_SAMPLED), 0
    for batch in table.batches([*RANKS, "barcode", "split"]):
        distinct = pa.Table.from_batches([batch.select([*RANKS, "split"])]).group_by([*RANKS, "split"]).aggregate([])
        training = [taxon for taxon in distinct.to_pylist() if taxon["split"] in table.protocol.training]
        labels.update(map(lineage_text, training))
        chosen = batch["barcode"].take(pa.array(range(-row % every, len(batch), every), pa.int64()))
        barcodes += chosen.drop_null().to_pylist()
        row += len(batch)
    return labels, barcodes


def _rejects(reports: Iterable[ShardReport]) -> list[tuple[str, str]]:
    return sorted(reject for report in reports for reject in report.rejects)


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
    rejects = _rejects(reports)
    digest = hashlib.sha256()
    for report in sorted(reports, key=lambda report: (report.split, report.content)):
        digest.update(report.content.encode())
        counts[report.split] += report.num_rows
        labelled[report.split].update(report.num_labelled)
    if not counts.total():
        raise SourceError(facts.source, "", f"no specimen can be used ({rejects[0][1]})")
    facts = replace(
        facts,
        content=digest.hexdigest()[:16],
        num_specimens={split: counts[split] for split in facts.num_specimens},
        num_labelled={split: dict(labelled[split]) for split in facts.num_specimens},
        num_rejects=len(rejects),
        reject_reasons=dict(Counter(_kind(reason) for _, reason in rejects).most_common(20)),
    )
    for folder in (target, *(target / name for name in target.folders())):
        for name in folder.files():
            if name.endswith(".tmp"):  # left by a process that was killed while it wrote
                folder.remove(name)
    write_facts(target, facts, rejects)
    return facts
