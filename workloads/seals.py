"""Seals: digests by which a file that is not what was written is found where it is read.

    manifest.json       of a run: SHA-256 of every file in it but itself, the status and the lease
    dataset.json        of a prepared data set says the same in `files`, and database.json of a database
    `seal`              in JSON that is written last, which no other file vouches for: SHA-256 of all else that it says

What is about to be written anew leaves the manifest first (`unseal`), and what is in it keeps its digest (`seal`): so a
process may be killed at any time, and nobody ever takes the digest of what has been damaged since.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa

from workloads.errors import AlteredError, DamagedError, NewerVersionError
from workloads.storage import Folder

SCHEMA = 3
"""Schema of a run folder. Those of the first have no manifest, those of the second no seals in JSON."""
STATUS, MANIFEST, LEASE = "status.json", "manifest.json", "lease.json"
DATASET, DATABASE = "dataset.json", "database.json"
PASSING = ("checkpoints", "attempts", "wandb")
"""Folders in a run that others keep, and that no manifest lists."""
MADE = "provenance"
"""Key in the status of a finished run: the digest of its provenance, which is no other run's."""
_SEAL = "seal"
_EMBEDDINGS, _OURS = "embeddings", (".json", ".parquet")
"""Of an evaluation in a folder of its own, where other things may lie."""
_ALTERED = "its SHA-256 is not the one that it was sealed with"


# --- JSON that vouches for itself ---------------------------------------------------------------------------------


def with_seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the digest of all that it says."""
    return {**content, _SEAL: _digest(content)}


def without_seal(content: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The object without its digest, if it has one.

    Raises:
        DamagedError: it is not the digest of the rest.
    """
    plain = {name: value for name, value in content.items() if name != _SEAL}
    if _SEAL in content and content[_SEAL] != _digest(plain):
        raise DamagedError(path, "what it says is not what it was sealed with")
    return plain


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_versioned(folder: Folder, name: str) -> dict[str, Any]:
    """`status.json` or `manifest.json` of a run, without its seal.

    Raises:
        DamagedError: it is no object, or not what was written.
        NewerVersionError: it is of a newer version.
    """
    path, content = f"{folder}/{name}", folder.read_json(name)
    if not isinstance(content, dict) or not isinstance(schema := content.get("schema", 1), int):
        raise DamagedError(path, "not what a run folder has under this name")
    plain = without_seal(content, path)
    if schema > SCHEMA:
        raise NewerVersionError(path, schema, SCHEMA)
    if schema == SCHEMA and _SEAL not in content:
        raise DamagedError(path, "it has lost its seal")
    return plain


# --- Manifests ----------------------------------------------------------------------------------------------------


def read_manifest(run: Folder) -> dict[str, str]:
    """SHA-256 of a run's files by name; empty for a folder of an earlier version, and before the run is finished.

    Raises:
        DamagedError: it is not what was written.
        NewerVersionError: it is of a newer version.
    """
    if not run.has(MANIFEST):
        return {}
    files = read_versioned(run, MANIFEST).get("files")
    if not isinstance(files, dict):
        raise DamagedError(f"{run}/{MANIFEST}", "no files in it")
    return files


