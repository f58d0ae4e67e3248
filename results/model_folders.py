"""Which row of a table of models an evaluated folder stands for: read from its spec, or from what describes its model.

An evaluated folder is a run folder, or `evaluation-NAME` in one, or what another model than CLIBD left; its
evaluation.json says of which model it is where that is not CLIBD.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from workloads.errors import DamagedError, MissingPathError
from workloads.record import EVALUATION, Measurement, measurements_from_table, read_evaluation
from workloads.spec import MODALITIES, ExperimentSpec, spec_from_dict
from workloads.storage import Folder

_MEASUREMENTS, _SPEC, _POINT = "measurements.parquet", "spec.json", "point.json"

Training = Literal["no_alignment", "simclr", "classifier", "clip"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What tells a model from the others in the paper's tables."""

    model: str
    """`CLIBD`, or the name of another one, such as `BioCLIP`."""
    training: Training
    """Contrastively, against other modalities (`clip`) or another view of the same (`simclr`); not at all."""
    aligned: tuple[str, ...]
    """Modalities that were trained to meet, in the order image, DNA, text; none for a model as it was before."""
    bind_to: tuple[str, ...] | None = None
    """What DNA was trained to meet, where that is not everything or the rest is frozen (Table 12)."""
    frozen: bool = False
    """Whether all towers but that of DNA are."""
    simclr_initialised: bool = False
    """Whether the image tower began as one of SimCLR (Table 11)."""


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """An evaluated folder as tables of models see it."""

    name: str
    """The run's id, behind a slash the evaluation where it is not the run's own."""
    label: str
    """What a reader calls it."""
    standing: Standing
    facts: Mapping[str, Any]
    """evaluation.json."""
    spec: ExperimentSpec | None
    """None where the model is no run of CLIBD."""
    scale: str | None
    """Of the run's towers and batch; None where nobody has said."""
    measurements: tuple[Measurement, ...]

    def is_like(self, other: "EvaluatedModel") -> bool:
        """Whether the two differ in their seed and in nothing else, so that their mean means something."""
        if self.spec is None or other.spec is None or self.standing != other.standing:
            return False
        return self.spec.seed != other.spec.seed and replace(self.spec, seed=0) == replace(other.spec, seed=0)


def read_model(folder: Folder) -> EvaluatedModel:
    """Everything that tables of models need of one folder.

    Raises:
        MissingPathError: nothing was evaluated there.
        DamagedError: a file does not say what it should.
        SpecError: the spec is of a newer version.
    """
    facts = read_evaluation(folder)
    above, _, own = folder.address.rpartition("/")
    parent = Folder(above)
    run = next((place for place in (folder, parent) if place.has(_SPEC)), None)
    measured = tuple(measurements_from_table(folder.read_table(_MEASUREMENTS)))
    if facts.get("model", "CLIBD") != "CLIBD":
        return EvaluatedModel(own, _description(facts), _of_another(folder, facts), facts, None, None, measured)
    if run is None:
        raise MissingPathError(str(folder), f"{_SPEC}, nor above it,", "Leave an evaluation in the folder of its run.")
    if (owner := run.address.rpartition("/")[2]) != facts.get("run", owner):
        remedy = f"It was evaluated with {facts['run']}: leave it in that run's folder."
        raise MissingPathError(str(folder), f"evaluation of {owner}", remedy)
    spec = spec_from_dict(run.read_json(_SPEC))
    name = own if run is folder else f"{above.rpartition('/')[2]}/{own}"
    point = run.read_json(_POINT) if run.has(_POINT) else {}
    standing = standing_of(spec, untrained=bool(facts.get("untrained", False)))
    label = _called(point.get("label") or name, spec, standing)
    return EvaluatedModel(name, label, standing, facts, spec, point.get("scale"), measured)


def standing_of(spec: ExperimentSpec, untrained: bool = False) -> Standing:
    """What a run of a spec is, or was before it was trained."""
    modalities = _in_order(spec.modalities)
    started = _from_simclr(spec.image.weights) and "image" in modalities
    if untrained:
        return Standing(model="CLIBD", training="no_alignment", aligned=(), simclr_initialised=started)
    if spec.objective != "align":
        training: Training = "simclr" if spec.objective == "simclr" else "classifier"
        return Standing(model="CLIBD", training=training, aligned=modalities, simclr_initialised=started)
    others = tuple(name for name in modalities if name != "dna")
    frozen = "dna" in modalities and all(_is_frozen(spec, name) for name in others)
    bind_to: tuple[str, ...] | None = None
    if spec.bind_to is not None:
        bind_to = others if spec.bind_to == "dna" else (spec.bind_to,)
    elif frozen:
        bind_to = others  # the pairs among frozen towers teach nothing
    return Standing(
        model="CLIBD",
        training="clip",
        aligned=modalities,
        bind_to=bind_to,
        frozen=frozen,
        simclr_initialised=started,
    )


def _of_another(folder: Folder, facts: Mapping[str, Any]) -> Standing:
    try:
        return Standing(model=str(facts["model"]), training="clip", aligned=_in_order(facts["aligned"]))
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{folder}/{EVALUATION}", "it does not say which modalities its model aligns") from error


def _description(facts: Mapping[str, Any]) -> str:
    about = [f"{facts[name]} {name}" for name in ("prompts", "precision") if name in facts]
    about += [f"labels of {str(facts['label']).replace('_', ' ')}"] if "label" in facts else []
    return ", ".join([str(facts.get("weights", facts["model"])), *about])


def _called(label: str, spec: ExperimentSpec, standing: Standing) -> str:
    """The run, and what a reader of its row must know of it."""
    if standing.training == "no_alignment":
        return f"{label}, untrained"
    if standing.frozen:
        weights = spec.image.weights or "nothing"
        return f"{label}, frozen towers from {weights if ':' in weights else PurePosixPath(weights).name}"
    return label


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    there = set(names)
    return tuple(name for name in MODALITIES if name in there)


def _is_frozen(spec: ExperimentSpec, modality: str) -> bool:
    return (spec.image if modality == "image" else spec.text).fine_tuning == "frozen"


def _from_simclr(weights: str | None) -> bool:
    """Whether weights are those of a SimCLR run; where its folder is gone, its name tells."""
    if weights is None:
        return False
    folder = Folder(weights)
    if folder.has(_SPEC):
        content = folder.read_json(_SPEC)
        return isinstance(content, dict) and content.get("objective") == "simclr"
    return "-simclr-" in PurePosixPath(weights).name
