"""Pictures of specimens, by their ids alone: what is no specimen of the evaluation is not there."""

from results.dashboard.catalog import Catalog
from results.dashboard.numbers import answered
from results.dashboard.page import Asked, File, Kind, NotThereError
from results.dashboard.portraits import portraits
from results.run import UNREADABLE

_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))
_NONE = File(
    content=b'<svg xmlns="http://www.w3.org/2000/svg" width="96" height="72" viewBox="0 0 96 72">'
    b'<path d="M.5.5h95v71h-95z" fill="none" stroke="#767676" stroke-dasharray="4 3"/>'
    b'<text x="48" y="40" font-family="sans-serif" font-size="11" text-anchor="middle" fill="#767676">no picture</text>'
    b"</svg>",
    media_type="image/svg+xml",
)
"""What stands where a specimen of a data set has no picture."""


def _picture(catalog: Catalog, asked: Asked) -> File:
    evaluation = answered(catalog, asked.of)
    specimen = asked.option("specimen")
    if (row := evaluation.row(specimen)) is None:
        raise NotThereError(f"'{specimen}' is no specimen of {asked.of}; its retrieval page lists them.")
    shown, split = portraits(catalog, evaluation), evaluation.split(row)
    try:
        if asked.option("size", "small") != "full":
            content = shown.thumbnail(specimen, split)
            return _NONE if content is None else File(content=content, media_type="image/webp")
        content = shown.image(specimen, split)
    except UNREADABLE as error:
        raise NotThereError(f"The picture of '{specimen}' cannot be read: {error}") from error
    for start, media_type in _TYPES:
        if content is not None and content.startswith(start):
            return File(content=content, media_type=media_type)
    return _NONE


KINDS = (Kind(name="picture", make=_picture, options={"specimen": "", "size": "small"}, suffix=".webp"),)
