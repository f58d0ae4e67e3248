"""Which published weights are on this machine, without asking a hub for them.

Looks where `workloads.models` looks: a local folder or file, $CLIBD_CACHE/weights, the store that $CLIBD_WEIGHTS names,
the hub's own cache.
"""

from collections.abc import Iterable
from pathlib import Path

from sweeps.point import Base, Point, Sweep
from workloads.experiments import Data, base_spec
from workloads.models.bert import CONVERTED_WEIGHTS
from workloads.models.openclip import CONFIG, OPENCLIP_TENSORS, architecture_config, published_place
from workloads.models.towers import TIMM, timm_published
from workloads.spec import DIGEST_PREFIX, MODALITIES, RUN_PREFIX, ExperimentSpec, Modality
from workloads.weight_files import TENSORS, Files, place_of
from workloads.weight_store import HUB_PREFIX, kept_at


def missing_weights(point: Point) -> dict[str, str]:
    """Published weights that a point starts from and that are not here, by name, and where to put them."""
    lacking = {
        place: [names for names in files if not place_of(place, *names)]
        for place, files in wanted_weights([point]).items()
    }
    return {place: remedy_for(place, files) for place, files in lacking.items() if files}


def wanted_weights(points: Iterable[Point]) -> dict[str, Files]:
    """Published weights that points start from: the files of each, by name."""
    wanted: list[tuple[str, Files]] = []
    for point in points:
        if point.kind == "openclip" and point.model:
            wanted.append(_of_openclip(point.model))
        if point.kind in ("train", "untrained"):
            wanted += [_of_tower(point.spec, modality) for modality in MODALITIES if modality in point.spec.modalities]
    files_of: dict[str, Files] = {}
    for place, files in wanted:
        known = files_of.setdefault(place, [])
        known += [names for names in files if names not in known]
    return {place: files for place, files in files_of.items() if files}


def wanted_by(sweeps: Iterable[Sweep]) -> dict[str, Files]:
    """Published weights that sweeps start from at the paper's scale, whatever the specimens."""
    bioscan, insect = (
        Data(
            name=name, fingerprint="", synthetic=False, modalities=MODALITIES, image_features=False, dna_features=False
        )
        for name in ("bioscan", "insect")
    )
    spec = base_spec("paper", bioscan, "paper", 42)
    base = Base(spec=spec, scale="paper", data=bioscan, insect=insect, fields=())
    return wanted_weights(p for sweep in sweeps for p in sweep.points(base) if isinstance(p, Point))


def _of_openclip(model: str) -> tuple[str, Files]:
    """The files of a model that is `hf-hub:owner/name`, a local folder, or `NAME:TAG`."""
    name, _, tag = model.partition(":")
    if model.startswith(HUB_PREFIX) or Path(model).exists() or not tag:
        return model, [(CONFIG,), OPENCLIP_TENSORS]
    place, names = published_place(architecture_config(name, tag)[1])
    return place or model, [names]


def _of_tower(spec: ExperimentSpec, modality: Modality) -> tuple[str, Files]:
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
    tokens: Files = [("tokenizer.json", "vocab.txt")] if modality == "text" else []
    return weights, [("config.json",), TENSORS, *([("tokenizer.json",)] if tower.kind == "dnabert2" else tokens)]


def remedy_for(place: str, files: Files) -> str:
    """How weights of which files are missing get to a machine."""
    if place == CONVERTED_WEIGHTS:
        return f"run `clibd convert {CONVERTED_WEIGHTS}`"
    wanted = " and ".join(" or ".join(names) for names in files)
    here = f"put {wanted} into {kept_at(place)}"
    return f"{here}, let the hub be reached, or `export CLIBD_WEIGHTS=STORE` after `clibd weights push STORE`"
