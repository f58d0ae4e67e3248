"""Weights by name: what a run calls the weights that it begins with, and where such weights lie.

    name_of       a run, a released model or a file, on a disk or in an object store ──▶ run:ID or sha256:DIGEST
    weights_of    names ──▶ local folders: given places, folders beside the run, this machine's cache, and the place
                  where they were when the run began; what lies elsewhere is copied into the cache, whole or not at all
    located       the spec that a model is built from, whose weights are local paths

A name is the same on every machine, so that a moved or copied folder of runs is the same experiment.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import WeightsDriftError, WeightsError, first_line
from workloads.fields import with_fields
from workloads.models.openclip import OPENCLIP_TENSORS
from workloads.models.weights import is_run
from workloads.record import RunFolder, find_run
from workloads.seals import sealed_folder
from workloads.spec import MODALITIES, ExperimentSpec, Modality
from workloads.storage import Folder, alone, cache_folder
from workloads.tower_specs import DIGEST_PREFIX, RUN_PREFIX
from workloads.weight_files import MODEL, TENSORS

Addresses = Mapping[str, str]
"""Where weights lie, by their names: addresses of folders or files."""
NOWHERE: Addresses = {}

_FILES = (MODEL, *OPENCLIP_TENSORS, *TENSORS[1:])
"""Files whose digest stands for the folder; the first that is there."""
_BESIDE = (".json", ".txt")
"""What is copied with them: the spec, tokenisers and configurations."""


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """Weights on this machine, and where they are from."""

    name: str
    digest: str
    """SHA-256 of the tensors' file."""
    address: str
    """Where they lay."""
    file: Path
    """The tensors on this machine, with what belongs to them beside."""


def name_of(place: str) -> tuple[str, str]:
    """The name of the weights at a place, and its whole address.

    Args:
        place: path or address of a run folder, a converted model, a folder in a published layout, or a file. The name
            of a run is that of its spec, whatever its folder is called.

    Raises:
        WeightsError: there are none, or the run is not finished.
    """
    with reading(place):
        if (there := _look(place)) is None:
            _refuse_begun("", place, place)
            reason = f"there is no {MODEL} or other file of weights"
            raise WeightsError("", place, reason, "Name the folder of a finished run, a converted model, or a file.")
        folder, file = there
        if file == MODEL and folder.has("spec.json"):
            run = RunFolder(folder)
            if run.state() != "finished":
                _refuse_begun("", place, place)
            if not (folder.has("point.json") and run.point().get("converted")):
                return f"{RUN_PREFIX}{run.spec().id}", folder.address
        return f"{DIGEST_PREFIX}{sealed_folder(folder).digest(file)}", f"{folder}/{file}"


def with_settings(spec: ExperimentSpec, settings: Sequence[str]) -> tuple[ExperimentSpec, dict[str, str]]:
    """`with_fields`, in which weights may be given by their place, and the places of those that were.

    Raises:
        UsageError: as `with_fields`.
        WeightsError: as `name_of`.
    """
    changed, places = with_fields(spec, settings), dict[str, str]()
    for modality in MODALITIES:
        tower = changed.tower(modality)
        if tower.weights and tower.weights != spec.tower(modality).weights and _is_place(tower.weights):
            name, places[name] = name_of(tower.weights)
            changed = changed.with_weights({modality: name})
    return changed, places


def _is_place(weights: str) -> bool:
    """Whether weights are said by where they lie, and not by a published name."""
    return "://" in weights or weights.startswith(("/", "~", ".")) or Path(weights).exists()


_NAME = re.compile(rf"{RUN_PREFIX}[^/.\0][^/\0]*|{DIGEST_PREFIX}[0-9a-f]{{64}}")


def weights_of(
    spec: ExperimentSpec, places: Addresses = NOWHERE, near: Folder | None = None
) -> dict[Modality, LocalWeights]:
    """The weights that a spec names and nobody publishes, on this machine.

    Args:
        spec: the experiment.
        places: where weights are said to lie.
        near: the folder of the run, RUNS/SWEEP/ID, beside which others lie and which may know what it began with.

    Raises:
        WeightsError: they are nowhere, damaged, or something else than their name says.
        WeightsDriftError: the run began with others of the same name.
    """
    kept = RunFolder(near).weights() if near else {}
    weights: dict[Modality, LocalWeights] = {}
    for modality in spec.modalities:
        name = spec.tower(modality).weights
        if name is None or not name.startswith((RUN_PREFIX, DIGEST_PREFIX)):
            continue
        if not _NAME.fullmatch(name):
            raise WeightsError(modality, name, f"after {RUN_PREFIX} stands an id, after {DIGEST_PREFIX} 64 digits")
        before = kept.get(modality)
        same = [each for each in weights.values() if each.name == name]
        here = same[0] if same else _find(modality, name, _candidates(name, places, near, before))
        if near and before and before["digest"] != here.digest:
            raise WeightsDriftError(str(near), name, before["digest"], here.digest, here.address)
        weights[modality] = here
    return weights


def located(spec: ExperimentSpec, weights: Mapping[Modality, LocalWeights]) -> ExperimentSpec:
    """The spec with local paths for names, for those who read weights; what is recorded keeps the names.

    Args:
        spec: the experiment.
        weights: what `weights_of` gave for it.
    """
    paths: dict[Modality, str] = {}
    for modality, here in weights.items():
        # timm's towers read a file; all else finds its own files in a folder, and so does everyone in a run.
        by_file = spec.tower(modality).kind == "timm" and not is_run(str(here.file.parent))
        paths[modality] = str(here.file if by_file else here.file.parent)
    return spec.with_weights(paths)


