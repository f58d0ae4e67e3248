"""Folders of images that are named after taxa, as torchvision's ImageFolder and most tutorials have them.

    Aedes vexans/17.jpg · Culicidae/Aedes vexans/17.jpg · train/Aedes_vexans/17.jpg

Each folder on the way gives what its name is: a species, an order or a family as far as these are known, or a genus.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from workloads.data.files.image_index import image_files
from workloads.data.sources.lineages import label_of
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.names import named
from workloads.spec import RANKS

_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
_WRAPPERS = {"images", "image", "photos", "pictures", "data"}
_NUMBER = re.compile(r"^\d+[._ -]+")  # 001.Aedes_vexans
_LOOKED_AT = 1000
_DEPTH = 6


def class_folders(folder: Path) -> Source | None:
    """The images of a folder by the names of the folders that they lie in; None where these name no taxon."""
    sample = list(islice(image_files(folder, _DEPTH), _LOOKED_AT))
    if not any(labels_of(name) for name in sample):
        return None
    source = Source(name=str(folder), records=(), root=str(folder.absolute()))
    source.remedy = (
        "Name each folder of images after a taxon, such as `Aedes vexans`, or write a table of image and species"
    )
    source.notes.append(f"{folder}: no table, so that the folders of the images are taken for their labels")
    source.records = _Classes(folder, source)
    return source


class _Classes:
    def __init__(self, folder: Path, source: Source) -> None:
        self._folder, self._source = folder, source

    def __iter__(self) -> Iterator[RawRecord | Refused]:
        for name in image_files(self._folder, _DEPTH):
            parts = name.split("/")
            ranks = labels_of(name)
            if split := next((part.lower() for part in parts[:-1] if part.lower() in _SPLITS), None):
                self._source.findings.add("images lie in folders that are called like splits", split)
            record: dict[str, str | None] = {"specimen_id": name.rpartition(".")[0], "image": name, "where": name}
            yield {**record, "split": split, **dict.fromkeys(RANKS), **ranks}


def labels_of(name: str) -> dict[str, str]:
    """The ranks that the folders of an image name, the innermost ones counting most."""
    ranks: dict[str, str] = {}
    for part in name.split("/")[:-1]:
        if part.lower() in _SPLITS | _WRAPPERS:
            continue
        said = _NUMBER.sub("", part)
        label = {rank: name for rank, name in named(label_of(said))[0].items() if name}
        if "species" in label or not any(map(str.isdigit, said)):  # such as `Batch 2`
            ranks |= label
    return ranks
