"""Measures retrieval: a trained run, its towers as they were, or an OpenCLIP model, each left in one folder.

Embeddings are made once and kept there: in this process, or by whatever function is handed in.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from workloads.command_line import Tell, counting, stderr_console
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import EmbeddingsError, MissingPathError, ModalitiesError, UsageError
from workloads.evaluation.embed import usable_modalities
from workloads.evaluation.embedded import REST, Embedded
from workloads.evaluation.evaluate import Questions
from workloads.evaluation.fusion import Fusing, fusing_of
from workloads.evaluation.looking import Portraits, look_again, portraits_again, portraits_of
from workloads.evaluation.measure import about, about_data, embedding_facts, measure_classifier, measure_embedded
from workloads.evaluation.openclip_row import Prompts, embed_openclip, openclip_row
from workloads.evaluation.stored import EmbeddingFacts, read_parts, stored_facts, stored_parts, write_embedded
from workloads.evaluation.trained_on import Beside, TrainedOn, beside_of, beside_run, declared, read_beside
from workloads.measuring.chunks import EmbeddingJob, embed_here
from workloads.models.clibd import Classifier
from workloads.models.loaded import LoadedModel, open_run, open_untrained
from workloads.models.openclip import CONFIG, OPENCLIP_TENSORS, find_openclip
from workloads.naming import slug
from workloads.placement import Placement, loaders_beside, this_device
from workloads.predictions import MISSING_RANK, KeyChoice
from workloads.record import EVALUATION, Measurement, RunFolder
from workloads.seals import run_of, seal_run
from workloads.spec import Fusion, Recipe
from workloads.storage import Folder

Embed = Callable[[EmbeddingJob, Tell], dict[str, Embedded]]
"""Makes the embeddings of a job, and tells how many chunks of how many are done."""


@dataclass(frozen=True, slots=True)
class MeasuredFolder:
    """What came out, and where it lies."""

    folder: Folder
    measurements: Sequence[Measurement]
    about: Mapping[str, Any]
    """evaluation.json; of a classifier, which has none, the model, its data and its recipe."""


def is_openclip(model: str) -> bool:
    """Whether a name is that of an OpenCLIP model: hf-hub:…, NAME:TAG, or a folder in its layout."""
    if "://" in model or (Path(model) / "spec.json").is_file():
        return False
    return ":" in model or (Path(model) / CONFIG).is_file()


def measure_run(
    run: RunFolder,
    data: Folder,
    target: Folder | None = None,
    recipe: Recipe | None = None,
    keys: Collection[str] = (),
    untrained: bool = False,
    with_rest: bool = False,
    embed: Embed = embed_here,
    cpu_only: bool = False,
    again: bool = False,
    fusion: Fusion | None = None,
) -> MeasuredFolder:
    """Measure a finished run on a prepared data set.

    Args:
        run: finished.
        data: prepared data set.
        target: where to write; None: `evaluation-NAME` in the run, or `untrained-NAME`.
        recipe: decides what a missing name does; None: the run's.
        keys: choices beside all keys.
        untrained: the run as it was before training.
        with_rest: whether named specimens that train are embedded too.
        embed: makes the embeddings.
        cpu_only: whether a classifier leaves GPUs alone.
        again: whether stored embeddings are of no interest.
        fusion: how image and DNA are fused; None: as the run's spec says.

    Raises:
        MissingPathError: the run is not finished.
        UsageError: a classifier is asked what it has no answer to.
        ModalitiesError: the data set has nothing that the run takes.
        EmbeddingsError: the folder holds embeddings of something else.
    """
    check_finished(run)
    dataset, experiment = PreparedDataset(data), open_run(run)
    target = target or run.folder / f"{'untrained' if untrained else 'evaluation'}-{slug(dataset.facts.name)}"
    if isinstance(experiment.model, Classifier):
        if untrained or keys or with_rest or fusion:
            raise UsageError(f"{run.id} is a classifier, which has no keys, and is measured as it was trained")
        return _classified(run, experiment, dataset, target, cpu_only)
    fusing = None if untrained else fusing_of(run, fusion)
    questions = _questions(recipe or experiment.spec.recipe, keys, fusing)
    made = _retrieved(run, experiment, dataset, target, questions, untrained, with_rest, embed, again)
    if run_of(target).path == run.folder.path and look_again(run, dataset):  # it is held, as what is in it
        stderr_console().print(f"Pictures and map of {run.folder} are made anew: they were damaged, or not there")
    return made


def measure_untrained(target: RunFolder, data: Folder) -> MeasuredFolder:
    """Measure the towers of a spec with the weights that they begin with; the folder has `spec.json` and gets the rest.

    Raises:
        ModalitiesError: the data set has nothing that they take.
        WeightsError: published weights that the spec names cannot be had.
    """
    dataset = PreparedDataset(data)
    experiment = open_untrained(target.spec(), dataset, {}, target.folder)
    questions = _questions(experiment.spec.recipe)
    return _retrieved(target, experiment, dataset, target.folder, questions, untrained=True)


def measure_again(
    run: RunFolder,
    target: Folder | None = None,
    recipe: Recipe | None = None,
    keys: Collection[str] = (),
    fusion: Fusion | None = None,
) -> MeasuredFolder:
    """A run's own embeddings with other questions; nothing is embedded.

    Raises:
        MissingPathError: the run is not finished.
        UsageError: it has none.
    """
    check_finished(run)
    facts = stored_facts(run.folder)
    if facts is None:
        raise UsageError("without --data a finished run's own embeddings are measured; name a data set to embed it")
    parts, spec = read_parts(run.folder), run.spec()
    questions = _questions(recipe or spec.recipe, keys, fusing_of(run, fusion))
    said, beside = about(facts, spec.synthetic), read_beside(run.folder)
    return _searched(target or run.folder, parts, questions, said, beside, portraits_again(run.folder))


def measure_openclip(
    model: str,
    data: Folder,
    target: Folder | None = None,
    recipe: Recipe = "corrected",
    prompts: Prompts = "openai",
    keys: Collection[str] = (),
    cpu_only: bool = False,
    again: bool = False,
) -> MeasuredFolder:
    """Measure an OpenCLIP model as it is, in this process.

    Args:
        model: as OpenCLIP or the hub names it, or a folder.
        data: prepared data set, with pictures.
        target: where to write; None: `evaluation-DATA-MODEL` in the working directory.
        recipe: says how labels are worded, and what a missing name does.
        prompts: the sentences around a label.
        keys: choices beside all keys.
        cpu_only: whether to leave GPUs alone.
        again: whether stored embeddings are of no interest.

    Raises:
        WeightsError: the model cannot be had.
        SpecError: the data set has no pictures.
    """
    dataset, device = PreparedDataset(data), this_device(cpu_only)
    row = openclip_row(model, recipe, prompts, device)
    target = target or openclip_folder(model, data)
    name = f"{row['model']}, {prompts} prompts, {row['label']}"
    facts = EmbeddingFacts(
        model=name,
        weights=row["weights_digest"],
        modalities=tuple(row["aligned"]),
        precision=row["precision"],
        dataset=dataset.facts.name,
        data_fingerprint=dataset.facts.fingerprint,
        data_content=dataset.facts.content,
    )
    what = f"Embedding {dataset.facts.name} with {name}", "labels and pictures"
    embed = partial(embed_openclip, model, dataset, device, recipe, prompts)
    parts = _embedded(target, facts, embed, what, again)
    said = {**about_data(dataset.facts), **row}
    beside = beside_of(dataset, parts, TrainedOn(declared=declared([model, row["model"]])))
    return _searched(target, parts, _questions(recipe, keys), said, beside, portraits_of(dataset))


def openclip_folder(model: str, data: Folder) -> Folder:
    """Where an OpenCLIP model is measured unless another folder is named: in the working directory."""
    return Folder(f"evaluation-{slug(PreparedDataset(data).facts.name)}-{slug(find_openclip(model).name)}")


def check_finished(run: RunFolder) -> None:
    """Refuse what is no finished run, a file as well.

    Raises:
        MissingPathError: it is not.
    """
    if run.state() != "finished":
        remedy = (
            f"Name a run folder, RUNS/SWEEP/RUN, or a folder of an OpenCLIP model, which holds {CONFIG} and "
            f"{OPENCLIP_TENSORS[0]} (or {OPENCLIP_TENSORS[1]}); of a checkpoint of OpenCLIP's own training "
            "the latter is the state_dict alone."
        )
        raise MissingPathError(str(run.folder), "finished run", remedy)


def _questions(recipe: Recipe, keys: Collection[str] = (), fusing: Fusing | None = None) -> Questions:
    choices: tuple[KeyChoice, ...] = get_args(KeyChoice)
    asked = tuple(choice for choice in choices if choice == "all" or choice in keys)
    return Questions(recipe=recipe, keys=asked, fusing=fusing)


def _classified(
    run: RunFolder, experiment: LoadedModel, dataset: PreparedDataset, target: Folder, cpu_only: bool
) -> MeasuredFolder:
    if target.has(EVALUATION):
        raise UsageError(f"{target} holds the evaluation of another model; name another folder with --out")
    device = this_device(cpu_only)
    placement = Placement(device, loader_processes=loaders_beside(device))
    experiment.model.to(placement.device)
    recipe, facts = experiment.spec.recipe, dataset.facts
    said = {"run": run.id, "dataset": facts.name, "synthetic": facts.synthetic}
    said |= {"recipe": recipe, "missing_rank": MISSING_RANK[recipe]}
    measured = measure_classifier(experiment, dataset, placement, target)
    seal_run(target)
    return MeasuredFolder(target, measured, said)


def _retrieved(
    run: RunFolder,
    experiment: LoadedModel,
    dataset: PreparedDataset,
    target: Folder,
    questions: Questions,
    untrained: bool,
    with_rest: bool = False,
    embed: Embed = embed_here,
    again: bool = False,
) -> MeasuredFolder:
    modalities, _ = usable_modalities(experiment, dataset.facts)
    if not modalities:
        raise ModalitiesError(dataset.facts.name, ())
    facts = embedding_facts(run, experiment, dataset.facts, modalities, untrained)
    job = EmbeddingJob(
        run=run.folder.address,  # whole, for workers elsewhere
        data=dataset.folder.address,
        modalities=tuple(modalities),
        untrained=untrained,
        with_rest=with_rest,
    )
    what = f"Embedding {job.data} ({', '.join(job.modalities)}) with {run.id}", "chunks"
    parts = _embedded(target, facts, partial(embed, job), what, again, with_rest)
    beside = beside_run(run, experiment, dataset, parts, untrained)
    said = about(facts, dataset.facts.synthetic, untrained)
    return _searched(target, parts, questions, said, beside, portraits_of(dataset))


def _embedded(
    target: Folder,
    facts: EmbeddingFacts,
    embed: Callable[[Tell], dict[str, Embedded]],
    what: tuple[str, str],
    again: bool,
    with_rest: bool = False,
) -> dict[str, Embedded]:
    """Stored embeddings where they are of the same, else new ones, which are kept.

    Args:
        target: folder of the evaluation.
        facts: what they are to be of.
        embed: makes new ones.
        what: is done then, and what is counted.
        again: whether stored ones are of no interest.
        with_rest: whether named specimens that train are wanted too.

    Raises:
        EmbeddingsError: those in the folder are of something else, and it was not said that they may go.
    """
    console, stored = stderr_console(), None if again else stored_facts(target)
    if stored == facts and (REST in stored_parts(target) or not with_rest):
        console.print(f"Embeddings of {target} are used again")
        return read_parts(target)
    if stored is not None and stored != facts:
        old, new = asdict(stored), asdict(facts)
        names = ", ".join(f"{name} {old[name]} instead of {new[name]}" for name in old if old[name] != new[name])
        raise EmbeddingsError(f"they are of something else ({names})", f"{target}/embeddings")
    with counting(console, *what) as tell:
        parts = embed(tell)
    write_embedded(target, facts, parts)
    return parts


def _searched(
    target: Folder,
    parts: Mapping[str, Embedded],
    questions: Questions,
    model: Mapping[str, Any],
    beside: Beside,
    portraits: Portraits | None,
) -> MeasuredFolder:
    with counting(stderr_console(), "Searching", "retrievals") as tell:
        measurements = measure_embedded(target, parts, questions, model, beside, tell, portraits)
    seal_run(target)
    return MeasuredFolder(target, measurements, target.read_json(EVALUATION))
