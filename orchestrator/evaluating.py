"""Evaluations as functions: a trained run, its towers as they were, or an OpenCLIP model, each left in one folder.

Embeddings are made once and kept there. They are made in this process, or on Ray's actors where resources are given:
in the session that there is, such as that of a sweep's trial, or in one for the time of the call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from orchestrator.embedding import Job, check_room, embed_here, embed_on_ray
from orchestrator.progress import counting, stderr_console
from orchestrator.resources import Resources
from orchestrator.session import ray_session
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import EmbeddingsError, MissingPathError, ModalitiesError, UsageError
from workloads.evaluation.beside import Beside, beside_of, beside_run, read_beside, usable_modalities
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.evaluate import Questions
from workloads.evaluation.measure import about, about_data, embedding_facts, measure_classifier, measure_embedded
from workloads.evaluation.openclip_row import embed_openclip, openclip_row
from workloads.evaluation.prompts import Prompts
from workloads.evaluation.stored import REST, EmbeddingFacts, read_embedded, stored_facts, stored_parts, write_embedded
from workloads.evaluation.trained_on import TrainedOn, declared
from workloads.models.clibd import Classifier
from workloads.models.loaded import LoadedModel, open_run, open_untrained
from workloads.placement import Placement
from workloads.predictions import MISSING_RANK, KeyChoice
from workloads.record import EVALUATION, Measurement, RunFolder, seal_run
from workloads.spec import Recipe
from workloads.storage import Folder


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came out, and where it lies."""

    folder: Folder
    measurements: Sequence[Measurement]
    about: Mapping[str, Any]
    """evaluation.json; of a classifier, which has none, the model, its data and its recipe."""


