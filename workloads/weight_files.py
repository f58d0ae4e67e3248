"""Files of published weights: where they may lie on a machine, and how they get there.

Imports no torch, so that any host can be asked what it has.
"""

from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from workloads.errors import WeightsError, first_line
from workloads.plain_values import parsed
from workloads.storage import Folder
from workloads.weight_store import HUB_PREFIX, MANIFEST, kept_at, kept_folder, stored_files, weight_store

MODEL = "model.safetensors"
TENSORS = (MODEL, "pytorch_model.bin")
"""What a published model's file is called, the better one first."""
_OF_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
Files = list[tuple[str, ...]]
"""Files of a model, each as the names of which one will do."""


def local_file(weights: str, *names: str) -> Path | None:
    """The first of the files in the local folder `weights`, or else in `kept_at`; None where there is none."""
    files = (folder / name for folder in (Path(weights), kept_at(weights)) for name in names)
    return next((file for file in files if file.is_file()), None)


def place_of(weights: str, *names: str, store: Folder | None = None) -> str | None:
    """Where one of the files is, in words: on this machine, in the store, or in the hub's own cache; no hub is asked.

    Args:
        weights: their name, or a local folder.
        names: of files of which one will do.
        store: None for the one that the environment names.

    Raises:
        WeightsError: the store cannot be read.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if file := local_file(weights, *names):
        return f"this machine: {file.parent}"
    if (store := store or weight_store()) and any(name in stored_files(weights, store) for name in names):
        return f"store: {store}"
    with suppress(HFValidationError):  # a name that is none of the hub's
        if any(isinstance(try_to_load_from_cache(weights.removeprefix(HUB_PREFIX), name), str) for name in names):
            return "this machine: the hub's cache"
    return None


def hub_answers() -> bool:
    """Whether the hub can be reached, found out in seconds: its own client tries for more than a minute."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of whichever library the client is built on; all mean the same
        return False
    return True


def published_file(tower: str, weights: str, *names: str) -> Path:
    """A file of published weights on this machine, fetched if need be.

    Looks into the local folder `weights`, then into $CLIBD_CACHE/weights/<weights>, then into the store that
    $CLIBD_WEIGHTS names, then on the Hugging Face Hub.

    Args:
        tower: name for messages.
        weights: a local folder, a name, or a hub id, with or without `hf-hub:`.
        names: file names; the first that is there is taken.

    Raises:
        WeightsError: none of the files can be had; it says where to put them.
    """
    from huggingface_hub import errors, hf_hub_download

    if file := local_file(weights, *names):
        return _as_pushed(tower, weights, file)
    if not Path(weights).is_dir() and kept_folder(weights) and (file := local_file(weights, *names)):
        return _as_pushed(tower, weights, file)
    repository, kept = weights.removeprefix(HUB_PREFIX), kept_at(weights)
    wanted = " or ".join(names)
    if Path(weights).is_dir():
        raise WeightsError(tower, weights, f"the folder has no {wanted}")
    if weights.startswith(("/", ".", "~")):
        raise WeightsError(tower, weights, "there is no such folder")
    remedy = f"put {wanted} into {kept}, or name a local folder"
    reachable = hub_answers()
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, local_files_only=not reachable))
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
            reachable = False  # the next name may still be in the hub's cache; asking the network again takes long
        except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
            raise WeightsError(tower, weights, f"the hub has no such model; {remedy}") from error
        except errors.EntryNotFoundError:
            continue
        except OSError as error:
            raise WeightsError(tower, weights, f"the hub failed ({first_line(error)}); {remedy}") from error
    if reachable:
        raise WeightsError(tower, weights, f"that model on the hub has no {wanted}")
    raise WeightsError(tower, weights, f"{wanted} is not on this machine and the hub cannot be reached; {remedy}")


def _as_pushed(tower: str, weights: str, file: Path) -> Path:
    """A file that is what the manifest beside it says, where there is one.

    Raises:
        WeightsError: it is not.
    """
    status = file.stat()
    stated, digest = _digests(file, status.st_mtime_ns, status.st_size)
    if stated not in (None, digest):
        reason = f"{file} has the SHA-256 {digest}, and {MANIFEST} beside it says {stated}"
        raise WeightsError(tower, weights, reason, f"Remove {file.parent}; they are then fetched again.")
    return file


@cache
def _digests(file: Path, modified: int, size: int) -> tuple[str | None, str]:
    """What the manifest beside a file says of it, and what it has; a process asks once for a file as it lies there."""
    folder = Folder(file.parent)
    stated = folder.read_json(MANIFEST)["files"].get(file.name) if folder.has(MANIFEST) else None
    return stated, folder.digest(file.name) if stated else ""


def beside_tokenizer(weights: str, found: Collection[str]) -> list[Path]:
    """Small files of the hub that change how a tokeniser works, where one of its files was found and these exist."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    beside = []
    for name in _OF_TOKENIZER if {"tokenizer.json", "vocab.txt"} & {*found} else ():
        try:
            beside.append(Path(hf_hub_download(weights.removeprefix(HUB_PREFIX), name)))
        except (EntryNotFoundError, LocalEntryNotFoundError, OSError):
            continue  # few models have all of them
    return beside


def published_json(tower: str, weights: str, name: str) -> dict[str, Any]:
    """The fields of a JSON file beside published weights.

    Raises:
        WeightsError: it cannot be had or read, or is no object.
    """
    path = published_file(tower, weights, name)
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(tower, weights, f"its {name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise WeightsError(tower, weights, f"its {name} cannot be read (it is no object)")
    return content
