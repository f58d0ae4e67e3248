"""Databases and runs on the Hugging Face Hub: `hf-hub:OWNER/NAME` is a repository with the files of one."""

from workloads.errors import UsageError, first_line
from workloads.weight_files import hub_answers
from workloads.weight_store import HUB_PREFIX


def fetched(name: str, what: str = "database") -> str:
    """The folder of a database or a run on this machine; one of the hub is fetched whole into the hub's cache, once.

    Args:
        name: a folder, or `hf-hub:OWNER/NAME`; a version may stand behind it, `hf-hub:OWNER/NAME@VERSION`.
        what: `database` or `run`, for messages.

    Raises:
        UsageError: the hub has no such repository, or cannot be reached and the cache does not hold it.
    """
    if not name.startswith(HUB_PREFIX):
        return name
    from huggingface_hub import errors, snapshot_download

    repository, _, revision = name.removeprefix(HUB_PREFIX).partition("@")
    reachable = hub_answers()
    try:
        return str(snapshot_download(repository, revision=revision or None, local_files_only=not reachable))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        reason = f"the hub has no such {what} ({first_line(error)})"
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        reason = "it is not in the hub's cache, and the hub cannot be reached; make it reachable once"
    except OSError as error:
        reason = f"the hub failed ({first_line(error)})"
    raise UsageError(f"{name}: {reason}. Or put a copy of the {what} on this machine, and name its folder")
