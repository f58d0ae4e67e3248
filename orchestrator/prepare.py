"""Shards through Ray Data: a row of its data set is a shard to make, and each task writes what it makes.

Specimens are read, and images read or drawn, only inside the tasks, a row group at a time, so that memory does not grow
with the source; what travels is a shard's number and its report.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from workloads.data.preparation import Work
from workloads.data.shards import Shard, ShardReport


def run_on_ray(work: Work, shards: Sequence[Shard]) -> Iterator[ShardReport]:
    """The work on every shard as tasks of Ray Data; reports come as the shards are made."""
    import ray.data

    def make(item: dict[str, Any]) -> dict[str, Any]:
        return {"report": json.dumps(asdict(work(shards[int(item["id"])])))}

    made = ray.data.range(len(shards), override_num_blocks=len(shards)).map(make, num_cpus=1)
    for item in made.iter_rows():
        stored = json.loads(item["report"])
        rejects = tuple((identifier, reason) for identifier, reason in stored.pop("rejects"))
        yield ShardReport(**stored, rejects=rejects)
