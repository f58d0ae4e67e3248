"""An evaluated folder as figures see it: what it is of, and its predictions. Figures read nothing else of a run."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from results.figures.picture import shown
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.predictions import Answers, Place, Predictions
from workloads.record import read_evaluation
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder

Floats = npt.NDArray[np.float32]
Names = npt.NDArray[np.object_]

_LONGEST = 44  # characters of a data set's or run's name in the small print


@dataclass(frozen=True)
class Evaluated:
    """A run that was evaluated, or one of its evaluations on other specimens."""

    folder: Folder
    run: str
    """Id of the run; behind a slash the evaluation, where it is not the run's own."""
    dataset: str
    synthetic: bool
    recipe: str

    @cached_property
    def predictions(self) -> Predictions:
        """What every query was answered."""
        return Predictions.read(self.folder)

    def answers(self, partition: str, query: str, key: str) -> Answers:
        """One retrieval, among all keys where these were searched, else among those that were.

        Raises:
            UsageError: the evaluation has no such retrieval; it says which ones there are.
        """
        places = self.predictions.places
        fitting = [p for p in places if (p.partition, p.query, p.key) == (partition, query, key)]
        if not fitting:
            raise UsageError(f"{self.folder} has no {partition} queries by {query} to {key}; {_what_there_is(places)}")
        return self.predictions.answers(next((p for p in fitting if p.keys == "all"), fitting[0]))

    def pairs(self, partition: str, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the wanted query and key features that the evaluation has.

        Raises:
            UsageError: it has none of them.
        """
        places = self.predictions.places
        there = {(place.query, place.key) for place in places if place.partition == partition}
        if not there & set(wanted):
            listed = ", ".join(f"{query} to {key}" for query, key in wanted)
            raise UsageError(f"{self.folder} has no {partition} queries by {listed}; {_what_there_is(places)}")
        return [pair for pair in wanted if pair in there]

    def embeddings(self, partition: str) -> tuple[pa.Table, dict[str, Floats]]:
        """Ids and names of the queries of a partition, and their embeddings by modality, (queries, size) each.

        Raises:
            MissingPathError: they are not there.
            DamagedError: they are not what an evaluation writes.
        """
        folder, name = self.folder / "embeddings", f"{partition}.parquet"
        if not folder.has(name):
            raise MissingPathError(
                f"{folder}/{name}",
                f"embeddings of {partition} queries",
                "Evaluate the run again with `clibd evaluate RUN --data DIR`, or ask for the other partition.",
            )
        table = folder.read_table(name)
        labels = ["specimen_id", "split", *RANKS]
        if not set(labels) <= set(table.column_names):
            raise DamagedError(f"{folder}/{name}", "it has no names beside its embeddings")
        modalities = [modality for modality in MODALITIES if modality in table.column_names]
        rows: dict[str, Floats] = {modality: _rows(table[modality]) for modality in modalities}
        if not all(len(found) == len(table) and np.isfinite(found).all() for found in rows.values()):
            raise DamagedError(f"{folder}/{name}", "a specimen has no finite embedding")
        return table.select(labels), rows

    def title(self, text: str) -> str:
        """A figure's title; nobody takes drawn specimens for insects."""
        return f"SYNTHETIC specimens: {text}" if self.synthetic else text

    def small_print(self, *more: str) -> str:
        """What a figure is of."""
        dataset = f"{shown(self.dataset, _LONGEST)}{' (SYNTHETIC specimens)' if self.synthetic else ''}"
        keys = [place.keys for place in self.predictions.places]
        searched = [] if "all" in keys or not keys else [f"keys searched: {keys[0]}"]
        return " · ".join([dataset, f"recipe {self.recipe}", f"run {shown(self.run, _LONGEST)}", *searched, *more])


def read_evaluated(address: str) -> Evaluated:
    """The evaluation in a folder: a run folder, or `evaluation-NAME` in one.

    Raises:
        MissingPathError: no evaluation is there; it says where there is one, or how to make one.
        DamagedError: it does not say what it is of.
    """
    folder = Folder(address)
    facts = read_evaluation(folder)
    above, _, name = folder.address.rpartition("/")
    run = name if folder.has("spec.json") else f"{above.rpartition('/')[2]}/{name}"
    return Evaluated(folder, run, facts["dataset"], facts["synthetic"], facts["recipe"])


def _what_there_is(places: list[Place]) -> str:
    """Which retrievals an evaluation has."""
    parts = []
    for partition in dict.fromkeys(place.partition for place in places):
        pairs = dict.fromkeys((place.query, place.key) for place in places if place.partition == partition)
        parts.append(f"{partition} queries by {', '.join(f'{query} to {key}' for query, key in pairs)}")
    return f"there are {'; '.join(parts)}" if parts else "it has no queries at all"


def _rows(column: pa.ChunkedArray) -> Floats:
    """A column of lists of one length as a matrix."""
    lists = column.combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(len(lists) - lists.null_count, -1)
