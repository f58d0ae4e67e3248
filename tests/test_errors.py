"""Every error a user can meet: it crosses processes, and says in one line what is wrong."""

import inspect
import pickle

import pytest

from workloads import errors, run_errors
from workloads.errors import ClibdError, RecordError, UsageError
from workloads.run_errors import StoppedError

EXAMPLES: list[Exception] = [
    errors.ClibdError("something is wrong"),
    errors.UsageError("the command means nothing"),
    errors.SpecError("a run needs a batch of 2"),
    errors.MissingPathError("beetles", "table", "Name a file."),
    errors.OutsideError("runs", "../elsewhere"),
    errors.TooFewSpecimensError("beetles", 3, 500),
    errors.ModalitiesError("beetles", ["image"]),
    errors.MissingRunsError("table 1", "modalities", "runs"),
    errors.IncomparableError("runs/a", "runs/b", "3 queries are in one run only"),
    errors.SecretInAddressError("s3://…@bucket/runs"),
    run_errors.ClusterError("10.0.0.1:6379", "nothing answers there", "Start one."),
    run_errors.ClusterTokenError("10.0.0.1:6379", "it wants a token", "Copy it."),
    run_errors.ClusterVersionError("10.0.0.1:6379", "it runs Ray 2.58.0", "Install that."),
    errors.SourceError("beetles.tsv", "first line", "no column is one of id"),
    errors.PartitionError("unseen species train", ["Zoro bus", "Zoro bas"]),
    errors.TooManyRejectsError(3, 900, 0.001, "data/rejects.tsv"),
    errors.DownloadError("https://example.org/a.zip", "the server answers 404"),
    errors.DriftError("beetles-b500", "epochs", "15", "20"),
    errors.DamagedError("dataset.json", "not JSON"),
    errors.AlteredError("runs/a/spec.json", "it is gone", "runs/a"),
    errors.NewerVersionError("runs/a/status.json", 3, 2),
    errors.WeightsError("dna", "bert", "no such file"),
    errors.WeightsDriftError("runs/a", "run:b", "0" * 64, "1" * 64, "runs/train/b"),
    errors.ConversionError("best.pth", "it lacks logit_scale"),
    errors.EmbeddingsError("they are not finite", "run/embeddings/keys.parquet"),
    errors.ZeroShotError("the mean covariance is singular", "Ask for fewer components."),
    errors.NonFiniteLossError(7, float("inf"), "the weights of towers.dna.head.weight"),
    run_errors.RunBusyError("runs/train/a", "`clibd train`", "2026-01-01 10:00:00 UTC", "0:07", "runs"),
    run_errors.LeaseLostError("runs/train/a", "`clibd train` (process 7 on host)"),
    run_errors.NotReadyError("beetles-b500", [("node-1", "no dataset.json at /data"), ("node-2", "no GPU")]),
    run_errors.WaitedError("beetles-b500", "30:00", "4 GPUs and 28 CPUs"),
    run_errors.OutOfMemoryError(7, "node-1"),
    run_errors.MemoryRanOutError(7, "node-1", 500, 248),
    run_errors.LostWorkersError("runs/train/beetles-b500", 4, "the node went away"),
    run_errors.UnfitHostsError([("host1, host2", "the clock is 99 s ahead", "As root: `ntpdate`")]),
    run_errors.FailedRunsError("batch-size", [("a-b500", "out of memory"), ("a-b1000", "killed")]),
    run_errors.NeverPlaceableError("a run needs 8 GPUs", "the cluster has 1 node", "Take `--workers 4`."),
    errors.RecordError("the barcode is empty"),
    run_errors.StoppedError("interrupted", 120),
    run_errors.StoppedSweepError("interrupted", "1 of 2 finished."),
    run_errors.LostDriverError("lora", 6, "the actor died"),
]


def _words(value: object) -> list[str]:
    """Everything an error was told, however deep."""
    if isinstance(value, tuple | list):
        return [word for item in value for word in _words(item)]
    return [str(value)]


def test_there_is_an_example_of_every_error() -> None:
    defined = {
        cls
        for module in (errors, run_errors)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__
    }
    assert {type(error) for error in EXAMPLES} == defined


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_crosses_processes_as_it_is(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line_that_holds_all_it_was_told(error: Exception) -> None:
    message = str(error)
    assert message.strip() == message != ""
    assert message.isprintable()
    assert all(part in message for part in _words(error.args))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_misuse_exits_with_2_and_failure_with_1(error: Exception) -> None:
    if isinstance(error, RecordError | StoppedError):
        assert not isinstance(error, ClibdError)  # neither a bad record nor a stop is a failure
    elif isinstance(error, UsageError):
        assert error.exit_code == 2
    else:
        assert isinstance(error, ClibdError)
        assert error.exit_code == 1


def test_a_source_error_without_a_place_names_the_file_alone() -> None:
    assert str(errors.SourceError("a.tsv", "", "it is empty")) == "a.tsv: it is empty"
    assert str(errors.SourceError("a.tsv", "line 3", "it is empty")) == "a.tsv, line 3: it is empty"


def test_a_data_set_without_modalities_has_none() -> None:
    assert "have none" in str(errors.ModalitiesError("beetles", []))


def test_failed_runs_are_counted_and_each_has_its_reason() -> None:
    message = str(run_errors.FailedRunsError("batch-size", [("a", "killed"), ("b", "out of memory")]))
    assert "2 run(s)" in message
    assert "a: killed; b: out of memory" in message


def test_the_module_draws_every_class_in_its_tree() -> None:
    assert all(type(error).__name__ in (errors.__doc__ or "") for error in EXAMPLES)
