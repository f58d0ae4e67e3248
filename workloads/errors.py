"""Every error a user can meet, in one tree; those of runs that machines and commands share are in `run_errors.py`.

    ClibdError                      exit code 1
    ├── UsageError                  exit code 2: the command cannot mean anything
    │   ├── SpecError               an experiment that contradicts itself
    │   ├── MissingPathError        a file or folder that is not there, or is empty
    │   ├── OutsideError            a name that leads out of the folder it was to lie in
    │   ├── TooFewSpecimensError    fewer specimens than a batch
    │   ├── ModalitiesError         fewer than two modalities to align
    │   ├── MissingRunsError        a table for which no run is finished
    │   ├── IncomparableError       two runs that were not asked the same
    │   ├── NeverPlaceableError     more than all machines together have
    │   ├── SecretInAddressError    an address with a key in it
    │   └── ClusterError            a Ray cluster that cannot be used
    │       ├── ClusterTokenError   without its token, or with another
    │       └── ClusterVersionError another Ray or another Python
    ├── SourceError                 a source that cannot be read as what it claims to be
    ├── PartitionError              a partition that would not measure what it claims to
    ├── TooManyRejectsError         more bad records than are allowed
    ├── DownloadError               a package that did not arrive whole
    ├── DriftError                  a finished run that was another experiment
    ├── DamagedError                a file of ours that is not what was written
    │   └── AlteredError            one whose digest is not that of its seal
    ├── NewerVersionError           a file of ours that a newer version wrote
    ├── WeightsError                weights that are not there or do not fit
    ├── WeightsDriftError           other weights than the run began with, under the same name
    ├── ConversionError             a released checkpoint that cannot be converted
    ├── EmbeddingsError             embeddings that cannot be what they are taken for
    ├── ZeroShotError               features from which no zero-shot model can be made
    ├── NonFiniteLossError          training diverged
    ├── LostDriverError             the process that drives a run was lost again and again
    ├── RunBusyError                another process writes into the run
    ├── NotReadyError               machines on which a run cannot begin
    ├── WaitedError                 machines that did not come in the time given
    ├── OutOfMemoryError            not even one specimen fits into memory
    ├── MemoryRanOutError           memory ran out within a step; the next start embeds fewer
    ├── LostWorkersError            workers that were lost again and again
    ├── UnfitHostsError             hosts on which runs cannot begin
    └── FailedRunsError             some runs of a sweep failed
    RecordError                     one bad record: it goes to the reject list and the work goes on
    StoppedError                    a training that was asked to stop, and can go on: no failure
    ├── StoppedSweepError           a sweep, likewise
    └── LeaseLostError              another process has taken the run over

``Exception`` keeps the arguments of every class by their places, so each instance pickles and crosses Ray's processes
as it is; an ``__init__`` without a body only says what they are.
"""

