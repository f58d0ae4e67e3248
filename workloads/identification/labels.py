"""Taxonomic labels as unit vectors by the text tower of a run, written as it was trained to read them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch

from workloads.arrays import Floats, Indices
from workloads.data.inputs.tower_inputs import AS_THEY_ARE, text_input
from workloads.data.specimens.schema import clean_name, lineage_text
from workloads.errors import RecordError
from workloads.evaluation.embed import batch_size_on
from workloads.identification.embedding import Problems
from workloads.models.loaded import LoadedModel
from workloads.placement import kernels, matrix_products
from workloads.recipes import evaluation_precision
from workloads.spec import RANKS

Label = str | Mapping[str, str | None]
"""As text, or by rank."""


class LabelEmbedder:
    """The text tower of a finished run."""

    def __init__(self, loaded: LoadedModel, device: torch.device) -> None:
        loaded.model.to(device).eval()
        self._loaded, self._device = loaded, device

    def embed(self, labels: Sequence[Label | None]) -> tuple[Floats, Problems]:
        """Vectors of labels.

        Args:
            labels: texts, which are read as they stand; or names by rank, which become the text that the run's recipe
                makes of them, such as `Diptera Syrphidae Eristalis tenax`.

        Returns:
            Unit rows, fp32 (labels, size), zeros where there is a problem; and the problems, (labels,).
        """
        rows = np.zeros((len(labels), self._loaded.spec.embedding_size), dtype=np.float32)
        texts: list[str] = []
        problems: Problems = []
        for label in labels:
            try:
                texts.append(self._text(label))
                problems.append(None if texts[-1] else "it has no label")
            except RecordError as error:
                texts.append("")
                problems.append(str(error))
        usable = np.array([place for place, why in enumerate(problems) if why is None], dtype=np.int64)
        step = batch_size_on(self._device)
        for start in range(0, len(usable), step):
            some = usable[start : start + step]
            rows[some] = self._embedded([texts[place] for place in some.tolist()])
        return rows, problems

    def _text(self, label: Label | None) -> str:
        if label is None or isinstance(label, str):
            return " ".join((label or "").split())
        names: dict[str, str | None] = {rank: clean_name(label.get(rank)) for rank in RANKS}
        if not any(names.values()) or self._loaded.spec.text.missing_rank == "left_out":
            return lineage_text(names)
        return " ".join(names[rank] or "not_classified" for rank in RANKS)

    def _embedded(self, texts: Sequence[str]) -> Floats:
        """Unit rows of texts, each distinct one embedded once, (texts, size)."""
        spec, precision = self._loaded.spec, evaluation_precision(self._loaded.spec)
        column = text_input(pa.table({"text": pa.array(texts, pa.string())}), None, self._loaded.tokenizer, spec.text)
        first: Indices
        first, which = column.groups()
        taken = column.take(first, AS_THEY_ARE).to(self._device)
        with torch.inference_mode(), matrix_products(precision), kernels(self._device, precision):
            rows: Floats = self._loaded.model.embed({"text": taken})["text"].float().cpu().numpy()
        return rows[which]
