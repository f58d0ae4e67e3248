"""Preparation of a data set with Ray Data: shards stream through tasks, and dataset.json is written at the end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.frame import consensus
from workloads.data.prepared import SCHEMA_VERSION, DatasetFacts, count_specimens, write_facts
from workloads.data.schema import TRAINING_SPLITS, lineage_text, modalities_of, table_fingerprint
from workloads.data.shards import Shard, ShardReport, make_shard, plan_shards
from workloads.data.taxon_text import learn_word_pieces
from workloads.errors import SourceError, UsageError
from workloads.spec import RANKS, Modality
from workloads.storage import Folder


def prepare(
    table: pa.Table,
    target: Folder,
    *,
    name: str,
    root: str,
    image_size: int,
    synthetic_seed: int | None,
    source: str,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> DatasetFacts:
    """Make a prepared data set from a partitioned specimen table.

    Shards that are there already are kept, so an interrupted preparation goes on where it stopped.

    Args:
        table: partitioned specimens.
        target: where the data set goes.
        name: of the data set, part of the ids of its runs.
        root: folder that image names are relative to.
        image_size: shorter side that larger images are reduced to, pixels.
        synthetic_seed: of synthetic insects, None for real specimens.
        source: where the specimens came from, for the record.
        on_shard: told how many of how many shards are done.

    Raises:
        UsageError: the table is not partitioned, or the folder holds another data set.
        SourceError: not one specimen could be used.
    """
    shards = plan_shards(table)
    modalities = modalities_of(table)
    fingerprint = f"{table_fingerprint(table)}-{image_size}"
    _claim(target, fingerprint)
    features = table["image_features"].drop_null()
    target.write("tokenizer.json", learn_word_pieces(_training_labels(table)).encode())
    frame = consensus(table["barcode"].drop_null().to_pylist())
    reports = _run(table, shards, root, image_size, modalities, frame, target, on_shard)
    counts = count_specimens(reports)
    rejects = [reject for report in reports for reject in report.rejects]
    if not sum(counts.values()):
        raise SourceError(source, "", f"no specimen can be used ({rejects[0][1]})")
    facts = DatasetFacts(
        schema_version=SCHEMA_VERSION,
        name=name,
        fingerprint=fingerprint,
        synthetic=synthetic_seed is not None,
        source=source,
        seed=synthetic_seed,
        modalities=modalities,
        image_size=image_size,
        frame=frame,
        feature_size=len(features[0]) if len(features) else None,
        num_specimens=counts,
        num_rejects=len(rejects),
    )
    write_facts(target, facts, rejects)
    return facts


def _claim(target: Folder, fingerprint: str) -> None:
    """Mark a folder as holding the shards of one specimen table; refuse it when it holds another's."""
    if target.has("source.json"):
        if target.read_json("source.json")["fingerprint"] != fingerprint:
            raise UsageError(f"{target} holds another data set, or another preparation of this one; name a new folder")
        return
    if target.files() or target.folders():
        raise UsageError(f"{target} is not empty; name a new folder for the prepared data set")
    target.write_json("source.json", {"fingerprint": fingerprint})


def _training_labels(table: pa.Table) -> list[str]:
    rows = table.select(["split", *RANKS]).to_pylist()
    return [lineage_text(row) for row in rows if row["split"] in TRAINING_SPLITS]


def _run(
    table: pa.Table,
    shards: list[Shard],
    root: str,
    image_size: int,
    modalities: tuple[Modality, ...],
    frame: str,
    target: Folder,
    on_shard: Callable[[int, int], None],
) -> list[ShardReport]:
    """All shards through Ray Data: a row of its data set is a shard to make, each task writes what it makes.

    The specimens travel through the object store once; images are read, or drawn, only inside the tasks.
    """
    import ray

    by_split = {
        split: ray.put(table.filter(pc.equal(table["split"], split)).combine_chunks())
        for split in {shard.split for shard in shards}
    }
    address = str(target)

    def work(item: dict[str, Any]) -> dict[str, Any]:
        shard = shards[int(item["id"])]
        rows: pa.Table = ray.get(by_split[shard.split])
        rows = rows.slice(shard.start, shard.stop - shard.start)
        report = make_shard(rows, shard, root, image_size, modalities, frame, Folder(address))
        return {
            "id": item["id"],
            "num_rows": report.num_rows,
            "rejects": np.array([f"{a}\t{b}" for a, b in report.rejects], dtype=object),
        }

    made = ray.data.range(len(shards), override_num_blocks=len(shards)).map(work, num_cpus=1)
    reports: dict[int, ShardReport] = {}
    for item in made.iter_rows():
        shard = shards[int(item["id"])]
        rejects = tuple((str(a), str(b)) for a, b in (line.split("\t", 1) for line in item["rejects"]))
        reports[int(item["id"])] = ShardReport(shard.split, int(item["num_rows"]), rejects)
        on_shard(len(reports), len(shards))
    return [reports[number] for number in sorted(reports)]
