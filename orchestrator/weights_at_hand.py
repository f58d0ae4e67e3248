"""Which published weights are on this machine, without asking a hub for them.

Looks where `workloads.models` looks: a local folder or file, $CLIBD_CACHE/weights, the store that $CLIBD_WEIGHTS names,
the hub's own cache.
"""

from collections.abc import Iterable

from sweeps.point import Base, Point, Sweep
from workloads.experiments import Data, base_spec
from workloads.models.published import files_of_openclip, files_of_tower, remedy_for
from workloads.spec import MODALITIES
from workloads.weight_files import Files, place_of


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
            wanted.append(files_of_openclip(point.model))
        if point.kind in ("train", "untrained"):
            wanted += [
                files_of_tower(point.spec, modality) for modality in MODALITIES if modality in point.spec.modalities
            ]
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
