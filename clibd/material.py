"""What people hold in a notebook, as queries: paths, bytes, Pillow's images, arrays, and texts of barcodes.

A specimen that cannot be read is a query with its problem, as in every other source; nothing stops for it.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from workloads.arrays import Floats
from workloads.data.files.images import shrink
from workloads.data.specimens.barcode_rule import all_usable
from workloads.errors import RecordError, UsageError
from workloads.identification.asking import BARCODE_FLAGS
from workloads.identification.database import KeyKind
from workloads.identification.query import PICTURE_SIZE, Query

Picture: TypeAlias = "str | PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any]"
"""A file, its content, Pillow's image, pixels as uint8 (height, width[, 3]), or features of another model (n,)."""
Given: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
"""A value a specimen, None where it has none; or values by the ids of specimens."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some specimens as queries, and why they lack what they brought."""

    queries: list[Query]
    problems: Mapping[KeyKind, list[str | None]]
    """Why the image or the barcode of each cannot be used; None where it can, or there is none, (queries,)."""

    def having(self, kind: KeyKind) -> list[int]:
        """Places of the queries that have a modality."""
        given = [query.image if kind == "image" else query.barcode for query in self.queries]
        return [place for place, value in enumerate(given) if value is not None]

    def reasons(self, kind: KeyKind) -> list[str]:
        """Why a query has no vector of a modality, where it has nothing of that, (queries,)."""
        return [why or f"it has no {_NOUNS[kind]}" for why in self.problems[kind]]


@dataclass(frozen=True, slots=True)
class Material:
    """Specimens by place: their ids, and what there is of each, None where nothing."""

    ids: tuple[str, ...]
    values: Mapping[str, Sequence[Any]]
    """By keyword: `images`, `barcodes`, `texts`; (specimens,) each."""

    def part(self, start: int, stop: int) -> Part:
        """Some of the specimens with their images and barcodes; files are read now."""
        given, ids = self._given("images", start, stop), self.ids[start:stop]
        images = [_image(value) for value in given]
        barcodes = list(_barcodes(self._given("barcodes", start, stop)))
        queries = [_query(*each) for each in zip(ids, given, images, barcodes, strict=True)]
        return Part(queries, {"image": [why for _, why in images], "dna": [why for *_, why in barcodes]})

    def _given(self, keyword: str, start: int, stop: int) -> Sequence[Any]:
        values = self.values.get(keyword)
        return [None] * (stop - start) if values is None else values[start:stop]


_NOUNS: Mapping[KeyKind, str] = {"image": "image", "dna": "barcode"}


def material_of(ids: Sequence[str] | None = None, **given: Given) -> Material:
    """Specimens from what was given of them.

    Args:
        ids: of the specimens; None: the keys of mappings, the paths of files as given, else the places from 0 on.
        given: by keyword, of which one at least is not None.

    Raises:
        UsageError: nothing was given, lengths differ, or an id stands twice.
    """
    there = {name: values for name, values in given.items() if values is not None}
    if not there:
        raise UsageError(f"nothing was given; give {', '.join(given)}, or several of them")
    if wrong := [name for name, values in there.items() if isinstance(values, str | bytes)]:
        raise UsageError(f"{wrong[0]} is one value; give a list of them, such as {wrong[0]}=[value]")
    maps = {name: values for name, values in there.items() if isinstance(values, Mapping)}
    if maps and len(maps) < len(there):
        raise UsageError(f"{' and '.join(there)}: give all of them as lists, or all as values by id")
    if maps:
        if ids is not None:
            raise UsageError("values by id have their ids; leave out ids=, or give lists")
        ids = [str(name) for name in dict.fromkeys(name for values in maps.values() for name in values)]
        by_id = {what: {str(name): value for name, value in values.items()} for what, values in maps.items()}
        return Material(_checked(ids), {what: [own.get(name) for name in ids] for what, own in by_id.items()})
    lists: dict[str, Sequence[Any]] = {
        name: values if hasattr(values, "__getitem__") and not isinstance(values, Mapping) else list(values)
        for name, values in there.items()
    }
    sizes = {name: len(values) for name, values in lists.items()} | ({} if ids is None else {"ids": len(ids)})
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        raise UsageError(f"{counts}: give one a specimen, with None where it has none; or give values by id")
    return Material(_checked(_names(lists) if ids is None else [str(name) for name in ids]), lists)


