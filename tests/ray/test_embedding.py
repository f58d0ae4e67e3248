"""Embedding on Ray's actors: the same bits as in one process, through a worker's death, and errors as they were."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from orchestrator.embedding import embed_on_ray
from orchestrator.workers import Wanted, Workers
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, WeightsError
from workloads.evaluation.embedded import Embedded
from workloads.measuring import chunks
from workloads.measuring.chunks import EmbeddingJob, embed_here
from workloads.models.loaded import LoadedModel, open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.record import RunFolder
from workloads.run_errors import NeverPlaceableError
from workloads.spec import MODALITIES, RANKS, ExperimentSpec
from workloads.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

TWO_WORKERS = Wanted(workers=Workers(2, 2))


@dataclass(frozen=True, kw_only=True)
class Watched(EmbeddingJob):
    """A job whose actors do something before each chunk, unlike this process."""

    here: int
    """Process that asks."""
    folder: str
    """Where the actors leave word."""

    def experiment(self, dataset: PreparedDataset) -> LoadedModel:
        found = super().experiment(dataset)
        if os.getpid() != self.here:
            for tower in found.model.towers.values():
                tower.register_forward_pre_hook(self.before)
        return found

    def before(self, _: nn.Module, __: tuple[Tensor, ...]) -> None:
        word = Path(self.folder) / str(os.getpid())
        word.write_text(word.read_text() + "." if word.exists() else ".")


class DiesOnce(Watched):
    """One actor is killed on its second chunk."""

    def before(self, tower: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().before(tower, inputs)
        if len((Path(self.folder) / str(os.getpid())).read_text()) == 2:
            try:
                os.mkdir(Path(self.folder) / "killed")
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


class FindsDamage(Watched):
    """Actors meet a shard that this process has not looked at."""

    def before(self, tower: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise DamagedError("shard-3.parquet", "its second page is broken")


class LacksWeights(Watched):
    """Actors are on machines that lack a file."""

    def experiment(self, dataset: PreparedDataset) -> LoadedModel:
        if os.getpid() != self.here:
            raise WeightsError("image tower", "somewhere/weights", "they are not on this machine")
        return super().experiment(dataset)


@pytest.fixture(autouse=True)
def _actors_know_this_file() -> Iterator[None]:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def asked(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """A job's fields, of a run with first weights; a dozen chunks."""
    monkeypatch.setattr(chunks, "BATCH_SIZE", 16)
    run = RunFolder(Folder(tmp_path / "run"))
    experiment = open_untrained(tiny_spec, tiny_dataset)
    run.begin(tiny_spec, {}, {})
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    run.finish("finished")
    (tmp_path / "word").mkdir()
    job = {"run": str(run.folder), "data": str(tiny_dataset.folder), "modalities": MODALITIES}
    return {**job, "here": os.getpid(), "folder": str(tmp_path / "word")}


def nobody(done: int, of: int | None) -> None:
    """Is told, and says nothing."""


def check_same(found: Mapping[str, Embedded], expected: Mapping[str, Embedded]) -> None:
    assert list(found) == list(expected)
    for name, part in expected.items():
        assert found[name].ids.tolist() == part.ids.tolist()
        assert all(found[name].labels[rank].tolist() == part.labels[rank].tolist() for rank in RANKS)
        assert found[name].rows.keys() == part.rows.keys()
        for modality, rows in part.rows.items():
            assert np.array_equal(found[name].rows[modality], rows), (name, modality)


def test_two_actors_embed_what_one_process_does_to_the_bit(asked: dict[str, object], tmp_path: Path) -> None:
    job = Watched(**asked)  # type: ignore[arg-type]  # by the names of its fields
    told: list[tuple[int, int | None]] = []
    on_ray = embed_on_ray(job, lambda done, of: told.append((done, of)), TWO_WORKERS)
    check_same(on_ray, embed_here(job, nobody, cpu_only=True))
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]
    shares = [len(file.read_text()) for file in (tmp_path / "word").iterdir()]
    assert len(shares) == 2
    assert sum(shares) == len(told) > 6


def test_an_actor_that_is_killed_is_replaced_and_its_chunk_embedded(asked: dict[str, object], tmp_path: Path) -> None:
    job = DiesOnce(**asked)  # type: ignore[arg-type]  # by the names of its fields
    on_ray = embed_on_ray(job, nobody, TWO_WORKERS)
    assert (tmp_path / "word" / "killed").is_dir()
    check_same(on_ray, embed_here(job, nobody, cpu_only=True))


def test_an_error_of_ours_comes_out_of_an_actor_as_it_was(asked: dict[str, object]) -> None:
    with pytest.raises(DamagedError) as error:
        embed_on_ray(FindsDamage(**asked), nobody, TWO_WORKERS)  # type: ignore[arg-type]  # by the names of its fields
    assert error.value.args == ("shard-3.parquet", "its second page is broken")


def test_so_does_one_that_an_actor_meets_when_it_opens_the_run(asked: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="somewhere/weights"):
        embed_on_ray(LacksWeights(**asked), nobody, TWO_WORKERS)  # type: ignore[arg-type]  # by the names of its fields


def test_more_workers_than_there_is_room_for_are_refused_and_not_waited_for(asked: dict[str, object]) -> None:
    job = Watched(**asked)  # type: ignore[arg-type]  # by the names of its fields
    with pytest.raises(NeverPlaceableError, match="needs 999 CPUs: 999 workers of 1 CPU; this machine has"):
        embed_on_ray(job, nobody, Wanted(workers=Workers(999, 999)))
    with pytest.raises(NeverPlaceableError, match=r"1 GPU \(H900\)"):
        embed_on_ray(job, nobody, Wanted(gpu_kind="H900"))
