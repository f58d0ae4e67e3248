"""How good a model is: its retrievals, measured as `clibd evaluate` does."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from clibd.runs import Run
from results.measured import evaluation_sheet
from results.render import render_sheets
from workloads.errors import UsageError
from workloads.evaluation.openclip_row import Prompts
from workloads.lease import Busy, held
from workloads.measuring.chunks import embed_here
from workloads.measuring.evaluation_folder import (
    Embed,
    MeasuredFolder,
    check_finished,
    is_openclip,
    measure_again,
    measure_openclip,
    measure_run,
    openclip_folder,
)
from workloads.record import Measurement, RunFolder, measurements_to_table
from workloads.seals import run_of
from workloads.spec import Fusion, Recipe
from workloads.storage import Folder


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of a model, and where it lies."""

    folder: str
    """With predictions, measurements and embeddings (docs/files.md)."""
    measurements: tuple[Measurement, ...]
    about: Mapping[str, Any]
    """By which rules it was measured (evaluation.json)."""

    @property
    def table(self) -> pa.Table:
        """A row a number, with its 95 % interval."""
        return measurements_to_table(self.measurements)

    def _repr_html_(self) -> str:
        return render_sheets([evaluation_sheet(self.about, self.measurements, full=False)], "html")


def evaluate(
    run: "Run | str | os.PathLike[str]",
    data: "str | os.PathLike[str] | None" = None,
    *,
    out: "str | os.PathLike[str] | None" = None,
    keys: Collection[str] = (),
    fusion: Fusion | None = None,
    recipe: Recipe | None = None,
    prompts: Prompts = "openai",
    untrained: bool = False,
    training: bool = False,
    again: bool = False,
    cpu: bool = False,
    busy: Busy = "refuse",
    embed: Embed | None = None,
) -> Evaluation:
    """Embed keys and queries once, search exactly, and measure with 95 % intervals, beside chance and floors.

    Args:
        run: a run, the folder of one, or an OpenCLIP model: `hf-hub:…`, `NAME:TAG`, or a folder in its layout.
        data: prepared data set; None: the run's own embeddings are measured again.
        out: folder to write; None: in the run, or of an OpenCLIP model in the working directory.
        keys: choices beside all keys: `seen`, `unseen`, `own`; and `calibrated`, `csls`, `inverted_softmax`.
        fusion: how image and barcode of a specimen become one row; None: the run's own way.
        recipe: decides what a missing name does; None: the run's, of an OpenCLIP model `corrected`.
        prompts: the sentences around a label, of an OpenCLIP model.
        untrained: the run as it was before training.
        training: whether named specimens that train are embedded too.
        again: whether stored embeddings are of no interest.
        cpu: whether GPUs are left alone.
        busy: what to do where another process writes there.
        embed: makes the embeddings of a run, elsewhere; None: in this process.

    Raises:
        UsageError: what is asked means nothing for this model.
        MissingPathError: the run is not finished, or there is no data set.
        EmbeddingsError: the folder holds embeddings of something else.
    """
    model = str(run.folder.folder) if isinstance(run, Run) else os.fspath(run)
    target = None if out is None else Folder(os.fspath(out))
    if target is not None and target.has("spec.json"):
        raise UsageError(f"{target} is the folder of a run, whose own measurements would be lost; name another")
    if is_openclip(model):
        if data is None or untrained or training or fusion:
            raise UsageError("an OpenCLIP model needs --data, and is measured as it is, on keys and queries alone")
        where = Folder(os.fspath(data))
        target = target or openclip_folder(model, where)
        with held(run_of(target), busy):
            made = measure_openclip(model, where, target, recipe or "corrected", prompts, keys, cpu, again)
        return _evaluation(made)
    folder = RunFolder(Folder(model))
    if data is None and (untrained or again or training):
        raise UsageError("without --data a run's own embeddings are measured; name a data set to embed it")
    embed = embed or partial(embed_here, cpu_only=cpu)
    if not folder.folder.has("spec.json"):  # no run, perhaps no folder, in which no lease can be taken
        check_finished(folder)
    with held(run_of(target or folder.folder), busy):
        if data is None:
            return _evaluation(measure_again(folder, target, recipe, keys, fusion))
        where = Folder(os.fspath(data))
        made = measure_run(folder, where, target, recipe, keys, untrained, training, embed, cpu, again, fusion)
        return _evaluation(made)


def _evaluation(made: MeasuredFolder) -> Evaluation:
    return Evaluation(str(made.folder), tuple(made.measurements), made.about)
