"""Which published weights are on this machine, without asking a hub for them.

Looks where `workloads.models` looks: a local folder or file, $CLIBD_CACHE/weights, the hub's own cache.
"""

from pathlib import Path

from sweeps.point import Point
from workloads.models.barcodebert import CONVERTED_WEIGHTS
from workloads.models.image_tower import TIMM
from workloads.models.openclip_plan import CONFIG, published_config
from workloads.models.openclip_towers import WEIGHTS as OPENCLIP
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.models.weights import HUB_PREFIX
from workloads.spec import DIGEST_PREFIX, MODALITIES, RUN_PREFIX, ExperimentSpec, Modality
from workloads.storage import cache_folder

Files = list[tuple[str, ...]]
"""Each as the names of which one will do."""
_TENSORS = ("model.safetensors", "pytorch_model.bin")


def missing_weights(point: Point) -> dict[str, str]:
    """Published weights that a point starts from and that are not here, by name, and where to put them."""
    wanted: dict[str, Files] = {}
    if point.kind == "openclip" and point.model:
        wanted = _of_openclip(point.model)
    if point.kind in ("train", "untrained"):
        for modality in (name for name in MODALITIES if name in point.spec.modalities):
            for place, files in _of_tower(point.spec, modality).items():
                wanted.setdefault(place, []).extend(name for name in files if name not in wanted[place])
    lacking = {place: [names for names in files if not _is_here(place, names)] for place, files in wanted.items()}
    return {place: _remedy(place, files) for place, files in lacking.items() if files}


def _of_openclip(model: str) -> dict[str, Files]:
    """Of `hf-hub:owner/name`, a local folder, or `NAME:TAG`."""
    name, _, tag = model.partition(":")
    if model.startswith(HUB_PREFIX) or Path(model).exists() or not tag:
        return {model: [(CONFIG,), OPENCLIP]}
    repository, _, file = str(published_config(name, tag)[1].get("hf_hub", "")).rpartition("/")
    return {repository or model: [(file,) if file else OPENCLIP]}


def _of_tower(spec: ExperimentSpec, modality: Modality) -> dict[str, Files]:
    """The files that a tower is filled from, by where they are published."""
    tower = getattr(spec, modality)
    weights: str | None = tower.weights
    if weights is None or weights.startswith((RUN_PREFIX, DIGEST_PREFIX)) or Path(weights).exists():
        return {}
    if tower.kind == "openclip":
        return _of_openclip(weights if weights.startswith(HUB_PREFIX) else f"{tower.architecture}:{weights}")
    if modality == "image":
        return _of_timm(tower.architecture) if weights == TIMM else {weights: [_TENSORS]}
    tokens: Files = [("tokenizer.json", "vocab.txt")] if modality == "text" else []
    return {weights: [("config.json",), _TENSORS, *([("tokenizer.json",)] if tower.kind == "dnabert2" else tokens)]}


def _of_timm(architecture: str) -> dict[str, Files]:
    declare_missing_operators()
    import timm

    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    about = config.to_dict() if config is not None else {}
    named = about.get("hf_hub_filename")
    return {about.get("hf_hub_id") or architecture: [(named,) if named else _TENSORS]}


def _is_here(place: str, names: tuple[str, ...]) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository = place.removeprefix(HUB_PREFIX)
    if any((folder / name).is_file() for folder in (Path(place), _kept(place)) for name in names):
        return True
    try:
        return any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)
    except HFValidationError:  # a name that is none of the hub's
        return False


def _kept(place: str) -> Path:
    return cache_folder() / "weights" / place.removeprefix(HUB_PREFIX)


def _remedy(place: str, files: Files) -> str:
    if place == CONVERTED_WEIGHTS:
        return f"run `clibd convert {CONVERTED_WEIGHTS}`"
    return f"put {' and '.join(' or '.join(names) for names in files)} into {_kept(place)}, or let the hub be reached"


def hub_answers() -> bool:
    """Whether the hub can be reached, found out in seconds: its own client tries for more than a minute."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of whichever library the client is built on; all mean the same
        return False
    return True