import math
from collections.abc import Sequence


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def some_of(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


class ClibdError(Exception):
    """What a command reports as one sentence instead of a traceback."""

    exit_code = 1
    sentence = "{0}"
    """In which the arguments stand by their number."""

    def __str__(self) -> str:
        return self.sentence.format(*self.args)


class UsageError(ClibdError):
    """The command as given cannot be carried out."""

    exit_code = 2


class SpecError(UsageError):
    """An experiment spec that contradicts itself."""


class MissingPathError(UsageError):
    """A path that should hold something and does not."""

    sentence = "{0}: no {1} there. {2}"

    def __init__(self, path: object, wanted: str, remedy: str, /) -> None:
        super().__init__(str(path), wanted, remedy)


class OutsideError(UsageError):
    """A name that leads out of the folder it was to lie in, or that no file can have."""

    sentence = "{0}: nothing inside can be called {1!r}. Give it a plain name: letters, digits and .-_"

    def __init__(self, folder: str, name: str, /) -> None: ...


class TooFewSpecimensError(UsageError):
    """A batch larger than the training split."""

    sentence = (
        "{0}: {1} training specimen(s) cannot fill one batch of {2}. "
        "Prepare more specimens, or take a batch of {1} or less: `clibd train --batch-size {1}`; "
        "of a sweep, `clibd-sweep NAME --scale small` takes a tenth of each batch."
    )

    def __init__(self, dataset: str, num_specimens: int, batch_size: int, /) -> None: ...


class ModalitiesError(UsageError):
    """Aligning needs two modalities."""

    def __init__(self, dataset: str, modalities: Sequence[str], /) -> None: ...

    def __str__(self) -> str:
        dataset, modalities = self.args
        return (
            f"{dataset}: aligning needs at least two of image, dna and text, and these specimens have "
            f"{', '.join(modalities) or 'none'}. Import barcodes, images or labels for them as well."
        )


class MissingRunsError(UsageError):
    """A table for which no run is finished."""

    sentence = "{0}: no finished run of the sweep '{1}' under {2}. Run `clibd-sweep {1}` first."

    def __init__(self, table: str, sweep: str, where: str, /) -> None: ...


class IncomparableError(UsageError):
    """Two runs that were not asked the same."""

    sentence = (
        "{0} and {1} cannot be compared: {2}. "
        "Evaluate both on the same prepared data set, with the same recipe and keys."
    )

    def __init__(self, first: str, second: str, reason: str, /) -> None: ...


class SecretInAddressError(UsageError):
    """An address with a key, a password or a token in it, which logs and `ps` would show."""

    sentence = (
        "{0}: the address holds a secret, which others could read in `ps` and in logs. Leave it out of the address; "
        "put it into the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or into a file of mode 0600 such "
        "as ~/.aws/credentials, on every machine."
    )

    def __init__(self, address: str, /) -> None: ...


class SourceError(ClibdError):
    """A source file that cannot be read as what it claims to be."""

    def __init__(self, path: object, where: str, reason: str, /) -> None:
        super().__init__(str(path), where, reason)

    def __str__(self) -> str:
        path, where, reason = self.args
        return f"{path}{f', {where}' if where else ''}: {reason}"


class PartitionError(ClibdError):
    """A partition that would not measure what it claims to; these checks cannot be switched off."""

    def __init__(self, problem: str, examples: Sequence[str], /) -> None: ...

    def __str__(self) -> str:
        problem, examples = self.args
        listed = f" ({some_of(examples, 5)})" if examples else ""
        return f"{problem}{listed}. Correct the lists or the labels, and partition again."


class TooManyRejectsError(ClibdError):
    """More bad records than are allowed, each with its reason in a list."""

    def __init__(self, num_rejected: int, num_records: int, allowed: float, where: str, /) -> None: ...

    def __str__(self) -> str:
        num_rejected, num_records, allowed, where = self.args
        share = num_rejected / max(num_records, 1)
        enough = math.ceil(1e4 * share) / 1e4
        return (
            f"{num_rejected:,} of all {num_records:,} records cannot be used ({share:.2%}), and a share of {allowed} "
            f"is allowed; the list is {where}. Mend or allow them: `clibd data prepare --max-rejects {enough:g}`."
        )


class DownloadError(ClibdError):
    """A package that did not arrive whole."""

    sentence = "{0}: {1}. Run the command again: what has arrived intact is kept."

    def __init__(self, address: str, reason: str, /) -> None: ...


class DriftError(ClibdError):
    """A finished run whose spec is not the asked one, although its id is."""

    sentence = (
        "{0}: the finished run has {1} = {2}, this sweep asks for {3}. "
        "Move that run folder away, or run the version that made it."
    )

    def __init__(self, run: str, field: str, stored: str, asked: str, /) -> None: ...


class DamagedError(ClibdError):
    """A file of ours that is not what was written."""

    sentence = "{0}: {1}. The file is damaged or of another version; remove it and run the command again."

    def __init__(self, path: str, reason: str, /) -> None: ...


class AlteredError(DamagedError):
    """A file that is not what its folder was sealed with."""

    sentence = "{0}: {1}. `clibd verify {2}` says what of it is damaged, and what to do."

    def __init__(self, path: str, reason: str, folder: str, /) -> None:
        super().__init__(path, reason)
        self.args = path, reason, folder


class NewerVersionError(ClibdError):
    """A file of ours that a newer version wrote."""

    sentence = (
        "{0}: written by a newer version (schema {1}; this one knows up to {2}). Install that version to read it."
    )

    def __init__(self, path: str, schema: int, known: int, /) -> None: ...


_ELSEWHERE = "Give a local file or folder, or make the hub reachable once so that its cache is filled."


class WeightsError(ClibdError):
    """Weights that are not there, or do not fit the tower."""

    def __init__(self, tower: str, weights: str, reason: str, remedy: str = _ELSEWHERE) -> None:
        super().__init__(tower, weights, reason, remedy)

    def __str__(self) -> str:
        tower, weights, reason, remedy = self.args
        return f"{f'{tower} tower: ' if tower else ''}the weights '{weights}' cannot be used: {reason}. {remedy}"


class WeightsDriftError(ClibdError):
    """Other weights than the run began with, under the same name."""

    sentence = (
        "{0}: it began with weights '{1}' of SHA-256 {2}, and those at {4} have {3}. Bring "
        "the former back there, or move the folder {0} away, so that the run is trained anew with the latter."
    )

    def __init__(self, run: str, weights: str, before: str, now: str, address: str, /) -> None: ...


class ConversionError(ClibdError):
    """A released checkpoint that cannot be converted."""

    sentence = "{0} cannot be converted: {1}."

    def __init__(self, path: str, reason: str, /) -> None: ...


class EmbeddingsError(ClibdError):
    """Embeddings, or predictions from them, that cannot be what they are taken for."""

    sentence = "{1}: {0}. Embed the specimens again: `clibd evaluate RUN --data DIR --again`."

    def __init__(self, reason: str, where: str = "embeddings") -> None:
        super().__init__(reason, where)


class ZeroShotError(ClibdError):
    """Features, species or settings from which no zero-shot model can be made."""

    sentence = "zero-shot learning: {0}. {1}"

    def __init__(self, reason: str, remedy: str, /) -> None: ...


class NonFiniteLossError(ClibdError):
    """The loss or its gradient became NaN or infinite."""

    sentence = (
        "step {0}: the loss is {1}, and what is not finite is {2}. The last good checkpoint is kept; "
        "a lower learning rate or fp32 usually helps."
    )

    def __init__(self, step: int, value: float, where: str, /) -> None: ...


class RecordError(Exception):
    """One bad record; it goes to the reject list with this reason."""
