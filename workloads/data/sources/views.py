"""Several images of one specimen: records of one id that follow one another and differ in nothing but their image."""

from collections.abc import Iterable, Iterator

from workloads.data.sources.source import RawRecord, Refused
from workloads.data.specimens.schema import FEATURES, with_view


def with_views(records: Iterable[RawRecord | Refused]) -> Iterator[RawRecord | Refused]:
    """The records, of which those of one id are one, with a line for each image; in bounded memory, as they stream."""
    held: RawRecord | None = None
    for record in records:
        if held is not None and not isinstance(record, Refused) and _are_views(held, record):
            held = {**held, "image": with_view(held["image"], record["image"])}
            continue
        if held is not None:
            yield held
        held = None if isinstance(record, Refused) else record
        if isinstance(record, Refused):
            yield record
    if held is not None:
        yield held


def _are_views(one: RawRecord, other: RawRecord) -> bool:
    if one.get("specimen_id") != other.get("specimen_id") or not (one.get("image") and other.get("image")):
        return False
    if one["image"].rpartition("\n")[2] == other["image"]:
        return False  # the same record twice, which is said
    names = {*one, *other} - {"image", "where"}
    if any(one.get(name) is not None or other.get(name) is not None for name in FEATURES):
        return False  # of one image each, as a rule
    return all((one.get(name) or None) == (other.get(name) or None) for name in names)
