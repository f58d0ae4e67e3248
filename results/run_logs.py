"""What a run's folder says of the attempts at it: how each ended, and what its workers printed."""

import time
from collections.abc import Iterable
from datetime import datetime

from results.sweep_status import Statuses
from workloads.attempts import Attempt, Attempts
from workloads.command_line import clock, progress_words
from workloads.errors import MissingPathError, UsageError, some_of
from workloads.lease import read_lease
from workloads.record import RunFolder
from workloads.seals import STATUS
from workloads.storage import Folder


def found_run(runs: Folder, name: str) -> Folder:
    """The folder of a run, by its id, the beginning of one, its label, or its address.

    Raises:
        MissingPathError: there is no such run.
        UsageError: there are several.
    """
    if "/" in name and Folder(name).has("point.json"):
        return Folder(name)
    known = {each.folder: each for each in Statuses(runs).read() if each.folder}
    for fits in (
        [place for place, each in known.items() if each.run == name],
        [place for place, each in known.items() if str(each.run).startswith(name) or each.label == name],
    ):
        if len(fits) == 1:
            return runs / fits[0]
        if fits:
            listed = some_of(fits, 5)
            raise UsageError(
                f"'{name}' may be any of {len(fits)} runs under {runs}: {listed}. Name one by its whole id"
            )
    remedy = "`clibd-sweep status` lists what is there; --runs names the folder."
    raise MissingPathError(str(runs), f"run '{name}'", remedy)


def log_text(folder: Folder, number: int | None = None, worker: int | None = None) -> str:
    """How the attempts ended, what the workers of the last one printed, and what is so now.

    Args:
        folder: of a run.
        number: of the only attempt to be told of.
        worker: the only one whose words are printed.

    Raises:
        UsageError: there is no such attempt, or no words of such a worker.
    """
    attempts = Attempts(folder)
    known = {attempt.number: attempt for attempt in attempts.all()}
    if number is not None and number not in known:
        raise UsageError(f"{folder}: no attempt {number}; there are {_listed(known)}")
    last = number or max(known, default=None)
    printed = attempts.logs(last) if last is not None else {}
    if worker is not None and worker not in printed:
        raise UsageError(f"{folder}: no log of worker {worker} in attempt {last}; there are workers {_listed(printed)}")
    blocks = [ending_words(attempt) for attempt in known.values() if number in (None, attempt.number)]
    for rank, text in sorted(printed.items()):
        if worker in (None, rank):
            hosts = known[last or 0].hosts
            where = f" on {hosts[rank]}" if rank < len(hosts) else ""
            blocks.append(f"--- worker {rank}{where}, attempt {last} ---\n{text.rstrip() or '(it printed nothing)'}")
    if not known:
        blocks.append("No attempts are kept: Ray was not asked to start workers, or none has begun yet.")
    elif not printed:
        blocks.append("Its workers' words are not kept: they are still at it, or were lost with their machine.")
    return "\n\n".join([str(folder), *blocks, now_words(folder)])


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"


def ending_words(attempt: Attempt) -> str:
    """When and where an attempt was, how it ended, and its traceback."""
    began = datetime.fromtimestamp(attempt.began).strftime("%Y-%m-%d %H:%M:%S")
    hosts = ", ".join(dict.fromkeys(attempt.hosts)) or "machines that it waited for"
    lasted = f" after {clock(attempt.ended - attempt.began)}" if attempt.ended else ""
    words = f"attempt {attempt.number}: began {began}, {attempt.workers} worker(s) on {hosts}; "
    words += f"{attempt.outcome or 'no end was written'}{lasted}{f': {attempt.reason}' if attempt.reason else ''}"
    return f"{words}\n{attempt.traceback.rstrip()}" if attempt.traceback else words


def now_words(folder: Folder) -> str:
    """How the run ended, or who is at it, or how to go on."""
    if folder.has(STATUS):
        status = RunFolder(folder).status()
        reason = f": {status['reason']}" if status.get("reason") else ""
        return "\n".join(filter(None, (f"now: {status['state']}{reason}", str(status.get("traceback", "")).rstrip())))
    if (found := read_lease(folder)) and not found.holder.is_gone():
        silence = clock(max(0.0, found.silence(time.time())))
        return f"now: {progress_words(found.holder.facts)}; by {found.holder.who}; its last beat was {silence} ago"
    return "now: nobody is at it; the command that began it goes on with it"
