"""The images of a source, looked at: formats and sizes from their headers, and what cannot be read."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from workloads.data.files.image_source import ImageSource
from workloads.data.files.images import decode
from workloads.data.sources.findings import Findings
from workloads.errors import RecordError

_MOST_PACKED = 2000
"""Images within archives that are looked at, since each has to be read whole."""
_PACKED = ("zip:", "hdf5:", "parquet:")
UNREADABLE = "images that cannot be read"


def look_at_images(
    root: str,
    references: Sequence[str],
    decode_all: bool = False,
    on_image: Callable[[int, int | None], None] = lambda done, total: None,
    follow_links: bool = False,
) -> dict[str, Any]:
    """Formats, sizes and faults of images, as plain numbers and texts.

    Args:
        root: folder that the references are relative to.
        references: of the images.
        decode_all: whether each image is decoded whole, as preparation does; otherwise headers are read, and of images
            in archives some 2,000.
        on_image: told how many of how many have been looked at.
        follow_links: as of `ImageSource`.
    """
    if not decode_all:  # a drawn image has no header until it is drawn
        references = [reference for reference in references if not reference.startswith("synthetic:")]
    packed = [reference for reference in references if reference.startswith(_PACKED)]
    if not decode_all and len(packed) > _MOST_PACKED:
        every = -(-len(packed) // _MOST_PACKED)
        references = [name for name in references if not name.startswith(_PACKED)] + packed[::every]
    formats, sides, faults = Counter[str](), list[tuple[int, int]](), Findings()
    with ImageSource(root, follow_links) as images:
        for done, reference in enumerate(references):
            try:
                form, size = _header(images, reference)
                if decode_all:
                    decode(images.read(reference))
            except RecordError as error:
                faults.add(UNREADABLE, f"{reference[:100]}: {error}")
            else:
                formats[form] += 1
                sides.append(size)
            if done % 1000 == 0:
                on_image(done, len(references))
    return {
        "looked_at": len(references),
        "how": "decoded" if decode_all else "from headers",
        "formats": dict(formats.most_common()),
        **({"smallest": min(sides, key=min), "largest": max(sides, key=min)} if sides else {}),
        "unreadable": {"count": faults.counts[UNREADABLE], "examples": faults.examples.get(UNREADABLE, [])},
    }


def _header(images: ImageSource, reference: str) -> tuple[str, tuple[int, int]]:
    """Format, and width and height in pixels, of an image.

    Raises:
        RecordError: it is not there, or its header is none of an image.
    """
    try:
        with images.opened(reference) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on large images, which decoding refuses
            with Image.open(file) as image:
                return str(image.format), image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        missing = isinstance(error, OSError) and error.errno is not None
        raise RecordError(str(error) if missing else "its header is none of an image") from error
