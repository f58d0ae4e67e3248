"""Queries and keys as unit vectors: by the towers of a run, or, without a model, by the 5-mers of barcodes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workloads.arrays import Floats
from workloads.data.inputs.barcode_inputs import dna_input
from workloads.data.inputs.tower_inputs import AS_THEY_ARE, InputColumn, image_input
from workloads.data.specimens.barcode import authors_token_ids, placed, token_ids
from workloads.data.specimens.schema import DNA_IDS
from workloads.errors import RecordError
from workloads.evaluation.embed import batch_size_on
from workloads.identification.database import Database, KeyKind
from workloads.identification.keys import counted, hellinger
from workloads.identification.query import Query
from workloads.models.loaded import LoadedModel, open_run
from workloads.placement import Placement, kernels, matrix_products
from workloads.recipes import evaluation_precision

_PICTURES = 64
"""Decoded at a time: 40 MB at 224 pixels a side."""
Problems = list[str | None]
"""For each query why it has no vector, None where it has one."""


class Embedder(Protocol):
    """Makes unit vectors of what queries bring."""

    kinds: tuple[KeyKind, ...]
    """What it can embed."""

    def embed(self, kind: KeyKind, queries: Sequence[Query]) -> tuple[Floats, Problems]:
        """Vectors of queries that have this modality.

        Returns:
            Unit rows, fp32 (queries, size), zeros where there is a problem; and the problems, (queries,).
        """


class KmerEmbedder:
    """Barcodes by how often each 5-mer occurs at any offset (`workloads.identification.keys.hellinger`)."""

    kinds: tuple[KeyKind, ...] = ("dna",)

    def embed(self, kind: KeyKind, queries: Sequence[Query]) -> tuple[Floats, Problems]:
        """As `Embedder` says; a barcode without five certain bases in a row has a problem."""
        rows = hellinger(counted([query.barcode or "" for query in queries]))
        none = "its barcode has no five certain bases in a row"
        return rows, [None if row.any() else none for row in rows]


class RunEmbedder:
    """The towers of a finished run."""

    def __init__(self, loaded: LoadedModel, device: torch.device) -> None:
        loaded.model.to(device).eval()
        self._loaded, self._device = loaded, device
        kinds: tuple[KeyKind, ...] = ("image", "dna")
        self.kinds = tuple(kind for kind in kinds if kind in loaded.spec.modalities)

    def embed(self, kind: KeyKind, queries: Sequence[Query]) -> tuple[Floats, Problems]:
        """As `Embedder` says; an image that does not decode, or features of another length, are problems."""
        problems: Problems = [self._misfit(kind, query) for query in queries]
        rows = np.zeros((len(queries), self._loaded.spec.embedding_size), dtype=np.float32)
        usable = [number for number, problem in enumerate(problems) if problem is None]
        step = batch_size_on(self._device) if kind == "dna" else _PICTURES
        parts = [usable[start : start + step] for start in range(0, len(usable), step)]
        with ThreadPoolExecutor(1, "decoding") as beside:  # pictures are decoded while those before them are embedded
            taken = [beside.submit(self._taken, kind, [queries[number] for number in some]) for some in parts[:1]]
            for place, some in enumerate(parts):
                following = parts[place + 1 : place + 2]
                taken += [beside.submit(self._taken, kind, [queries[number] for number in more]) for more in following]
                try:
                    rows[some] = self._embedded(kind, taken.pop(0).result())
                except RecordError:  # which of them it is shows where each is taken alone
                    for number in some:
                        try:
                            rows[number] = self._embedded(kind, self._taken(kind, [queries[number]]))[0]
                        except RecordError as error:
                            problems[number] = str(error)
        return rows, problems

    def _misfit(self, kind: KeyKind, query: Query) -> str | None:
        """Why what a query brings is not what the tower takes."""
        if kind == "dna":
            features = self._loaded.spec.dna.kind == "features"
            return "the run's DNA tower takes features of another model, not barcodes" if features else None
        takes = self._loaded.inputs.image_feature_size
        if isinstance(query.image, np.ndarray) and takes is not None:
            has = len(query.image)
            return None if has == takes else f"it has {has} image features, and the run's tower takes {takes}"
        if isinstance(query.image, np.ndarray):
            return "it has image features, and the run's tower takes pictures"
        return None if takes is None else "the run's image tower takes features of another model, not pictures"

    def _taken(self, kind: KeyKind, queries: Sequence[Query]) -> Tensor:
        """What the tower takes of queries."""
        taken: Tensor = self._column(kind, queries).take(np.arange(len(queries)), AS_THEY_ARE)
        return taken

    def _embedded(self, kind: KeyKind, taken: Tensor) -> Floats:
        """Unit rows, (queries, size)."""
        precision = evaluation_precision(self._loaded.spec)
        with torch.inference_mode(), matrix_products(precision), kernels(self._device, precision):
            rows: Floats = self._loaded.model.embed({kind: taken.to(self._device)})[kind].float().cpu().numpy()
        return rows

    def _column(self, kind: KeyKind, queries: Sequence[Query]) -> InputColumn:
        loaded = self._loaded
        if kind == "image":
            name = "image" if loaded.inputs.image_feature_size is None else "image_features"
            values: list[Any] = [query.image for query in queries]
            of = pa.binary() if name == "image" else pa.list_(pa.float32())
            return image_input(pa.table({name: pa.array(values, of)}), loaded.spec)
        barcodes = [query.barcode or "" for query in queries]
        ids = {
            "dna_ids": token_ids(placed(barcodes, loaded.frame or "")),
            "authors_dna_ids": authors_token_ids(barcodes),
        }
        columns = {name: pa.FixedSizeListArray.from_arrays(rows.ravel(), type=DNA_IDS) for name, rows in ids.items()}
        table = pa.table({"barcode": pa.array(barcodes, pa.string()), **columns})
        return dna_input(table, loaded.spec, loaded.dna_tokenizer, loaded.frame)


def embedder_of(database: Database, placement: Placement | None = None) -> Embedder:
    """What makes queries comparable with the keys of a database.

    Raises:
        DamagedError: its run is not what was written.
    """
    if (run := database.run) is None:
        return KmerEmbedder()
    return RunEmbedder(open_run(run), (placement or Placement()).device)