def _names(lists: Mapping[str, Sequence[Any]]) -> list[str]:
    """Paths of files as they were given, places for everything else."""
    values = lists.get("images", next(iter(lists.values())))
    is_path = "images" in lists
    return [
        str(value) if is_path and isinstance(value, str | PathLike) else str(place)
        for place, value in enumerate(values)
    ]


def _checked(ids: Sequence[str]) -> tuple[str, ...]:
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise UsageError(f"the id {twice!r} stands twice; give each specimen its own with ids=")
    return tuple(ids)


_Image: TypeAlias = tuple[bytes | Floats | None, str | None]
"""What a query takes, and why there is none."""
_Barcode: TypeAlias = tuple[str | None, Sequence[str], str | None]
"""The cleaned barcode, what is to be said of it, and why there is none."""


def _query(identifier: str, given: Any, image: _Image, barcode: _Barcode) -> Query:
    """A specimen; with nothing that can be used, the reasons are its problem."""
    why = [reason for reason in (image[1], barcode[2]) if reason]
    nothing = image[0] is None and barcode[0] is None
    return Query(
        identifier,
        image=image[0],
        barcode=barcode[0],
        where=str(given) if isinstance(given, str | PathLike) else "",
        flags=(*barcode[1], *why),
        problem=("; ".join(why) or "it has neither an image nor a barcode") if nothing else None,
    )


def _image(given: Any) -> _Image:
    """An image as queries have it, as small as those of a database's keys, or the reason why it has none."""
    try:
        if given is None:
            return None, None
        content, why = _content(given)
        return shrink(content, PICTURE_SIZE) if isinstance(content, bytes) else content, why
    except OSError as error:
        return None, f"the image cannot be read ({error.strerror or error})"
    except RecordError as error:
        return None, str(error)


def _content(given: Any) -> _Image:
    """An image as it was given."""
    if isinstance(given, str | PathLike):
        return Path(given).expanduser().read_bytes(), None
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given), None
    if isinstance(given, Image.Image):
        return _png(ImageOps.exif_transpose(given).convert("RGB")), None
    return _array(np.asarray(given))


def _array(given: "np.ndarray[Any, Any]") -> _Image:
    if given.ndim == 1 and given.dtype.kind == "f":
        return given.astype(np.float32), None
    if given.dtype == np.uint8 and given.ndim in (2, 3) and given.size and given.shape[2:] in ((), (3,)):
        return _png(Image.fromarray(given).convert("RGB")), None
    why = (
        f"an array of {given.dtype} of shape {given.shape} is no image: pixels are uint8 (height, width, 3), and "
        "features of a model float (n,); of pixels from 0 to 1 take (255 * array).round().astype('uint8')"
    )
    return None, why


def _png(image: Image.Image) -> bytes:
    """Its pixels, all of them, at the least effort."""
    image.save(buffer := io.BytesIO(), "PNG", compress_level=1)
    return buffer.getvalue()


def _barcodes(given: Sequence[str | None]) -> Iterator[_Barcode]:
    """Cleaned barcodes, turned where they were the reverse complement."""
    made = all_usable([str(text) for text in given if text is not None])
    for text in given:
        if text is None:
            yield None, (), None
            continue
        barcode, kinds = next(made)
        flags = [BARCODE_FLAGS.get(kind, kind) for kind in kinds] if barcode else []
        yield barcode, flags, None if barcode else f"the barcode cannot be used: {'; '.join(kinds)}"
