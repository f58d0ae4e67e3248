"""Shards through Ray Data: a row of its data set is a shard to make, and each task writes what it makes.

Specimens are read, and images read or drawn, only inside the tasks, a row group at a time, so that memory does not grow
with the source; what travels is a shard's number and its report.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from workloads import errors
from workloads.data.prepared.preparation import Work
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.errors import ClibdError


def run_on_ray(work: Work, shards: Sequence[Shard]) -> Iterator[ShardReport]:
    """The work on every shard as tasks of Ray Data; reports come as the shards are made.

    Raises:
        ClibdError: what a task met, as it met it. Ray Data keeps only the text of an error's cause, so ours travel as
            rows.
        OSError: a disk that fails or is full.
    """
    import ray.data

    def make(item: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"report": json.dumps(asdict(work(shards[int(item["id"])]))), "error": ""}
        except ClibdError as error:
            return {"report": "", "error": json.dumps([type(error).__name__, error.args])}
        except OSError as error:  # the disk, not a record
            return {"report": "", "error": json.dumps(["OSError", [error.errno, error.strerror, error.filename]])}

    made = ray.data.range(len(shards), override_num_blocks=len(shards)).map(make, num_cpus=1)
    # A task is a whole shard, and a shard of large photographs takes many minutes: that is no starved pipeline.
    made.context.execution_no_progress_timeout_s = -1
    for item in made.iter_rows():
        if item["error"]:
            name, arguments = json.loads(item["error"])
            raise getattr(errors, name, OSError)(*arguments)
        stored = json.loads(item["report"])
        rejects = tuple((identifier, reason) for identifier, reason in stored.pop("rejects"))
        yield ShardReport(**stored, rejects=rejects)
