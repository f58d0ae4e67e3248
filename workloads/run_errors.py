"""Errors of runs that machines and commands share: where they cannot be placed or begin, and what ends them.

They stand in the tree of `workloads.errors`.
"""

from collections.abc import Sequence

from workloads.errors import ClibdError, UsageError


class NeverPlaceableError(UsageError):
    """More workers than all machines have room for that are there or may be added."""

    sentence = "{0}; {1}. {2}"

    def __init__(self, need: str, have: str, remedy: str, /) -> None: ...


class ClusterError(UsageError):
    """A Ray cluster that cannot be used."""

    sentence = "the Ray cluster at {0}: {1}. {2}"

    def __init__(self, address: str, problem: str, remedy: str, /) -> None: ...


class ClusterTokenError(ClusterError):
    """Without the cluster's token, or with that of another."""


class ClusterVersionError(ClusterError):
    """Another Ray, or another Python, than the cluster's."""


class LostDriverError(ClibdError):
    """The process that drives a run was lost again and again, and the run got no further in between."""

    sentence = (
        "{0}: the process that drives it was lost {1} times in a row, and the run got no further between ({2}). "
        "Memory is what kills it most often: `dmesg | grep -i oom` and `ray memory` on its host say more."
    )

    def __init__(self, run: str, times: int, last: str, /) -> None: ...


class RunBusyError(ClibdError):
    """Another process writes into the run."""

    sentence = (
        "{0} is written to by {1} since {2}; its last beat was {3} ago. "
        "Add --busy wait to the command to have it wait, or see what is done there: clibd-sweep status --runs {4}"
    )

    def __init__(self, run: str, who: str, began: str, ago: str, runs: str, /) -> None: ...


class NotReadyError(ClibdError):
    """Machines on which a run cannot begin, each with its reason; found before its workers join."""

    def __init__(self, run: str, reasons: Sequence[tuple[str, str]], /) -> None: ...

    def __str__(self) -> str:
        run, reasons = self.args
        listed = "; ".join(f"{host}: {reason}" for host, reason in reasons)
        return f"{run}: {len(reasons)} worker(s) cannot begin: {listed}"


class WaitedError(ClibdError):
    """Machines that did not come in the time given."""

    sentence = "{0}: waited {1} for {2}, as --wait allows. Start more machines, or leave out --wait to wait for them."

    def __init__(self, run: str, waited: str, wanted: str, /) -> None: ...


class OutOfMemoryError(ClibdError):
    """Not even one specimen at a time fits into memory."""

    sentence = (
        "step {0}: {1} has no memory for even one specimen at a time. Add --checkpoint-blocks, which takes a tenth of "
        "the memory; or end what else takes memory there, or take a machine with more."
    )

    def __init__(self, step: int, host: str, /) -> None: ...


class MemoryRanOutError(ClibdError):
    """Memory ran out where a step cannot be taken again; it is noted that fewer specimens fit."""

    sentence = (
        "step {0}: memory ran out on {1}, with {2} specimens embedded at a time, where a step cannot be taken again. "
        "Start the same command again: it goes on from the newest checkpoint with {3} at a time."
    )

    def __init__(self, step: int, host: str, at_a_time: int, next_time: int, /) -> None: ...


class LostWorkersError(ClibdError):
    """Workers that were lost, or failed, again and again, and no checkpoint in between."""

    sentence = (
        "{0}: its workers ended {1} times in a row without a checkpoint in between, the last time because {2}. "
        "What they printed is in {0}/attempts. Started again, the run goes on from its newest checkpoint."
    )

    def __init__(self, run: str, times: int, reason: str, /) -> None: ...


class UnfitHostsError(ClibdError):
    """Hosts on which runs cannot begin; each with its reason and its remedy."""

    def __init__(self, unfit: Sequence[tuple[str, str, str]], /) -> None: ...

    def __str__(self) -> str:
        told = "; ".join(f"{hosts}: {reason}. {remedy}" for hosts, reason, remedy in self.args[0])
        return f"not every host is fit ({told}). `clibd doctor` with the same options says all that it finds."


class FailedRunsError(ClibdError):
    """Some runs of a sweep failed, each with its reason in its run folder."""

    def __init__(self, sweep: str, failed: Sequence[tuple[str, str]], /) -> None: ...

    def __str__(self) -> str:
        sweep, failed = self.args
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failed)
        return f"{sweep}: {len(failed)} run(s) failed ({reasons}). Start the sweep again to run only these."


class StoppedError(Exception):
    """A training stopped as it was asked to, and is saved; the same command goes on with it."""

    def __init__(self, reason: str, step: int = 0) -> None:
        """Say why, as `workloads.stopping.Stop` did, and after how many steps."""
        super().__init__(reason, step)

    def __str__(self) -> str:
        reason, step = self.args
        return f"{reason}: saved after step {step}; start the same command again to go on"


class LeaseLostError(StoppedError):
    """Another process has taken the run over, as this one had not been heard of for a while; it writes no more."""

    def __init__(self, run: str, taker: str) -> None:
        """Say which run, and who has it."""
        Exception.__init__(self, run, taker)

    def __str__(self) -> str:
        run, taker = self.args
        return (
            f"{run}: this process was not heard of for a while, and {taker} has taken the run over, so this one ends. "
            "Nothing is lost: the other goes on from the newest checkpoint"
        )


class StoppedSweepError(StoppedError):
    """A sweep stopped as it was asked to; what had begun is saved."""

    def __init__(self, reason: str, words: str) -> None:
        """Say why, what is finished, what is saved, and how to go on."""
        Exception.__init__(self, reason, words)

    def __str__(self) -> str:
        reason, words = self.args
        return f"{reason}. {words}"