def read_sealed(folder: Folder, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What `DATASET` or `DATABASE` says, and SHA-256 of the other files; none of a data set of an earlier version.

    Raises:
        DamagedError: it is no object, or not what was written.
    """
    path, content = f"{folder}/{name}", folder.read_json(name)
    if not isinstance(content, dict):
        raise DamagedError(path, "no object")
    plain = without_seal(content, path)
    files = plain.pop("files", {})
    if bool(files) != (_SEAL in content) or not isinstance(files, dict) or (name == DATABASE and not files):
        raise DamagedError(path, "it has lost its seal")
    return plain, files


def seal(run: Folder, names: Collection[str] | None = None) -> dict[str, str]:
    """Write the manifest, or bring it up to date: what is in it keeps its digest, what is not gets one.

    Args:
        run: or an evaluation of another model.
        names: of its files; None: all.

    Returns:
        SHA-256 of the files by name.
    """
    known = read_manifest(run)
    files = {name: known.get(name) or run.digest(name) for name in (sealable(run) if names is None else names)}
    write_manifest(run, {**known, **files})
    return files


def sealable(run: Folder) -> list[str]:
    """The files that a manifest lists: all but those that pass or say something of the others."""
    names = run.walk(PASSING)
    return [name for name in names if name.rpartition("/")[2] not in (STATUS, MANIFEST, LEASE) and name[-4:] != ".tmp"]


def unseal(run: Folder, names: Collection[str]) -> None:
    """Take files out of the manifest that are about to be written anew.

    Args:
        run: whose manifest it is.
        names: of files, and of folders with all that is in them.
    """
    known = read_manifest(run)
    kept = {name: digest for name, digest in known.items() if not any(_is_within(name, one) for one in names)}
    if kept != known:
        write_manifest(run, kept)


def _is_within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}/")


def write_manifest(run: Folder, files: Mapping[str, str]) -> None:
    """Write it as it is."""
    run.write_json(MANIFEST, with_seal({"schema": SCHEMA, "files": dict(files)}))


# --- Reading what is sealed ---------------------------------------------------------------------------------------


class SealedFolder(Folder):
    """A folder whose files are compared with their digests as they are read, each from the bytes that are used."""

    def __init__(self, folder: Folder, files: Mapping[str, str], whole: Folder | None = None) -> None:
        """Take a folder.

        Args:
            folder: which.
            files: SHA-256 by name, relative to it; what is not among them is read as it is.
            whole: the run or the data set that was sealed, for messages; None: this one.
        """
        super().__init__(folder.path if folder.is_local else folder.address, folder.address)
        self.sealed, self._whole = files, whole or folder
        """SHA-256 of its files by name."""

    def __truediv__(self, name: str) -> "SealedFolder":
        inner = {
            file.removeprefix(f"{name}/"): digest for file, digest in self.sealed.items() if _is_within(file, name)
        }
        return SealedFolder(super().__truediv__(name), inner, self._whole)

    def has(self, name: str) -> bool:
        """Whether the folder holds a file of this name.

        Raises:
            AlteredError: it does not, and it should.
        """
        there = super().has(name)
        if not there and name in self.sealed:
            raise AlteredError(f"{self}/{name}", "it is gone", str(self._whole))
        return there

    def read(self, name: str) -> bytes:
        """Whole content of a file.

        Raises:
            AlteredError: it is gone, or not what was sealed.
        """
        if name not in self.sealed:
            return super().read(name)
        try:
            with self._fs.open_input_stream(self._inside(name), compression=None) as stream:
                content = bytes(stream.read())
        except FileNotFoundError as error:
            raise AlteredError(f"{self}/{name}", "it is gone", str(self._whole)) from error
        self._compare(name, hashlib.sha256(content).hexdigest())
        return content

    def digest(self, name: str) -> str:
        """SHA-256 of a file.

        Raises:
            AlteredError: it is not the one that was sealed.
        """
        digest = super().digest(name)
        self._compare(name, digest)
        return digest

    def _compare(self, name: str, digest: str) -> None:
        if self.sealed.get(name, digest) != digest:
            raise AlteredError(f"{self}/{name}", _ALTERED, str(self._whole))

    def _opened(self, name: str) -> pa.NativeFile:
        return pa.BufferReader(self.read(name)) if name in self.sealed else super()._opened(name)


def run_of(folder: Folder) -> Folder:
    """The run that a folder is, or that it lies in as an evaluation does, or what is within one; else the folder."""
    return _run_and_place(folder)[0]


def _run_and_place(folder: Folder) -> tuple[Folder, str]:
    """The run that a folder is or lies in, and the folder's name in it."""
    place, inside = folder, ""
    for _ in range(3):
        if _is_run(place):
            return place, inside
        place, inside = place.parent, f"{place.name}/{inside}".rstrip("/")
    return folder, ""


def _is_run(folder: Folder) -> bool:
    return folder.has("spec.json") or folder.has("point.json")


def sealed_folder(folder: Folder) -> Folder:
    """The folder of a run, or one in it, whose files are compared with the run's manifest as they are read.

    The manifest is read now, once for all that is read of what this gives. Without one, as in earlier versions and
    while a run is made, it is the folder as it is.

    Raises:
        AlteredError: the run is finished, and its manifest is gone.
        DamagedError: the manifest is not what was written.
    """
    if isinstance(folder, SealedFolder):
        return folder
    run, inside = _run_and_place(folder)
    if not run.has(MANIFEST):
        if run.has(STATUS) and read_versioned(run, STATUS).get(MADE):
            raise AlteredError(f"{run}/{MANIFEST}", "it is gone, and the run is finished", str(run))
        return folder
    if _is_foreign(run):
        return folder
    sealed = SealedFolder(run, read_manifest(run))
    return sealed / inside if inside else sealed


def _is_foreign(folder: Folder) -> bool:
    """Whether a folder that is no run has a manifest of somebody else."""
    if _is_run(folder):
        return False
    try:
        content = folder.read_json(MANIFEST)
    except DamagedError:
        return True
    return not isinstance(content, dict) or not {"files", _SEAL} <= content.keys()


def seal_run(folder: Folder) -> None:
    """Seal what was measured in a folder: in the manifest of the finished run that it is or lies in, or in its own."""
    run = run_of(folder)
    if _is_run(run):
        if run.has(STATUS) and run.has(MANIFEST):
            seal(run)
    elif not run.has(MANIFEST) or not _is_foreign(run):
        inner = (f"{_EMBEDDINGS}/{name}" for name in (run / _EMBEDDINGS).files())
        seal(run, [name for name in (*run.files(), *inner) if name.endswith(_OURS) and name != MANIFEST])


def unseal_run(folder: Folder, *names: str) -> None:
    """Take files, or folders, that are about to be written anew in such a folder out of its manifest."""
    run, inside = _run_and_place(folder)
    if run.has(MANIFEST) and not _is_foreign(run):
        unseal(run, [f"{inside}/{name}" if inside else name for name in names])
