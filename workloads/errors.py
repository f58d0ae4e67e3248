"""Every error a user can meet, in one tree.

    ClibdError                      exit code 1
    ├── UsageError                  exit code 2: the command cannot mean anything
    │   ├── SpecError               an experiment that contradicts itself
    │   ├── MissingPathError        a file or folder that is not there, or is empty
    │   ├── TooFewSpecimensError    fewer specimens than a batch
    │   ├── ModalitiesError         fewer than two modalities to align
    │   ├── MissingRunsError        a table for which no run is finished
    │   └── IncomparableError       two runs that were not asked the same
    ├── SourceError                 a source that cannot be read as what it claims to be
    ├── PartitionError              a partition that would not measure what it claims to
    ├── TooManyRejectsError         more bad records than are allowed
    ├── DownloadError               a package that did not arrive whole
    ├── DriftError                  a finished run that was another experiment
    ├── DamagedError                a file of ours that is not what was written
    ├── WeightsError                weights that are not there or do not fit
    ├── ConversionError             a released checkpoint that cannot be converted
    ├── EmbeddingsError             embeddings that cannot be what they are taken for
    ├── ZeroShotError               features from which no zero-shot model can be made
    ├── NonFiniteLossError          training diverged
    └── FailedRunsError             some runs of a sweep failed
    RecordError                     one bad record: it goes to the reject list and the work goes on

Every class hands its arguments to ``Exception``, so each instance pickles and crosses Ray's processes as it is.
"""

from collections.abc import Sequence


class ClibdError(Exception):
    """What a command reports as one sentence instead of a traceback."""

    exit_code = 1


class UsageError(ClibdError):
    """The command as given cannot be carried out."""

    exit_code = 2


class SpecError(UsageError):
    """An experiment spec that contradicts itself."""


class MissingPathError(UsageError):
    """A path that should hold something and does not."""

    def __init__(self, path: str, wanted: str, remedy: str) -> None:
        super().__init__(path, wanted, remedy)

    def __str__(self) -> str:
        path, wanted, remedy = self.args
        return f"{path}: no {wanted} there. {remedy}"


class TooFewSpecimensError(UsageError):
    """A batch larger than the training split."""

    def __init__(self, dataset: str, num_specimens: int, batch_size: int) -> None:
        super().__init__(dataset, num_specimens, batch_size)

    def __str__(self) -> str:
        dataset, count, batch = self.args
        return (
            f"{dataset}: {count} training specimen(s) cannot fill one batch of {batch}. "
            "Prepare more specimens, or use `--demo`, whose batches are small."
        )


class ModalitiesError(UsageError):
    """Aligning needs two modalities."""

    def __init__(self, dataset: str, found: Sequence[str]) -> None:
        super().__init__(dataset, tuple(found))

    def __str__(self) -> str:
        dataset, found = self.args
        return (
            f"{dataset}: aligning needs at least two of image, dna and text, and these specimens have "
            f"{', '.join(found) or 'none'}. Import barcodes, images or labels for them as well."
        )


class MissingRunsError(UsageError):
    """A table for which no run is finished."""

    def __init__(self, table: str, sweep: str, where: str) -> None:
        super().__init__(table, sweep, where)

    def __str__(self) -> str:
        table, sweep, where = self.args
        return f"{table}: no finished run of the sweep '{sweep}' under {where}. Run `clibd-sweep {sweep}` first."


class IncomparableError(UsageError):
    """Two runs that were not asked the same."""

    def __init__(self, first: str, second: str, reason: str) -> None:
        super().__init__(first, second, reason)

    def __str__(self) -> str:
        first, second, reason = self.args
        return (
            f"{first} and {second} cannot be compared: {reason}. "
            "Evaluate both on the same prepared data set, with the same recipe and keys."
        )


class SourceError(ClibdError):
    """A source file that cannot be read as what it claims to be."""

    def __init__(self, path: str, where: str, reason: str) -> None:
        super().__init__(path, where, reason)

    def __str__(self) -> str:
        path, where, reason = self.args
        return f"{path}{f', {where}' if where else ''}: {reason}"


