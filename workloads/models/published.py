"""Which published weights a run begins with, where they are, and how they get to this machine.

Looks where the towers look: a local folder or file, $CLIBD_CACHE/weights, the store that $CLIBD_WEIGHTS names, the
hub's own cache.
"""

from pathlib import Path

from workloads.errors import UsageError
from workloads.models.bert import CONVERTED_WEIGHTS
from workloads.models.openclip import CONFIG, OPENCLIP_TENSORS, architecture_config, published_place
from workloads.models.towers import TIMM, timm_published
from workloads.spec import ExperimentSpec, Modality
from workloads.tower_specs import DIGEST_PREFIX, RUN_PREFIX
from workloads.weight_files import TENSORS, Files, hub_answers, place_of
from workloads.weight_store import HUB_PREFIX, kept_at


def beginning_words(spec: ExperimentSpec) -> list[str]:
    """For each tower that begins with published weights a line that says which, and where they are.

    Raises:
        UsageError: some are nowhere, and no hub gives them; each is named with its remedy.
    """
    lines, lacking = list[str](), dict[str, str]()
    for modality in spec.modalities:
        weights, files = files_of_tower(spec, modality)
        places = [place_of(weights, *names) for names in files]
        missing = [names for names, place in zip(files, places, strict=True) if place is None]
        if missing:
            lacking[weights] = remedy_for(weights, missing)
        if files:
            where = "to be fetched from the hub" if missing else "; ".join(dict.fromkeys(filter(None, places)))
            lines.append(f"{modality} begins with the published weights {weights} ({where})")
    if lacking and (CONVERTED_WEIGHTS in lacking or not hub_answers()):
        named = "; ".join(f"{name}: {remedy}" for name, remedy in lacking.items())
        raise UsageError(
            f"weights that this training begins with cannot be had now. {named}. Or take --scale small, whose towers "
            "draw their weights and learn on a CPU in minutes."
        )
    return lines


def files_of_openclip(model: str) -> tuple[str, Files]:
    """The files of a model that is `hf-hub:owner/name`, a local folder, or `NAME:TAG`."""
    name, _, tag = model.partition(":")
    if model.startswith(HUB_PREFIX) or Path(model).exists() or not tag:
        return model, [(CONFIG,), OPENCLIP_TENSORS]
    place, names = published_place(architecture_config(name, tag)[1])
    return place or model, [names]


def files_of_tower(spec: ExperimentSpec, modality: Modality) -> tuple[str, Files]:
    """Where the weights of a tower are published, and the files that it is filled from; none where nobody does."""
    tower = getattr(spec, modality)
    weights: str | None = tower.weights
    if weights is None or weights.startswith((RUN_PREFIX, DIGEST_PREFIX)) or Path(weights).exists():
        return "", []
    if tower.kind == "openclip":
        return files_of_openclip(weights if weights.startswith(HUB_PREFIX) else f"{tower.architecture}:{weights}")
    if modality == "image":
        place, names = timm_published(tower.architecture) if weights == TIMM else (weights, TENSORS)
        return place or tower.architecture, [names]
    tokens: Files = [("tokenizer.json", "vocab.txt")] if modality == "text" else []
    return weights, [("config.json",), TENSORS, *([("tokenizer.json",)] if tower.kind == "dnabert2" else tokens)]


def remedy_for(place: str, files: Files) -> str:
    """How weights of which files are missing get to a machine."""
    if place == CONVERTED_WEIGHTS:
        return f"run `clibd convert {CONVERTED_WEIGHTS}`"
    wanted = " and ".join(" or ".join(names) for names in files)
    here = f"put {wanted} into {kept_at(place)}"
    return f"{here}, let the hub be reached, or `export CLIBD_WEIGHTS=STORE` after `clibd weights push STORE`"
