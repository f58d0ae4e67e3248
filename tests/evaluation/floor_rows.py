"""The floors of a data set as measurements."""

from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.accuracy import accuracies_of
from workloads.evaluation.embed import all_splits, parts_of
from workloads.evaluation.floors import floor_answers, stored_floors
from workloads.intervals import with_intervals
from workloads.predictions import MissingRank
from workloads.record import Measurement
from workloads.spec import RANKS


def floors_of(dataset: PreparedDataset, missing: MissingRank = "left_out") -> list[Measurement]:
    """The floors of a data set on all its keys, for validation and test, with their intervals.

    Data sets without barcodes have no floors, nor have those without keys or queries.
    """
    table = stored_floors(dataset)
    if not len(table):
        return []
    named = dataset.load(list(all_splits(parts_of(dataset))), ["specimen_id", *RANKS])
    answers = floor_answers(table, named.select(["specimen_id", "split", *RANKS]))
    return with_intervals([row for one in answers for row in accuracies_of(one, missing)], answers, missing)