class PartitionError(ClibdError):
    """A partition that would not measure what it claims to; these checks cannot be switched off."""

    def __init__(self, problem: str, examples: Sequence[str]) -> None:
        super().__init__(problem, tuple(examples))

    def __str__(self) -> str:
        problem, examples = self.args
        listed = ", ".join(examples[:5]) + (f" and {len(examples) - 5:,} more" if len(examples) > 5 else "")
        return f"{problem}{f' ({listed})' if examples else ''}. Correct the lists or the labels, and partition again."


class TooManyRejectsError(ClibdError):
    """More bad records than are allowed, each with its reason in a list."""

    def __init__(self, num_rejected: int, num_seen: int, allowed: float, where: str) -> None:
        super().__init__(num_rejected, num_seen, allowed, where)

    def __str__(self) -> str:
        rejected, seen, allowed, where = self.args
        return (
            f"{rejected:,} of {seen:,} records cannot be used, and a share of {allowed} is allowed; "
            f"the list is {where}. Mend them, or allow more with --max-rejects."
        )


class DownloadError(ClibdError):
    """A package that did not arrive whole."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)

    def __str__(self) -> str:
        address, reason = self.args
        return f"{address}: {reason}. Run the command again: what has arrived intact is kept."


class DriftError(ClibdError):
    """A finished run whose spec is not the asked one, although its id is."""

    def __init__(self, run: str, field: str, stored: str, asked: str) -> None:
        super().__init__(run, field, stored, asked)

    def __str__(self) -> str:
        run, field, stored, asked = self.args
        return (
            f"{run}: the finished run has {field} = {stored}, this sweep asks for {asked}. "
            "Move that run folder away, or run the version that made it."
        )


class DamagedError(ClibdError):
    """A file of ours that is not what was written."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)

    def __str__(self) -> str:
        path, reason = self.args
        return f"{path}: {reason}. The file is damaged or of another version; remove it and run the command again."


class WeightsError(ClibdError):
    """Weights that are not there, or do not fit the tower."""

    def __init__(self, tower: str, weights: str, reason: str) -> None:
        super().__init__(tower, weights, reason)

    def __str__(self) -> str:
        tower, weights, reason = self.args
        return (
            f"{tower} tower: the weights '{weights}' cannot be used: {reason}. "
            "Give a local file or folder, or make the hub reachable once so that its cache is filled."
        )


class ConversionError(ClibdError):
    """A released checkpoint that cannot be converted."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)

    def __str__(self) -> str:
        path, reason = self.args
        return f"{path} cannot be converted: {reason}."


class EmbeddingsError(ClibdError):
    """Embeddings, or predictions from them, that cannot be what they are taken for."""

    def __init__(self, reason: str, where: str = "embeddings") -> None:
        super().__init__(reason, where)

    def __str__(self) -> str:
        reason, where = self.args
        return f"{where}: {reason}. Embed the specimens again: `clibd evaluate RUN --data DIR --again`."


class ZeroShotError(ClibdError):
    """Features, species or settings from which no zero-shot model can be made."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)

    def __str__(self) -> str:
        reason, remedy = self.args
        return f"zero-shot learning: {reason}. {remedy}"


class NonFiniteLossError(ClibdError):
    """The loss or its gradient became NaN or infinite."""

    def __init__(self, step: int, value: float, where: str) -> None:
        super().__init__(step, value, where)

    def __str__(self) -> str:
        step, value, where = self.args
        return (
            f"step {step}: the loss is {value}, and what is not finite is {where}. The last good checkpoint is kept; "
            "a lower learning rate or fp32 usually helps."
        )


class FailedRunsError(ClibdError):
    """Some runs of a sweep failed, each with its reason in its run folder."""

    def __init__(self, sweep: str, failed: Sequence[tuple[str, str]]) -> None:
        super().__init__(sweep, tuple(failed))

    def __str__(self) -> str:
        sweep, failed = self.args
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failed)
        return f"{sweep}: {len(failed)} run(s) failed ({reasons}). Start the sweep again to run only these."


class RecordError(Exception):
    """One bad record; it goes to the reject list with this reason."""
