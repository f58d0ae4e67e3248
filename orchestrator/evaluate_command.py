"""Carries out `clibd evaluate`: a trained run, or an OpenCLIP model, measured on a prepared data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.embedding import Job, check_room, embed_here, embed_on_ray
from orchestrator.evaluation_table import evaluation_notes, evaluation_table
from orchestrator.progress import counting, stderr_console
from orchestrator.session import ray_session, resources_here
from results.render import records_text
from workloads.data.prepared import DatasetFacts, PreparedDataset
from workloads.errors import EmbeddingsError, MissingPathError, ModalitiesError, UsageError
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.evaluate import Questions
from workloads.evaluation.measure import about, about_data, embedding_facts, measure_classifier, measure_embedded
from workloads.evaluation.openclip_row import embed_openclip, openclip_row
from workloads.evaluation.prompts import Prompts
from workloads.evaluation.stored import REST, EmbeddingFacts, read_embedded, stored_facts, stored_parts, write_embedded
from workloads.experiment import Experiment, open_run
from workloads.models.clibd import Classifier
from workloads.predictions import MISSING_RANK, KeyChoice
from workloads.record import EVALUATION, Measurement, RunFolder, read_evaluation
from workloads.spec import Modality, Recipe
from workloads.storage import Folder
from workloads.training.placement import Placement


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An evaluation as the command asks for it."""

    model: str
    """Run folder, or an OpenCLIP model."""
    data: str | None
    """Prepared data set; None measures a run's own embeddings again."""
    out: str | None = None
    keys: tuple[KeyChoice, ...] = ()
    """Choices beside all keys."""
    recipe: Recipe | None = None
    """None: the run's."""
    prompts: Prompts = "openai"
    untrained: bool = False
    with_rest: bool = False
    """Whether named specimens that train are embedded too."""
    again: bool = False
    """Whether stored embeddings are of no interest."""
    workers: int | None = None
    address: str | None = None
    cpu_only: bool = False


def evaluate_command(asked: Asked, form: str) -> None:
    """Embed, search, measure; print the top-1 accuracies."""
    found = _evaluate_openclip(asked) if _is_openclip(asked.model) else _evaluate_run(asked)
    if form == "md":
        print(f"{evaluation_notes(found.about)}\n\n{evaluation_table(found.measurements)}")
    else:
        own = {name: found.about[name] for name in ("dataset", "synthetic", "recipe")}
        print(records_text([{**asdict(row), **own} for row in found.measurements], "csv" if form == "csv" else "json"))
    stderr_console().print(f"Predictions and measurements: {found.target}")


@dataclass(frozen=True, slots=True)
class Found:
    """What came out, and where it lies."""

    target: Folder
    measurements: list[Measurement]
    about: Mapping[str, Any]
    """evaluation.json; of a classifier, which has none, the model, its data and its recipe."""


def _is_openclip(model: str) -> bool:
    """Whether a name is that of an OpenCLIP model: hf-hub:…, NAME:TAG, or a folder in its layout."""
    if "://" in model or (Path(model) / "spec.json").is_file():
        return False
    return ":" in model or (Path(model) / "open_clip_config.json").is_file()


def _evaluate_openclip(asked: Asked) -> Found:
    if asked.data is None or asked.untrained or asked.with_rest:
        raise UsageError("an OpenCLIP model needs --data, and is measured as it is, on keys and queries alone")
    dataset = PreparedDataset(Folder(asked.data))
    device = _device(asked)
    recipe = asked.recipe or "corrected"
    row = openclip_row(asked.model, recipe, asked.prompts, device)
    name = row.model.replace("/", "-").replace(":", "-")
    target = _target(asked, Folder(f"evaluation-{dataset.facts.name}-{name}"))
    name = f"{row.model}, {asked.prompts} prompts, {row.label}"
    facts = _facts_of(dataset.facts, name, row.weights_digest, row.aligned, row.precision)

    def embed() -> dict[str, Embedded]:
        what = f"Embedding {dataset.facts.name} with {name}"
        with counting(stderr_console(), what, "labels and pictures") as tell:
            return embed_openclip(asked.model, dataset, Placement(device), recipe, asked.prompts, tell)

    parts = _embedded(target, facts, embed, asked.again)
    model = {**about_data(facts, dataset.facts.synthetic), **asdict(row)}
    return _measured(target, parts, _questions(asked, recipe), model)


def _evaluate_run(asked: Asked) -> Found:
    run = RunFolder(Folder(asked.model))
    if run.state() != "finished":
        raise MissingPathError(asked.model, "finished run", "Name a run folder, RUNS/SWEEP/RUN, or an OpenCLIP model.")
    if asked.data is None:
        return _measure_again(asked, run)
    dataset, experiment = PreparedDataset(Folder(asked.data)), open_run(run)
    kind = "untrained" if asked.untrained else "evaluation"
    target = _target(asked, run.folder / f"{kind}-{dataset.facts.name}")
    if isinstance(experiment.model, Classifier):
        if asked.untrained or asked.keys or asked.with_rest:
            raise UsageError(f"{run.id} is a classifier, which has no keys, and is measured as it was trained")
        if target.has(EVALUATION):
            raise UsageError(f"{target} holds the evaluation of another model; name another folder with --out")
        device = _device(asked)
        experiment.model.to(device)
        about_it = {
            "run": run.id,
            "dataset": dataset.facts.name,
            "synthetic": dataset.facts.synthetic,
            "recipe": experiment.spec.recipe,
            "missing_rank": MISSING_RANK[experiment.spec.recipe],
        }
        return Found(target, measure_classifier(experiment, dataset, Placement(device), target), about_it)
    modalities = _shared(experiment, dataset.facts)
    facts = embedding_facts(run, experiment, dataset.facts, modalities, asked.untrained)
    parts = _embedded(target, facts, lambda: _embed(asked, modalities, run.id), asked.again, asked.with_rest)
    model = about(facts, dataset.facts.synthetic, asked.untrained)
    return _measured(target, parts, _questions(asked, experiment.spec.recipe), model)


