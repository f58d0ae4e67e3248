"""Which published weights are on this machine, without asking a hub for them.

Looks where `workloads.models` looks: a local folder or file, $CLIBD_CACHE/weights, the hub's own cache.
"""

from pathlib import Path

from sweeps.point import Point
from workloads.models.bert import CONVERTED_WEIGHTS
from workloads.models.openclip import CONFIG, OPENCLIP_TENSORS, architecture_config, published_place
from workloads.models.towers import TIMM, timm_published
from workloads.models.weights import HUB_PREFIX, TENSORS, kept_at, local_file
from workloads.spec import DIGEST_PREFIX, MODALITIES, RUN_PREFIX, ExperimentSpec, Modality

_Files = list[tuple[str, ...]]
"""Each as the names of which one will do."""


def missing_weights(point: Point) -> dict[str, str]:
    """Published weights that a point starts from and that are not here, by name, and where to put them."""
    wanted: list[tuple[str, _Files]] = []
    if point.kind == "openclip" and point.model:
        wanted = [_of_openclip(point.model)]
    if point.kind in ("train", "untrained"):
        wanted = [_of_tower(point.spec, modality) for modality in MODALITIES if modality in point.spec.modalities]
    missing: dict[str, _Files] = {}
    for place, files in wanted:
        known = missing.setdefault(place, [])
        known += [names for names in files if names not in known and not _is_here(place, names)]
    return {place: _remedy(place, files) for place, files in missing.items() if files}


def _of_openclip(model: str) -> tuple[str, _Files]:
    """The files of a model that is `hf-hub:owner/name`, a local folder, or `NAME:TAG`."""
    name, _, tag = model.partition(":")
    if model.startswith(HUB_PREFIX) or Path(model).exists() or not tag:
        return model, [(CONFIG,), OPENCLIP_TENSORS]
    place, names = published_place(architecture_config(name, tag)[1])
    return place or model, [names]


def _of_tower(spec: ExperimentSpec, modality: Modality) -> tuple[str, _Files]:
    """Where the weights of a tower are published, and the files that it is filled from; none where nobody does."""
    tower = getattr(spec, modality)
    weights: str | None = tower.weights
    if weights is None or weights.startswith((RUN_PREFIX, DIGEST_PREFIX)) or Path(weights).exists():
        return "", []
    if tower.kind == "openclip":
        return _of_openclip(weights if weights.startswith(HUB_PREFIX) else f"{tower.architecture}:{weights}")
    if modality == "image":
        place, names = timm_published(tower.architecture) if weights == TIMM else (weights, TENSORS)
        return place or tower.architecture, [names]
    tokens: _Files = [("tokenizer.json", "vocab.txt")] if modality == "text" else []
    return weights, [("config.json",), TENSORS, *([("tokenizer.json",)] if tower.kind == "dnabert2" else tokens)]


def _is_here(place: str, names: tuple[str, ...]) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if local_file(place, *names):
        return True
    try:
        return any(isinstance(try_to_load_from_cache(place.removeprefix(HUB_PREFIX), name), str) for name in names)
    except HFValidationError:  # a name that is none of the hub's
        return False


def _remedy(place: str, files: _Files) -> str:
    if place == CONVERTED_WEIGHTS:
        return f"run `clibd convert {CONVERTED_WEIGHTS}`"
    return f"put {' and '.join(' or '.join(names) for names in files)} into {kept_at(place)}, or let the hub be reached"


def hub_answers() -> bool:
    """Whether the hub can be reached, found out in seconds: its own client tries for more than a minute."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of whichever library the client is built on; all mean the same
        return False
    return True
