"""The public packages that hold the paper's data: where they are, what they weigh and how to tell that they are whole.

A checksum stands here only if it has been published; `bioscan-dataset` 1.3.0, the BIOSCAN authors' own loader, is where
most of these are from.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workloads.errors import UsageError

_ZENODO_1M = "https://zenodo.org/records/8030065/files"
_ZENODO_5M = "https://zenodo.org/records/11973457/files"
_HUB = "https://huggingface.co/datasets/bioscan-ml"
_CLIBD_LISTS = f"{_HUB}/clibd/resolve/335f24b/data/BIOSCAN_1M"
_CLIBD_INSECT = f"{_HUB}/clibd/resolve/d78adf3/data/INSECT"
_CC_BY = "CC BY 3.0"
_NO_LICENCE = "not stated by its authors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One file to download."""

    name: str
    """What `clibd data download` calls it."""
    file_name: str
    urls: tuple[str, ...]
    """Where the same bytes are, best first."""
    content: str
    licence: str
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None
    """Exact number of bytes, where it has been published."""
    about: str = ""
    """Rough size for people, such as `1.2 GB`."""
    kind: str = "auto"
    """What `clibd data import --kind` calls the data set; said, because several may lie in one folder."""
    beside: str | None = None
    """The package with the table that this one belongs beside; None for such a table itself."""
    is_lists: bool = False
    """Whether it holds split lists, which specimens that are imported already can be given too."""

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Algorithm and hexadecimal digits of the best published checksum."""
        if self.sha256 is not None:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 is not None else None

    def next_steps(self, folder: Path) -> tuple[str, ...]:
        """What to do when it has arrived, in sentences with commands to copy.

        Args:
            folder: where it lies.
        """
        place, steps = shlex.quote(str(folder)), []
        if self.beside is not None:
            table = PACKAGES[self.beside]
            steps.append(f"It is read in place, from the folder that holds {table.file_name} too.")
            if not (folder / table.file_name).is_file():
                steps.append(f"Next: clibd data download {table.name} --to {place}")
        elif companions := [other.name for other in PACKAGES.values() if other.beside == self.name]:
            steps.append(f"Put into the same folder first, if wanted: {', '.join(companions)}.")
        word = "Then" if steps and steps[-1].startswith("Next") else "Next"
        steps.append(f"{word}: clibd data import {place} --kind {self.kind} --to specimens.parquet")
        if self.is_lists:
            lists = shlex.quote(str(folder / self.file_name))
            steps.append(f"Or, for specimens imported before: clibd data partition specimens.parquet --lists {lists}")
        return tuple(steps)


def _zenodo(record: str, file_name: str) -> str:
    return f"{record}/{file_name}?download=1"


_METADATA_1M = "BIOSCAN_Insect_Dataset_metadata.tsv"
_METADATA_5M = "BIOSCAN_5M_Insect_Dataset_metadata_MultiTypes.zip"

_of_1m = partial(Package, licence=_CC_BY, kind="bioscan-1m")
_of_5m = partial(Package, licence=_CC_BY, kind="bioscan-5m")
_of_insect = partial(Package, licence=_NO_LICENCE, kind="insect")


def _images_1m(name: str, file_name: str, cut: str, md5: str) -> Package:
    content, urls = f"BIOSCAN-1M, {cut} images of 256 pixels", (_zenodo(_ZENODO_1M, file_name),)
    return _of_1m(name=name, file_name=file_name, urls=urls, content=content, md5=md5, beside="bioscan-1m-metadata")


def _images_5m(part: str, file_part: str, md5: str, about: str = "") -> Package:
    name, file_name = f"bioscan-5m-images-{part}", f"BIOSCAN_5M_cropped_256_{file_part}.zip"
    content, urls = f"BIOSCAN-5M, cropped images of 256 pixels, part {part}", (_zenodo(_ZENODO_5M, file_name),)
    table = "bioscan-5m-metadata"
    return _of_5m(name=name, file_name=file_name, urls=urls, content=content, md5=md5, about=about, beside=table)


def _insect(name: str, file_name: str, what: str, about: str, beside: str | None = None) -> Package:
    content, urls = f"INSECT, {what}", (f"{_CLIBD_INSECT}/{file_name}",)
    return _of_insect(name=name, file_name=file_name, urls=urls, content=content, about=about, beside=beside)


_ALL = (
    _of_1m(
        name="bioscan-1m-metadata",
        file_name=_METADATA_1M,
        urls=(_zenodo(_ZENODO_1M, _METADATA_1M), f"{_HUB}/BIOSCAN-1M/resolve/33e1f31/{_METADATA_1M}"),
        content="BIOSCAN-1M, labels and barcodes of 1,128,313 specimens",
        md5="dec3bb23870a35e2e13bc17a5809c901",
        about="1.2 GB",
    ),
    _images_1m("bioscan-1m-images", "cropped_256.zip", "cropped", "fe1175815742db14f7372d505345284a"),
    _images_1m("bioscan-1m-images-original", "original_256.zip", "uncropped", "9729fc1c49d84e7f1bfc6f5a0916d72b"),
    Package(
        name="clibd-partition",
        file_name="CLIBD_partitioning.zip",
        urls=(f"{_CLIBD_LISTS}/CLIBD_partitioning.zip",),
        content="The paper's partition of BIOSCAN-1M, as lists of specimens",
        licence=_NO_LICENCE,
        md5="fc08444a47d1533d99a892287e174cc1",
        kind="bioscan-1m",
        beside="bioscan-1m-metadata",
        is_lists=True,
    ),
    _of_5m(
        name="bioscan-5m-metadata",
        file_name=_METADATA_5M,
        urls=(_zenodo(_ZENODO_5M, _METADATA_5M), f"{_HUB}/BIOSCAN-5M/resolve/eeefb30/{_METADATA_5M}"),
        content="BIOSCAN-5M, labels, barcodes and partition of 5.15 million specimens",
        md5="ac381b69fafdbaedc2f9cfb89e3571f7",
        about="2.1 GB",
    ),
    _images_5m("train", "train", "3f170db5d95610644883dafc73389049", "2.2 GB"),
    _images_5m("eval", "eval", "16a997f72a8cd08cbcf7becafe2dda50", "1.5 GB"),
    _images_5m("pretrain-1", "pretrain.01", "0e1cfa86dc7fa4d9c10036990992a2dd"),
    _images_5m("pretrain-2", "pretrain.02", "ca3191d307957732e8108121b20a2059"),
    _insect("insect-metadata", "INSECT_metadata.csv", "labels, barcodes and splits of 21,212 specimens", "16 MB"),
    _insect("insect-images", "INSECT_images.hdf5", "images", "2.7 GB", beside="insect-metadata"),
)

PACKAGES: Mapping[str, Package] = {package.name: package for package in _ALL}
"""Every package by its name."""


def find_package(name: str) -> Package:
    """The package of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in PACKAGES:
        raise UsageError(f"there is no package '{name}'; choose one of {', '.join(PACKAGES)}")
    return PACKAGES[name]
