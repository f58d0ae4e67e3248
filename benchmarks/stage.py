"""What the parts of a benchmark of a GPU share: specimens, towers with drawn weights, and the product's own training.

On a GPU the towers are the paper's, elsewhere small ones: every part can be tried without a GPU, in seconds, and says
at which scale it was.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from joblib import cpu_count
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, schedule

from benchmarks.gpu_measuring import free_memory, matrix_teraflops, peaks
from benchmarks.our_step import gflop_per_sample
from benchmarks.parts import Figures
from workloads.data.inputs.batches import EpochBatches, Specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, Work, prepare
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import synthetic_source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.execution import Execution
from workloads.experiments import FROM_SCRATCH, Scale, base_spec
from workloads.fields import with_fields
from workloads.models.build import build_model
from workloads.models.clibd import Clibd
from workloads.models.loaded import LoadedModel, open_untrained
from workloads.placement import Placement
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training.loop import fit
from workloads.training.report import Report
from workloads.training.step import Training

_PROFILED = 2
"""Steps that the profiler sees, behind one that warms it."""
_AS_A_RUN = Execution()
_SHORT = ("epochs=1", "first_selected_epoch=0", "dna.dropout=0.1", "text.dropout=0.1")
"""One epoch, and the paper's dropout, which small towers lack."""
_SEED = 8
_MOST_LOADERS = 6
_ROWS = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured at a scale."""

    scale: Scale
    batch: int
    large: int
    checked: int
    """Specimens of a gradient that is compared with another."""
    matrix: int
    drawn: int
    """Synthetic specimens where no data set is given."""
    image_size: int
    timed: int = 6
    """Steps."""


SIZES = {
    "cuda": Sizes(scale="paper", batch=500, large=2000, checked=16, matrix=8192, drawn=2048, image_size=256),
    "cpu": Sizes(scale="small", batch=8, large=24, checked=4, matrix=128, drawn=150, image_size=48, timed=2),
}
"""By kind of device."""


class Stage:
    """Everything is made when a part first asks for it.

    Args:
        data: prepared data set; None draws a synthetic one.
        scratch: folder for it and for checkpoints.
    """

    def __init__(self, data: str | None, scratch: Path) -> None:
        self.device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        self.sizes = SIZES[self.device.type]
        self.scratch = scratch
        self._data = data
        on_gpu = self.device.type == "cuda"
        loaders = max(0, min(_MOST_LOADERS, cpu_count() - 2)) if on_gpu else 0
        self.placement = Placement(self.device, loader_processes=loaders)

    @cached_property
    def dataset(self) -> PreparedDataset:
        """That is given, or was drawn."""
        if self._data is None:
            return drawn_dataset(self.scratch, self.sizes.drawn, self.sizes.image_size)
        return PreparedDataset(Folder(self._data))

    @cached_property
    def experiment(self) -> LoadedModel:
        """The towers of recipe `paper` with drawn weights, on the device; parts take copies."""
        spec = with_fields(base_spec(self.sizes.scale, self.dataset.facts.data, "paper"), (*FROM_SCRATCH, *_SHORT))
        loaded = open_untrained(spec, self.dataset)
        loaded.model.to(self.device)
        return loaded

    @cached_property
    def teraflops(self) -> float:
        """Of a square matrix product in bf16."""
        return matrix_teraflops((self.sizes.matrix,) * 3, self.device)

    @cached_property
    def gflop(self) -> float:
        """Operations of a specimen, forward and backward, counted on shapes alone."""
        experiment = self.experiment  # which is not to be made on `meta`
        with torch.device("meta"):
            model = build_model(experiment.spec, experiment.inputs, pretrained=False)
        return gflop_per_sample(model, {name: values.to("meta") for name, values in self.batch(2).items()})

    @property
    def about(self) -> Figures:
        """What every figure depends on."""
        facts = self.dataset.facts
        data = f"SYNTHETIC {facts.name}" if facts.synthetic else facts.name
        return {"scale": self.sizes.scale, "data": data, "loader_processes": self.placement.loader_processes}

    def specimens(self, count: int) -> Specimens:
        """That many to train on: those of the data set, again and again."""
        whole = self.experiment.specimens(self.dataset, self.dataset.facts.splits.training)
        whole.trained = np.resize(whole.trained, count)
        return whole

    def batch(self, count: int) -> dict[str, Tensor]:
        """A batch of training, in host memory."""
        spec = replace(self.experiment.spec, batch_size=count)
        return EpochBatches(self.specimens(count), spec, 0)[0]

    def training(
        self, spec: ExperimentSpec, execution: Execution = _AS_A_RUN, steps: int = 1, model: Clibd | None = None
    ) -> "TimedTraining":
        """Before its first step, with one epoch of so many before it; on a copy of the model unless one is given."""
        own = deepcopy(self.experiment.model) if model is None else model
        return TimedTraining(spec, own, steps * spec.batch_size, self.placement, execution)

    def trained(
        self,
        batch_size: int,
        execution: Execution = _AS_A_RUN,
        *,
        warm: int = 3,
        timed: int | None = None,
        profiled: bool = False,
        spec: ExperimentSpec | None = None,
        model: Clibd | None = None,
    ) -> Figures:
        """Some steps of the product's own loop with its loaders: rate, memory, waits, and where the time goes.

        Args:
            batch_size: of the loss.
            execution: as a run has it.
            warm: steps before those that are timed, one at least: it waits for the first batch.
            timed: steps; None: those of the scale.
            profiled: whether torch's profiler looks at two more steps.
            spec: instead of the stage's, whatever its batch.
            model: instead of a copy of the stage's.
        """
        free_memory(self.device)
        timed = timed or self.sizes.timed
        last, seen = warm + timed, list[tuple[float, float, float]]()
        spec = replace(spec or self.experiment.spec, batch_size=batch_size)
        training = self.training(spec, execution, last + (1 + _PROFILED if profiled else 0), model)
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
        plan = schedule(wait=last, warmup=1, active=_PROFILED, repeat=1)
        with profile(activities=kinds, schedule=plan) if profiled else nullcontext() as profiler:

            def hear(report: Report) -> None:
                if report.event == "step":
                    seen.append((training.tally.seconds, training.tally.waited, report.loss))
                    if profiler:
                        profiler.step()

            fit(training, self.specimens(training.steps_per_epoch * batch_size), [hear])
        assert training.shares is not None
        seconds, waited = (seen[last - 1][column] - seen[warm - 1][column] for column in (0, 1))
        rate = timed * batch_size / seconds
        return {
            **self.about,
            "batch_size": batch_size,
            "chunks": training.shares.num_chunks,
            "specimens_at_a_time": max(training.shares.chunk_sizes(0)),
            "probe_seconds": training.probe_seconds,
            "first_step_seconds": seen[0][0],
            "specimens_per_second": rate,
            "waited_for_batches": waited / seconds,
            "specimens_per_second_without_waits": timed * batch_size / (seconds - waited),
            "share_of_matrix_product": self.gflop * rate / 1000 / self.teraflops,
            "losses": [loss for *_, loss in seen],
            **peaks(self.device),
            **(_where_time_goes(profiler, 1000 * batch_size / rate) if profiler else {}),
        }


class TimedTraining(Training):
    """Notes how long it was tried what fits into memory."""

    probe_seconds = 0.0

    def cut(self, specimens: Specimens) -> None:
        """As `Training.cut`."""
        started = perf_counter()
        super().cut(specimens)
        self.probe_seconds = perf_counter() - started


def _where_time_goes(profiler: profile, step_ms: float) -> Figures:
    """Of a step, in the mean: milliseconds of the device's kernels, waits for it, and the rows that take most."""
    rows = profiler.key_averages()
    on_gpu = any(row.self_device_time_total for row in rows)
    own = attrgetter("self_device_time_total" if on_gpu else "self_cpu_time_total")
    # On a GPU an operator has the time of its kernels too, and so has what the profiler or a library calls by a name.
    kernels = [row for row in rows if own(row) and (not on_gpu or row.device_type.name == "CUDA")]
    kernels = [row for row in kernels if not row.is_user_annotation]
    waits = [row for row in rows if "Synchronize" in row.key]
    each = 1000 * _PROFILED  # of microseconds of all profiled steps
    busy = sum(own(row) for row in kernels) / each
    return {
        "step_ms": step_ms,
        "busy_ms": busy,
        "busy_share": busy / step_ms,
        "waits_for_device": sum(row.count for row in waits) / _PROFILED,
        "waits_for_device_ms": sum(row.self_cpu_time_total for row in waits) / each,
        "rows_ms": {row.key[:90]: own(row) / each for row in sorted(kernels, key=own, reverse=True)[:_ROWS]},
    }


def drawn_dataset(folder: Path, count: int, image_size: int) -> PreparedDataset:
    """Synthetic insects, prepared in this process."""
    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(synthetic_source(count, _SEED), table)
    table.with_splits(partition(table.column("species")), "paper, seed 42", table)
    target = Folder(folder / "prepared")
    prepare(table, target, DatasetOptions(name="first-light", image_size=image_size), _in_turn)
    return PreparedDataset(target)


def _in_turn(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
    return map(work, shards)
