"""What people hold in a notebook, as queries: paths, bytes, Pillow's images, arrays, and texts of barcodes.

A specimen that cannot be read is a query with its problem, as in every other source; nothing stops for it.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from workloads.data.specimens.barcode_rule import all_usable
from workloads.errors import UsageError
from workloads.identification.query import Query

Picture: TypeAlias = "str | PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any]"
"""A file, its content, Pillow's image, pixels as uint8 (height, width[, 3]), or features of another model (n,)."""
Given: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
"""A value a specimen, None where it has none; or values by the ids of specimens."""


@dataclass(frozen=True, slots=True)
class Material:
    """Specimens by place: their ids, and what there is of each, None where nothing."""

    ids: tuple[str, ...]
    values: Mapping[str, Sequence[Any]]
    """By keyword: `images`, `barcodes`, `texts`; (specimens,) each."""

    def queries(self, start: int, stop: int) -> list[Query]:
        """Some of the specimens with their images and barcodes; files are read now."""
        some = [Query(identifier) for identifier in self.ids[start:stop]]
        if "barcodes" in self.values:
            some = list(_with_barcodes(some, self.values["barcodes"][start:stop]))
        if "images" in self.values:
            images = self.values["images"][start:stop]
            some = [_with_image(query, image) for query, image in zip(some, images, strict=True)]
        return [replace(one, problem=None) if one.image is not None or one.barcode else one for one in some]


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


def _with_image(query: Query, image: Any) -> Query:
    """A query with an image, or with the reason why it has none."""
    try:
        if image is None:
            return query
        if isinstance(image, str | PathLike):
            return replace(query, image=Path(image).expanduser().read_bytes(), where=str(image))
        if isinstance(image, bytes | bytearray | memoryview):
            return replace(query, image=bytes(image))
        if isinstance(image, Image.Image):
            return replace(query, image=_png(ImageOps.exif_transpose(image).convert("RGB")))
        return _with_array(query, np.asarray(image))
    except OSError as error:
        return query.without("image", f"the image cannot be read ({error.strerror or error})")


def _with_array(query: Query, array: "np.ndarray[Any, Any]") -> Query:
    if array.ndim == 1 and array.dtype.kind == "f":
        return replace(query, image=array.astype(np.float32))
    if array.dtype == np.uint8 and array.ndim in (2, 3) and array.size and array.shape[2:] in ((), (3,)):
        return replace(query, image=_png(Image.fromarray(array).convert("RGB")))
    what = f"{array.dtype} of shape {array.shape}"
    return query.without(
        "image",
        f"an array of {what} is no image: pixels are uint8 (height, width, 3), and features of a model float (n,); "
        "of pixels from 0 to 1 take (255 * array).round().astype('uint8')",
    )


def _png(image: Image.Image) -> bytes:
    """Its pixels, all of them, at the least effort."""
    image.save(buffer := io.BytesIO(), "PNG", compress_level=1)
    return buffer.getvalue()


def _with_barcodes(queries: Sequence[Query], barcodes: Sequence[str | None]) -> Iterator[Query]:
    """The queries with cleaned barcodes, turned where they were the reverse complement, and what is to be said."""
    made = all_usable([str(text) for text in barcodes if text is not None])
    for query, text in zip(queries, barcodes, strict=True):
        if text is None:
            yield query
            continue
        barcode, kinds = next(made)
        yield replace(query, barcode=barcode, flags=(*query.flags, *kinds)) if barcode else _none(query, kinds)


def _none(query: Query, kinds: Sequence[str]) -> Query:
    return query.without("dna", f"the barcode cannot be used: {'; '.join(kinds)}")
