"""Pictures and barcodes of specimens: those of the data set where it is at hand, else what the evaluation has kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from results.dashboard.barcodes import in_frame
from results.dashboard.catalog import Catalog
from results.dashboard.numbers import Answered
from results.run import UNREADABLE
from workloads.data.files.images import thumbnail
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.barcode import consensus
from workloads.errors import ClibdError, first_line
from workloads.shown import LONGEST_SIDE, Shown, read_shown

_MOST_FOR_FRAME = 500
"""Barcodes that give the frame, where it is not the data set's."""


@dataclass
class Portraits:
    """What can be shown of the specimens of one evaluation."""

    shown: Shown | None = None
    shelves: "Shelves | None" = None
    """Of the data set, which has all."""
    lacking: str | None = None
    """Why there is nothing, or little."""
    frame: str = ""
    """In which barcodes are compared."""

    def may_show(self, specimen: str) -> bool:
        """Whether there may be a picture of a specimen."""
        if self.shelves is not None:
            return self.shelves.has_pictures
        return self.shown is not None and self.shown.thumbnail(specimen) is not None

    def thumbnail(self, specimen: str, split: str) -> bytes | None:
        """A WebP of at most 96 pixels a side."""
        if self.shown is not None and (kept := self.shown.thumbnail(specimen)) is not None:
            return kept
        content = self.image(specimen, split)
        try:
            return None if content is None else thumbnail(content, LONGEST_SIDE)
        except ClibdError:
            return None

    def image(self, specimen: str, split: str) -> bytes | None:
        """The picture as the data set has it."""
        if self.shelves is None or not self.shelves.has_pictures:
            return None
        content = self.shelves.find(specimen, split).get("image")
        return content if isinstance(content, bytes) else None

    def barcode(self, specimen: str, split: str) -> str | None:
        """The barcode, laid into the frame of all."""
        text = self.shown.barcode(specimen) if self.shown is not None else None
        if text is None and self.shelves is not None:
            found = self.shelves.find(specimen, split).get("barcode")
            text = found if isinstance(found, str) else None
        return in_frame(text, self.frame)

    @property
    def nbytes(self) -> int:
        """Bytes of what it has in memory, nearly."""
        return (0 if self.shown is None else 2_500 * len(self.shown.ids)) + (self.shelves.nbytes if self.shelves else 0)


class Shelves:
    """Where the specimens of a data set lie: of each shard the ids are read once, and then what is asked for alone."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self._dataset = dataset
        self._ids: dict[str, list[tuple[str, int, pa.Array]]] = {}

    @property
    def has_pictures(self) -> bool:
        """Whether its images are pixels."""
        facts = self._dataset.facts
        return "image" in facts.modalities and facts.image_feature_size is None

    @property
    def nbytes(self) -> int:
        """Bytes of the ids that have been read."""
        return sum(ids.nbytes for groups in self._ids.values() for _, _, ids in groups)

    def find(self, specimen: str, split: str) -> Mapping[str, object]:
        """`image` and `barcode` of a specimen as they are stored; nothing of one that is not there.

        Raises:
            DamagedError: a shard is not what was written.
        """
        if split not in self._dataset.facts.splits.splits:  # it is the name of a folder
            return {}
        for name, group, ids in self._groups(split):
            if (row := pc.index(ids, pa.scalar(specimen, pa.string())).as_py()) >= 0:
                with (self._dataset.folder / f"split={split}").open_parquet(name) as file:
                    columns = [each for each in ("image", "barcode") if each in file.schema_arrow.names]
                    [found] = file.read_row_group(group, columns).slice(row, 1).to_pylist()
                    return dict(found)
        return {}

    def _groups(self, split: str) -> Sequence[tuple[str, int, pa.Array]]:
        if split not in self._ids:
            folder, found = self._dataset.folder / f"split={split}", []
            for name in folder.files():
                if name.endswith(".parquet"):
                    with folder.open_parquet(name) as file:
                        for group in range(file.metadata.num_row_groups):
                            ids = file.read_row_group(group, ["specimen_id"])["specimen_id"].combine_chunks()
                            found.append((name, group, ids))
            self._ids[split] = found
        return self._ids[split]


def portraits(catalog: Catalog, answered: Answered) -> Portraits:
    """What can be shown of the specimens of an evaluation, by the data set's pictures or its own."""
    place = catalog.place(answered.name.partition("/")[0])
    key = ("portraits", answered.name, catalog.now.version(place))
    return catalog.kept(key, lambda: _portraits(catalog, answered))


def _portraits(catalog: Catalog, answered: Answered) -> Portraits:
    found, reasons = Portraits(), []
    try:
        found.shown = read_shown(catalog.evaluated(answered.name).folder)
    except UNREADABLE as error:
        reasons.append(f"What it has kept for looking at cannot be read: {first_line(error)}.")
    if catalog.dataset is not None:
        try:
            reasons += _with_dataset(found, catalog.dataset, answered)
        except UNREADABLE as error:
            reasons.append(f"The data set of --data cannot be read: {first_line(error)}.")
    if found.shelves is None and found.shown is not None:
        known = [found.shown.barcode(name) for name in found.shown.ids[:_MOST_FOR_FRAME]]
        found.frame = consensus([each.upper() for each in known if each and each.isascii()])
        few = f"Of {len(answered.ids):,} specimens {len(found.shown.ids):,} were kept with picture and barcode."
        reasons.append(few)
    elif found.shelves is None:
        reasons.append("This evaluation has kept no pictures and barcodes.")
    found.lacking = " ".join(reasons) or None
    return found


def _with_dataset(found: Portraits, dataset: PreparedDataset, answered: Answered) -> list[str]:
    """Show the data set's pictures, if it is the one of the evaluation; else what to say."""
    facts, about = dataset.facts, answered.facts
    if (facts.name, facts.fingerprint) != (about["dataset"], about["data_fingerprint"]):
        there = f"--data is {facts.name} {facts.fingerprint}"
        return [f"{there}, and this evaluation is of {about['dataset']} {about['data_fingerprint']}."]
    found.shelves, found.frame = Shelves(dataset), facts.frame
    return [] if found.shelves.has_pictures else ["The data set has features instead of pictures."]