def this_device(cpu_only: bool = False) -> torch.device:
    """The GPU, where there is one and it may be used."""
    return torch.device("cuda" if torch.cuda.is_available() and not cpu_only else "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """Where to embed, and whether."""

    resources: Resources | None = None
    """Of Ray's actors; None embeds in this process."""
    address: str | None = None
    """Of a Ray cluster, which may grow; None is this machine."""
    device: torch.device = field(default_factory=this_device)
    """Of this process."""
    again: bool = False
    """Whether stored embeddings are of no interest."""
    console: Console = field(default_factory=stderr_console)


def is_openclip(model: str) -> bool:
    """Whether a name is that of an OpenCLIP model: hf-hub:…, NAME:TAG, or a folder in its layout."""
    if "://" in model or (Path(model) / "spec.json").is_file():
        return False
    return ":" in model or (Path(model) / "open_clip_config.json").is_file()


def evaluate_run(
    run: RunFolder,
    data: Folder,
    target: Folder | None = None,
    recipe: Recipe | None = None,
    keys: Sequence[KeyChoice] = (),
    untrained: bool = False,
    with_rest: bool = False,
    where: Embedding | None = None,
) -> Evaluated:
    """Measure a finished run on a prepared data set.

    Args:
        run: finished.
        data: prepared data set.
        target: where to write; None: `evaluation-NAME` in the run, or `untrained-NAME`.
        recipe: decides what a missing name does; None: the run's.
        keys: choices beside all keys.
        untrained: the run as it was before training.
        with_rest: whether named specimens that train are embedded too.
        where: to embed.

    Raises:
        MissingPathError: the run is not finished.
        UsageError: a classifier is asked what it has no answer to.
        ModalitiesError: the data set has nothing that the run takes.
        EmbeddingsError: the folder holds embeddings of something else.
    """
    _check_finished(run)
    dataset, experiment, where = PreparedDataset(data), open_run(run), where or Embedding()
    target = target or run.folder / f"{'untrained' if untrained else 'evaluation'}-{dataset.facts.name}"
    if isinstance(experiment.model, Classifier):
        if untrained or keys or with_rest:
            raise UsageError(f"{run.id} is a classifier, which has no keys, and is measured as it was trained")
        return _classified(run, experiment, dataset, target, where.device)
    questions = Questions(recipe=recipe or experiment.spec.recipe, keys=_choices(keys))
    return _evaluated(run, experiment, dataset, target, questions, where, untrained, with_rest)


def evaluate_untrained(
    target: RunFolder, data: Folder, resources: Resources | None = None, console: Console | None = None
) -> Evaluated:
    """Measure the towers of a spec with the weights that they begin with; the folder has `spec.json` and gets the rest.

    Raises:
        ModalitiesError: the data set has nothing that they take.
        WeightsError: published weights that the spec names cannot be had.
    """
    dataset = PreparedDataset(data)
    experiment = open_untrained(target.spec(), dataset, {}, target.folder)
    where = Embedding(resources=resources, console=console or stderr_console())
    questions = Questions(recipe=experiment.spec.recipe, keys=_choices(()))
    return _evaluated(target, experiment, dataset, target.folder, questions, where, untrained=True)


def evaluate_again(
    run: RunFolder, target: Folder | None = None, recipe: Recipe | None = None, keys: Sequence[KeyChoice] = ()
) -> Evaluated:
    """A run's own embeddings with other questions; nothing is embedded.

    Raises:
        MissingPathError: the run is not finished.
        UsageError: it has none.
    """
    _check_finished(run)
    facts = stored_facts(run.folder)
    if facts is None:
        raise UsageError("without --data a finished run's own embeddings are measured; name a data set to embed it")
    parts = {part: read_embedded(run.folder, part) for part in stored_parts(run.folder)}
    spec = run.spec()
    questions = Questions(recipe=recipe or spec.recipe, keys=_choices(keys))
    return _measured(
        target or run.folder, parts, questions, about(facts, spec.synthetic), stderr_console(), read_beside(run.folder)
    )


def evaluate_openclip(
    model: str,
    data: Folder,
    target: Folder | None = None,
    recipe: Recipe = "corrected",
    prompts: Prompts = "openai",
    keys: Sequence[KeyChoice] = (),
    where: Embedding | None = None,
) -> Evaluated:
    """Measure an OpenCLIP model as it is, in this process.

    Args:
        model: as OpenCLIP or the hub names it, or a folder.
        data: prepared data set, with pictures.
        target: where to write; None: `evaluation-DATA-MODEL` in the working directory.
        recipe: says how labels are worded, and what a missing name does.
        prompts: the sentences around a label.
        keys: choices beside all keys.
        where: of which the device, and whether to embed again.

    Raises:
        WeightsError: the model cannot be had.
        SpecError: the data set has no pictures.
    """
    dataset, where = PreparedDataset(data), where or Embedding()
    row = openclip_row(model, recipe, prompts, where.device)
    name = row.model.replace("/", "-").replace(":", "-")
    target = target or Folder(f"evaluation-{dataset.facts.name}-{name}")
    name = f"{row.model}, {prompts} prompts, {row.label}"
    facts = EmbeddingFacts(
        model=name,
        weights=row.weights_digest,
        modalities=tuple(row.aligned),
        precision=row.precision,
        dataset=dataset.facts.name,
        data_fingerprint=dataset.facts.fingerprint,
        data_content=dataset.facts.content,
    )

    def embed() -> dict[str, Embedded]:
        what = f"Embedding {dataset.facts.name} with {name}"
        with counting(where.console, what, "labels and pictures") as tell:
            return embed_openclip(model, dataset, Placement(where.device), recipe, prompts, tell)

    parts = _embedded(target, facts, embed, where)
    said = {**about_data(facts, dataset.facts.synthetic), **asdict(row)}
    beside = beside_of(dataset, parts, TrainedOn(declared=declared([model, row.model])))
    return _measured(target, parts, Questions(recipe=recipe, keys=_choices(keys)), said, where.console, beside)


def _check_finished(run: RunFolder) -> None:
    if run.state() != "finished":
        remedy = "Name a run folder, RUNS/SWEEP/RUN, or an OpenCLIP model."
        raise MissingPathError(str(run.folder), "finished run", remedy)


def _choices(keys: Sequence[KeyChoice]) -> tuple[KeyChoice, ...]:
    return tuple(dict.fromkeys(("all", *keys)))


def _classified(
    run: RunFolder, experiment: LoadedModel, dataset: PreparedDataset, target: Folder, device: torch.device
) -> Evaluated:
    if target.has(EVALUATION):
        raise UsageError(f"{target} holds the evaluation of another model; name another folder with --out")
    experiment.model.to(device)
    recipe, facts = experiment.spec.recipe, dataset.facts
    said = {"run": run.id, "dataset": facts.name, "synthetic": facts.synthetic}
    said |= {"recipe": recipe, "missing_rank": MISSING_RANK[recipe]}
    measured = measure_classifier(experiment, dataset, Placement(device), target)
    seal_run(target)
    return Evaluated(target, measured, said)


def _evaluated(
    run: RunFolder,
    experiment: LoadedModel,
    dataset: PreparedDataset,
    target: Folder,
    questions: Questions,
    where: Embedding,
    untrained: bool,
    with_rest: bool = False,
) -> Evaluated:
    modalities, _ = usable_modalities(experiment, dataset.facts)
    if not modalities:
        raise ModalitiesError(dataset.facts.name, ())
    facts = embedding_facts(run, experiment, dataset.facts, modalities, untrained)
    job = Job(
        run=run.folder.address,  # whole, for workers elsewhere
        data=dataset.folder.address,
        modalities=tuple(modalities),
        untrained=untrained,
        with_rest=with_rest,
    )
    parts = _embedded(target, facts, lambda: _embed(job, where), where, with_rest)
    said = about(facts, dataset.facts.synthetic, untrained)
    beside = beside_run(run, experiment, dataset, parts, untrained)
    return _measured(target, parts, questions, said, where.console, beside)


def _measured(
    target: Folder,
    parts: Mapping[str, Embedded],
    questions: Questions,
    model: Mapping[str, Any],
    console: Console,
    beside: Beside,
) -> Evaluated:
    with counting(console, "Searching", "retrievals") as tell:
        measurements = measure_embedded(target, parts, questions, model, tell, beside)
    seal_run(target)
    return Evaluated(target, measurements, target.read_json(EVALUATION))


def _embedded(
    target: Folder,
    facts: EmbeddingFacts,
    embed: Callable[[], dict[str, Embedded]],
    where: Embedding,
    with_rest: bool = False,
) -> dict[str, Embedded]:
    """Stored embeddings where they are of the same, else new ones, which are kept.

    Raises:
        EmbeddingsError: those in the folder are of something else, and it was not said that they may go.
    """
    stored = None if where.again else stored_facts(target)
    if stored == facts and (REST in stored_parts(target) or not with_rest):
        where.console.print(f"Embeddings of {target} are used again")
        return {part: read_embedded(target, part) for part in stored_parts(target)}
    if stored is not None and stored != facts:
        old, new = asdict(stored), asdict(facts)
        names = ", ".join(f"{name} {old[name]} instead of {new[name]}" for name in old if old[name] != new[name])
        raise EmbeddingsError(f"they are of something else ({names})", f"{target}/embeddings")
    parts = embed()
    write_embedded(target, facts, parts)
    return parts


def _embed(job: Job, where: Embedding) -> dict[str, Embedded]:
    what = f"Embedding {job.data} ({', '.join(job.modalities)}) with {RunFolder(Folder(job.run)).id}"
    with counting(where.console, what, "chunks") as tell:
        if where.resources is None:
            return embed_here(job, where.device.type == "cuda", tell)
        with ray_session(where.address):
            if where.address is None:
                check_room(where.resources)
            return embed_on_ray(job, where.resources, tell)
