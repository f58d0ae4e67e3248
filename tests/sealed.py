"""Files that carry the digest of their own content, saying something else, and whole."""

from typing import Any

from workloads.seals import with_seal
from workloads.storage import Folder


def say_otherwise(folder: Folder, name: str, target: Folder | None = None, /, **changes: Any) -> None:
    """Write a sealed JSON file with other values, there or to another folder."""
    content = {key: value for key, value in folder.read_json(name).items() if key != "seal"}
    (target or folder).write_json(name, with_seal({**content, **changes}))
