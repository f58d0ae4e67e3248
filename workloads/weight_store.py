"""Published weights in a folder or a bucket of one's own, for hosts without a hub: $CLIBD_WEIGHTS.

    STORE/<weights>/config.json, model.safetensors, …
    STORE/<weights>/weights-manifest.json     SHA-256 of each file, written last: without it nothing is there

A host copies what it needs into $CLIBD_CACHE/weights once, checks it by digest, and is then independent of the store.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from workloads.errors import DamagedError, WeightsError, first_line
from workloads.naming import is_inside, slugs
from workloads.storage import Folder, alone, cache_folder

HUB_PREFIX = "hf-hub:"
MANIFEST = "weights-manifest.json"
_PUSH = "Push them again from a machine that has them: `clibd weights push {0}`."


def kept_at(weights: str) -> Path:
    """Where this machine keeps published weights: $CLIBD_CACHE/weights/<weights>."""
    return cache_folder() / "weights" / _folder_of(weights)


def _folder_of(weights: str) -> str:
    return slugs(weights.removeprefix(HUB_PREFIX))


def kept_folder(weights: str) -> Path | None:
    """That folder, filled from the store where there is one; None where nothing is.

    Raises:
        WeightsError: the store has them, and they could not be fetched.
    """
    kept, store = kept_at(weights), weight_store()
    begun = not kept.is_dir() or _lock(kept).exists()
    if store is not None and begun and not (kept / MANIFEST).is_file() and not _is_path(weights):
        fetch_weights(weights, store)
    return kept if kept.is_dir() else None


def weight_store() -> Folder | None:
    """The store that the environment names."""
    address = os.environ.get("CLIBD_WEIGHTS", "").strip()
    return Folder(address) if address else None


def stored_files(weights: str, store: Folder) -> dict[str, str]:
    """SHA-256 of the files that a store has of some weights, by name; empty where it has none.

    Raises:
        WeightsError: the store cannot be read.
    """
    folder = store / _folder_of(weights)
    try:
        files: dict[str, str] = folder.read_json(MANIFEST)["files"] if folder.has(MANIFEST) else {}
        if outside := [name for name in files if not is_inside(name)]:
            raise ValueError(f"it names {outside[0]!r}, which would lie elsewhere")
    except (OSError, ValueError, KeyError, TypeError, DamagedError) as error:
        remedy = f"Let this host read it, or take the name out of CLIBD_WEIGHTS. {_PUSH.format(store)}"
        raise WeightsError("", weights, f"{folder}/{MANIFEST} cannot be read ({first_line(error)})", remedy) from error
    return files


def push_weights(weights: str, files: Mapping[str, Path], store: Folder) -> None:
    """Put files of some weights into a store; those that are there already are left as they are.

    Args:
        weights: their name.
        files: on this machine, by name.
        store: where to.
    """
    folder, known = store / _folder_of(weights), stored_files(weights, store)
    digests = {name: Folder(path.parent).digest(path.name) for name, path in files.items()}
    if all(known.get(name) == digest for name, digest in digests.items()):
        return
    folder.remove(MANIFEST)
    for name, path in files.items():
        if known.get(name) != digests[name]:
            with folder.aside(name, path.stat().st_size) as aside:
                shutil.copyfile(path, aside)
    folder.write_json(MANIFEST, {"files": {**known, **digests}})


def fetch_weights(weights: str, store: Folder) -> Path | None:
    """The folder of this machine's copy, made unless it is there; None where the store has none.

    Many processes may ask at once: one copies, and the others wait for it.

    Raises:
        WeightsError: the store cannot be read, or what arrives is not what was pushed.
    """
    if not (files := stored_files(weights, store)):
        return None
    kept = kept_at(weights)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with alone(_lock(kept)):
        kept.mkdir(exist_ok=True)
        if not _is_whole(kept, files):
            _copy(weights, files, store, kept)
    return kept


def _lock(kept: Path) -> Path:
    return kept.with_name(f"{kept.name}.lock")


def _is_path(weights: str) -> bool:
    return weights.startswith(("/", ".", "~")) or Path(weights).exists()


def _is_whole(kept: Path, files: Mapping[str, str]) -> bool:
    """Whether a copy is there, by the manifest that was written after it."""
    folder = Folder(kept)
    known = folder.has(MANIFEST) and folder.read_json(MANIFEST) == {"files": dict(files)}
    return known and all(folder.has(name) for name in files)


def _copy(weights: str, files: Mapping[str, str], store: Folder, kept: Path) -> None:
    source, target = store / _folder_of(weights), Folder(kept)
    target.remove(MANIFEST)
    try:
        for name, wanted in files.items():
            with target.aside(name, source.size(name)) as aside:  # whole at once for whoever reads it
                source.copy_to(name, Path(aside))
                if (digest := target.digest(Path(aside).name)) != wanted:
                    reason = f"{source}/{name} has the SHA-256 {digest}, and its manifest says {wanted}"
                    raise WeightsError("", weights, reason, _PUSH.format(store))
        target.write_json(MANIFEST, {"files": dict(files)})
    except OSError as error:
        reason = f"copying them from {source} to {kept} failed ({first_line(error)})"
        raise WeightsError("", weights, reason, "Make room there, or name another folder by CLIBD_CACHE.") from error