def _measure_again(asked: Asked, run: RunFolder) -> Found:
    """A run's own embeddings with other questions; nothing is embedded."""
    facts = stored_facts(run.folder)
    if facts is None or asked.untrained or asked.again or asked.with_rest:
        raise UsageError("without --data a finished run's own embeddings are measured; name a data set to embed it")
    parts = {part: read_embedded(run.folder, part) for part in stored_parts(run.folder)}
    spec = run.spec()
    target = _target(asked, run.folder)
    return _measured(target, parts, _questions(asked, spec.recipe), about(facts, spec.synthetic))


def _measured(target: Folder, parts: Mapping[str, Embedded], questions: Questions, model: Mapping[str, Any]) -> Found:
    with counting(stderr_console(), "Searching", "retrievals") as tell:
        measurements = measure_embedded(target, parts, questions, model, tell)
    return Found(target, measurements, read_evaluation(target))


def _target(asked: Asked, usual: Folder) -> Folder:
    """Where to write.

    Raises:
        UsageError: another run's folder, whose own measurements would be lost.
    """
    if asked.out is None:
        return usual
    target = Folder(asked.out)
    if target.has("spec.json"):
        raise UsageError(f"--out {asked.out} is the folder of a run, whose own measurements would be lost")
    return target


def _questions(asked: Asked, recipe: Recipe) -> Questions:
    return Questions(recipe=asked.recipe or recipe, keys=tuple(dict.fromkeys(("all", *asked.keys))))


def _embedded(
    target: Folder,
    facts: EmbeddingFacts,
    embed: Callable[[], dict[str, Embedded]],
    again: bool,
    with_rest: bool = False,
) -> dict[str, Embedded]:
    """Stored embeddings where they are of the same, else new ones, which are kept.

    Raises:
        EmbeddingsError: those in the folder are of something else, and it was not said that they may go.
    """
    stored = None if again else stored_facts(target)
    if stored == facts and (REST in stored_parts(target) or not with_rest):
        stderr_console().print(f"Embeddings of {target} are used again")
        return {part: read_embedded(target, part) for part in stored_parts(target)}
    if stored is not None and stored != facts:
        old, new = asdict(stored), asdict(facts)
        names = ", ".join(f"{name} {old[name]} instead of {new[name]}" for name in old if old[name] != new[name])
        raise EmbeddingsError(f"they are of something else ({names})", f"{target}/embeddings")
    parts = embed()
    write_embedded(target, facts, parts)
    return parts


def _embed(asked: Asked, modalities: Sequence[Modality], name: str) -> dict[str, Embedded]:
    assert asked.data is not None
    job = Job(
        run=Folder(asked.model).address,  # whole, for workers elsewhere
        data=Folder(asked.data).address,
        modalities=tuple(modalities),
        untrained=asked.untrained,
        with_rest=asked.with_rest,
    )
    what = f"Embedding {asked.data} ({', '.join(modalities)}) with {name}"
    with counting(stderr_console(), what, "chunks") as tell:
        if asked.workers is None and asked.address is None:
            return embed_here(job, _device(asked).type == "cuda", tell)
        with ray_session(asked.address):
            resources = resources_here(asked.workers, asked.address, asked.cpu_only)
            if asked.address is None:
                check_room(resources)
            return embed_on_ray(job, resources, tell)


def _device(asked: Asked) -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() and not asked.cpu_only else "cpu")


def _facts_of(
    facts: DatasetFacts, model: str, weights: str, modalities: Sequence[Modality], precision: str
) -> EmbeddingFacts:
    data: dict[str, Any] = {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "data_content": facts.content}
    return EmbeddingFacts(model=model, weights=weights, modalities=tuple(modalities), precision=precision, **data)


def _shared(experiment: Experiment, facts: DatasetFacts) -> list[Modality]:
    """The modalities that the run and the data set have in common.

    Raises:
        ModalitiesError: there is none.
    """
    spec = experiment.spec
    shared = [name for name in spec.modalities if name in facts.modalities and _fits(name, experiment, facts)]
    if not shared:
        raise ModalitiesError(facts.name, ())
    return shared


def _fits(modality: str, experiment: Experiment, facts: DatasetFacts) -> bool:
    """Whether the data set has what the tower takes: pixels or bases, or features of the same length."""
    towers = experiment.inputs
    if modality == "image":
        return towers.image_feature_size == facts.image_feature_size
    if modality == "dna" and experiment.spec.dna.kind == "features":
        return towers.dna_feature_size == facts.dna_feature_size
    return modality != "dna" or facts.barcodes
