"""A trained run at hand: what it embeds of images, barcodes and labels, and where it looks in an image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clibd.material import Given, Part, Picture, material_of
from clibd.showing import facts_html, table_html
from workloads.arrays import Floats
from workloads.command_line import Tell
from workloads.errors import UsageError
from workloads.identification.database import KeyKind
from workloads.identification.embedding import RunEmbedder
from workloads.identification.labels import LabelEmbedder
from workloads.identification.sharing import fetched
from workloads.models.clibd import Classifier
from workloads.models.loaded import LoadedModel, open_finished
from workloads.placement import this_device
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec, Modality, Recipe
from workloads.storage import Folder

_KEYWORDS: Mapping[Modality, str] = {"image": "images", "dna": "barcodes", "text": "texts"}
_AT_A_TIME = 256
"""Specimens whose images are held at a time, unless asked otherwise."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Unit vectors of specimens, and why some have none."""

    ids: tuple[str, ...]
    images: Floats | None = None
    """(specimens, size), zeros where a specimen has no image or none that can be used; None: none was asked for."""
    barcodes: Floats | None = None
    texts: Floats | None = None
    problems: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """By keyword, why a specimen has zeros, None where it has a vector; (specimens,) each."""
    flags: tuple[tuple[str, ...], ...] = ()
    """What is to be said of what each specimen brought, such as a barcode that was turned."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def table(self) -> pa.Table:
        """A row a specimen: `specimen_id`, a list of numbers for each modality, null without one, and its `problem`."""
        columns: dict[str, Any] = {"specimen_id": pa.array(self.ids, pa.string())}
        for modality, keyword in _KEYWORDS.items():
            rows: Floats | None = getattr(self, keyword)
            if rows is not None:
                missing = np.array([why is not None for why in self.problems[keyword]], dtype=bool)
                size = rows.shape[1]
                columns[modality] = pa.FixedSizeListArray.from_arrays(
                    pa.array(rows.ravel()), size, mask=pa.array(missing)
                )
                columns[f"{modality}_problem"] = pa.array(self.problems[keyword], pa.string())
        return pa.table(columns)

    def _repr_html_(self) -> str:
        return table_html(self.table, f"Embeddings of {len(self):,} specimens")


class Run:
    """A finished run whose towers embed."""

    def __init__(self, folder: RunFolder, *, cpu: bool = False) -> None:
        """Read its weights.

        Args:
            folder: of the run.
            cpu: whether GPUs are left alone.

        Raises:
            MissingPathError: it is not finished, or no run.
            UsageError: it is a classifier, which has no embeddings.
            DamagedError: it is not what was written.
        """
        self.folder = folder
        self._loaded: LoadedModel = open_finished(folder)
        if isinstance(self._loaded.model, Classifier):
            raise UsageError(f"{folder.id} is a classifier, which has no embeddings; name a run that aligns modalities")
        self._device = this_device(cpu)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    @property
    def spec(self) -> ExperimentSpec:
        """Everything that decides its numbers."""
        return self._loaded.spec

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What it embeds: `image`, `dna`, `text`, or some of them."""
        return self.spec.modalities

    def embed(
        self,
        images: Given = None,
        barcodes: Given = None,
        texts: Given = None,
        *,
        ids: Sequence[str] | None = None,
        at_a_time: int = _AT_A_TIME,
        progress: Tell = lambda done, total: None,
    ) -> Embeddings:
        """Unit vectors in the shared space; of specimens that have several modalities a vector each.

        Args:
            images: a value a specimen, None where it has none, or values by id: paths, bytes, Pillow's images, arrays
                uint8 (height, width, 3), or features (n,) for a run over features.
            barcodes: texts, likewise; cleaned as `clibd data import` does, reverse complements turned.
            texts: labels, likewise: texts such as `Diptera Syrphidae Eristalis tenax`, or names by rank.
            ids: of the specimens; None: the keys, the paths of images, or the places from 0 on.
            at_a_time: specimens whose images are held at a time.
            progress: told how many of how many specimens are done.

        Raises:
            UsageError: nothing was given, lengths differ, or the run has no tower for a modality.
        """
        material = material_of(ids, images=images, barcodes=barcodes, texts=texts)
        asked = [modality for modality, keyword in _KEYWORDS.items() if keyword in material.values]
        if strange := [name for name in asked if name not in self.modalities]:
            have = " and ".join(_KEYWORDS[name] for name in self.modalities)
            raise UsageError(f"{self.id} has no {strange[0]} tower; it embeds {have}")
        size, count = self.spec.embedding_size, len(material.ids)
        rows = {name: np.zeros((count, size), dtype=np.float32) for name in asked}
        problems: dict[Modality, list[str | None]] = {name: [] for name in asked}
        flags: list[tuple[str, ...]] = []
        for start in range(0, count, at_a_time):
            stop = min(start + at_a_time, count)
            part = material.part(start, stop)
            flags += [query.flags for query in part.queries]
            for name in asked:
                if name == "text":
                    made, why = self._texts.embed(material.values["texts"][start:stop])
                else:
                    made, why = self._of_part(name, part)
                rows[name][start:stop] = made
                problems[name] += why
            progress(stop, count)
        found = {_KEYWORDS[name]: own for name, own in rows.items()}
        return Embeddings(
            material.ids,
            **found,
            problems={_KEYWORDS[name]: tuple(own) for name, own in problems.items()},
            flags=tuple(flags),
        )

    @cached_property
    def _embedder(self) -> RunEmbedder:
        return RunEmbedder(self._loaded, self._device)

    @cached_property
    def _texts(self) -> LabelEmbedder:
        return LabelEmbedder(self._loaded, self._device)

    def _of_part(self, kind: KeyKind, part: Part) -> tuple[Floats, list[str | None]]:
        """Vectors of those that have a modality, zeros and a reason for the others."""
        has = part.having(kind)
        rows = np.zeros((len(part.queries), self.spec.embedding_size), dtype=np.float32)
        problems: list[str | None] = [*part.reasons(kind)]
        if has:
            rows[has], found = self._embedder.embed(kind, [part.queries[place] for place in has])
            for place, why in zip(has, found, strict=True):
                problems[place] = why
        return rows, problems

    def attention_mask(self, image: Picture, *, recipe: Recipe | None = None) -> Floats:
        """Where the image tower looks in an image: its attention, rolled out over its blocks.

        Blocks, tokens before the patches, how the output is read, and the grid are those of the model itself.

        Args:
            image: as `embed` takes one.
            recipe: how attention is rolled out (`workloads.evaluation.attention`); None: the run's.

        Returns:
            What each patch adds to the output, (rows, columns), in [0, 1] with a maximum of 1.

        Raises:
            UsageError: the image cannot be read.
            SpecError: the tower is no vision transformer whose attention can be followed.
        """
        from workloads.measuring.attention_folder import image_tower, masks

        query = material_of(["image"], images=[image]).part(0, 1).queries[0]
        if not isinstance(query.image, bytes):
            raise UsageError(query.problem or f"{self.id} is shown features, and only in a picture is there a place")
        return masks(lambda: image_tower(self._loaded), [query.image], recipe or self.spec.recipe)[0]

    def __repr__(self) -> str:
        return f"Run({self.id}: {', '.join(self.modalities)}, {self.spec.embedding_size} numbers)"

    def _repr_html_(self) -> str:
        spec = self.spec
        facts = {"modalities": self.modalities, "embedding size": spec.embedding_size, "trained on": spec.dataset}
        synthetic = " (trained on SYNTHETIC specimens)" if spec.synthetic else ""
        return facts_html(f"Run {self.id}{synthetic}", {**facts, "recipe": spec.recipe, "device": str(self._device)})


def load_run(place: "str | os.PathLike[str]", *, cpu: bool = False) -> Run:
    """A finished run, ready to embed.

    Args:
        place: folder of the run, an address such as s3://…, or `hf-hub:OWNER/NAME`, which is fetched once.
        cpu: whether GPUs are left alone.

    Raises:
        MissingPathError: there is no finished run.
        UsageError: it is a classifier; or the hub has no such repository, or cannot be reached.
        DamagedError: it is not what was written.
    """
    address = os.fspath(place)
    address = address if ":" in address else str(Path(address).expanduser())
    return Run(RunFolder(Folder(fetched(address, "run"))), cpu=cpu)


def attention_mask(run: "Run | str | os.PathLike[str]", image: Picture, *, recipe: Recipe | None = None) -> Floats:
    """`Run.attention_mask` of a run, or of the place of one."""
    return (run if isinstance(run, Run) else load_run(run)).attention_mask(image, recipe=recipe)