def _candidates(name: str, places: Addresses, near: Folder | None, before: Mapping[str, str] | None) -> Iterator[str]:
    """Addresses where weights may lie, the likeliest first."""
    if name in places:
        yield places[name]
    if name.startswith(RUN_PREFIX):
        runs = Folder(near.address.rsplit("/", 2)[0] or "/") if near else None
        beside = find_run(runs, name.removeprefix(RUN_PREFIX)) if runs else None
        yield beside.folder.address if beside else f"{runs or 'RUNS'}/*/{name.removeprefix(RUN_PREFIX)}"
    else:
        yield str(_cache(name))
    if before:
        yield before["address"]


def _find(tower: str, name: str, candidates: Iterator[str]) -> LocalWeights:
    looked = dict[str, None]()
    with reading(name, tower):
        for address in candidates:
            if there := _look(address):
                return _checked(tower, name, *there)
            _refuse_begun(tower, name, address)
            looked[address] = None
    remedy = f"Put that file, as {MODEL}, with what was beside it into {_cache(name)}."
    if name.startswith(RUN_PREFIX):
        beside = next(address for address in looked if "/*/" in address)  # was a folder found, something was raised
        remedy = f"Put the folder of that finished run at {beside.replace('/*/', '/train/')}."
    raise WeightsError(tower, name, f"they are not at {', nor at '.join(looked)}", remedy)


def _look(address: str) -> tuple[Folder, str] | None:
    """The folder and the name of the tensors' file at an address of either; None where there is none."""
    folder = Folder(address)
    for name in _FILES:
        if folder.has(name):
            return folder, name
    above, _, name = folder.address.rpartition("/")
    return (Folder(above), name) if above and Folder(above).has(name) else None


def _checked(tower: str, name: str, folder: Folder, file: str) -> LocalWeights:
    """Weights that are what their name and their folder's manifest say, brought here if need be."""
    run = RunFolder(folder)
    shown = _shown(folder)
    if name.startswith(RUN_PREFIX):
        if run.state() != "finished":
            _refuse_begun(tower, name, str(folder))
        if (there := run.spec().id) != name.removeprefix(RUN_PREFIX):
            raise WeightsError(tower, name, f"the run at {shown} is {there}", f"Put the right one at {shown}.")
    stated = run.manifest().get(file)
    wanted = name.removeprefix(DIGEST_PREFIX) if name.startswith(DIGEST_PREFIX) else stated
    path = Path(folder.path) / file if folder.is_local else _brought(name, folder, file, wanted)
    digest = Folder(path.parent).digest(file)
    if wanted not in (None, digest):
        reason = f"{shown}/{file} has the SHA-256 {digest}, not {wanted}"
        raise WeightsError(tower, name, reason, f"Bring the right file back to {shown}.")
    return LocalWeights(name, digest, shown, path)


def _brought(name: str, folder: Folder, file: str, wanted: str | None) -> Path:
    """A copy in this machine's cache, by name and digest; made unless there is a good one."""
    lock = Path(f"{_cache(name)}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with alone(lock):
        if wanted and (target := _cache(name, wanted) / file).is_file():
            if Folder(target.parent).digest(file) == wanted:
                return target
            shutil.rmtree(target.parent)
        aside = Path(f"{_cache(name)}.tmp")
        shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
        aside.mkdir()
        for each in [file, *(each for each in folder.files() if each.endswith(_BESIDE))]:
            folder.copy_to(each, aside / each)
        digest = Folder(aside).digest(file)
        target = _cache(name, digest) / file
        if target.is_file() and Folder(target.parent).digest(file) == digest:  # somebody may be reading it
            return target
        shutil.rmtree(target.parent, ignore_errors=True)
        aside.rename(target.parent)
        return target


def _cache(name: str, digest: str | None = None) -> Path:
    """Folder of a copy; a digest names itself, a run may have been trained twice."""
    plain = name.replace(":", "-")
    again = f"-{digest[:16]}" if digest and name.startswith(RUN_PREFIX) else ""
    return cache_folder() / "weights" / f"{plain}{again}"


def _refuse_begun(tower: str, name: str, address: str) -> None:
    """Say of a run that has no weights yet, or none that count, how far it is."""
    if not (folder := Folder(address)).has("spec.json"):
        return
    far = {"missing": "not finished", "failed": "not finished but 'failed'", "finished": f"without its {MODEL}"}
    state = RunFolder(folder).state()
    raise WeightsError(tower, name, f"the run at {_shown(folder)} is {far[state]}", "Train it to its end first.")


def _shown(folder: Folder) -> str:
    """Without a store's key, which stays out of files and messages."""
    return re.sub(r"://[^/@]*@", "://", folder.address)


@contextmanager
def reading(weights: str, tower: str = "") -> Iterator[None]:
    """Says of which weights it is that a disk or a store fails."""
    try:
        yield
    except (OSError, ValueError) as error:  # the latter for a scheme that nobody knows
        remedy = f"Make the place readable, and {cache_folder()} writable, which CLIBD_CACHE may move."
        raise WeightsError(tower, weights, f"they cannot be read ({first_line(error)})", remedy) from error
