"""A spec made ready to train or to evaluate: its tokenisers and its model, from a data set or from a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Required, TypedDict

import numpy as np
import numpy.typing as npt

from workloads.data.inputs.batches import Specimens
from workloads.data.inputs.who_trains import training_classes
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import LabelTokenizer, TextTokenizer
from workloads.errors import MissingPathError
from workloads.models.build import TowerInputs, build_model
from workloads.models.clibd import Clibd
from workloads.models.dnabert2 import PAD_ID, dnabert2_tokenizer
from workloads.models.openclip import open_clip_library
from workloads.models.places import NOWHERE, Addresses, LocalWeights, located, weights_of
from workloads.models.weights import is_run, load_weights
from workloads.record import RunFolder
from workloads.run_files import read_object
from workloads.seals import sealed_folder
from workloads.spec import ExperimentSpec, Modality
from workloads.storage import Folder, read_file


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model and what its inputs have to go through."""

    spec: ExperimentSpec
    model: Clibd
    inputs: TowerInputs
    tokenizer: LabelTokenizer | None
    """Tokeniser of labels."""
    dna_tokenizer: LabelTokenizer | None
    """Tokeniser of barcodes, where the tower takes no 5-mers."""
    classes: tuple[str, ...] = ()
    """Species that a classifier tells apart, or genera of a masked model, in the order of its outputs."""
    weights: Mapping[Modality, LocalWeights] = field(default_factory=dict)
    """What its towers began with, where that is not published; empty for a trained model."""
    frame: str | None = None
    """Consensus that barcodes are laid into before they are read in 5-mers; None: that of whichever data set they are
    of, as in runs of earlier versions."""

    @property
    def began_with(self) -> list[RunFolder]:
        """The folders, of runs mostly, whose towers it began with; unknown of a trained model."""
        paths = [self.spec.tower(name).weights for name in self.spec.modalities]  # as specs of earlier versions say
        addresses = [
            *(weights.address for weights in self.weights.values()),
            *(path for path in paths if path and is_run(path)),
        ]
        return [RunFolder(Folder(address)) for address in dict.fromkeys(addresses)]

    def specimens(
        self, dataset: PreparedDataset, splits: Sequence[str], modalities: Sequence[Modality] | None = None
    ) -> Specimens:
        """The specimens of some splits as this model takes them."""
        return Specimens(dataset, splits, self.spec, self.tokenizer, modalities, self.dna_tokenizer, self.frame)


class OpenClipTokenizer:
    """CLIP's byte-pair tokeniser, which comes with OpenCLIP and needs no network."""

    pad_id = 0

    def __init__(self) -> None:
        self._tokenizer = open_clip_library().SimpleTokenizer()
        self.vocabulary_size: int = self._tokenizer.vocab_size

    def ids(self, labels: Sequence[str], max_tokens: int, whole_length: bool) -> npt.NDArray[np.int64]:
        """Token ids, (len(labels), 77), padded with 0; longer labels are cut and keep their end mark.

        CLIP's context has its own length, whatever is asked for.
        """
        ids: npt.NDArray[np.int64] = self._tokenizer(list(labels)).numpy()
        return ids


def open_untrained(
    spec: ExperimentSpec, dataset: PreparedDataset, places: Addresses = NOWHERE, near: Folder | None = None
) -> LoadedModel:
    """The model of a spec with its first weights.

    Args:
        spec: the experiment.
        dataset: prepared.
        places: where weights lie that the spec names, beside what `near` tells.
        near: the folder of the run, RUNS/SWEEP/ID.

    Raises:
        WeightsError: weights that the spec names cannot be had.
        WeightsDriftError: the run in that folder began with others of the same name.
        SpecError: there is nothing to classify, or are no genera to tell.
    """
    weights = weights_of(spec, places, near)
    local = located(spec, weights)
    tokenizer = _label_tokenizer(local, dataset)
    dna_tokenizer = _dna_tokenizer(local)
    classes = training_classes(spec, dataset)
    inputs = TowerInputs(
        image_feature_size=dataset.facts.image_feature_size,
        dna_feature_size=dataset.facts.dna_feature_size,
        vocabulary_size=tokenizer.vocabulary_size if tokenizer else 0,
        pad_id=tokenizer.pad_id if tokenizer else 0,
        num_classes=len(classes),
    )
    model, frame = build_model(local, inputs), _frame(local, dataset)
    return LoadedModel(spec, model, inputs, tokenizer, dna_tokenizer, classes, weights, frame)


def write_inputs(run: RunFolder, loaded: LoadedModel) -> None:
    """Keep in a run what `open_run` needs beside the spec and the weights, and what its towers began with."""
    inputs = {"towers": asdict(loaded.inputs), "classes": list(loaded.classes), "frame": loaded.frame}
    run.folder.write_json("inputs.json", inputs)
    for name, tokenizer in (("tokenizer.json", loaded.tokenizer), ("dna_tokenizer.json", loaded.dna_tokenizer)):
        if isinstance(tokenizer, TextTokenizer):
            run.folder.write(name, tokenizer.to_json().encode())
    weights = loaded.weights.items()
    kept = {str(name): {"name": own.name, "digest": own.digest, "address": own.address} for name, own in weights}
    run.keep_weights(kept)


def open_run(run: RunFolder) -> LoadedModel:
    """The trained model of a finished run; nothing is fetched from anywhere.

    Raises:
        DamagedError: weights or inputs are not what was written.
    """
    spec = run.spec()
    folder = sealed_folder(run.folder)
    stored = read_object(folder, "inputs.json", _Inputs)
    inputs = TowerInputs(**stored["towers"])
    tokenizer: LabelTokenizer | None = None
    if "text" in spec.modalities:
        tokenizer = OpenClipTokenizer() if spec.text.kind == "openclip" else _stored(folder, "tokenizer.json")
    dna_tokenizer = _stored(folder, "dna_tokenizer.json") if folder.has("dna_tokenizer.json") else None
    model = build_model(spec, inputs, pretrained=False)
    load_weights(folder, model)
    return LoadedModel(
        spec, model, inputs, tokenizer, dna_tokenizer, tuple(stored["classes"]), frame=stored.get("frame")
    )


def open_finished(run: RunFolder) -> LoadedModel:
    """`open_run` of what a person named.

    Raises:
        MissingPathError: it is no run, or not finished.
        DamagedError: weights or inputs are not what was written.
    """
    if not run.folder.has("spec.json") or run.state() != "finished":
        remedy = "Name the folder of one, RUNS/SWEEP/RUN; a training goes on when its command is started again."
        raise MissingPathError(str(run.folder), "finished run", remedy)
    return open_run(run)


def _frame(spec: ExperimentSpec, dataset: PreparedDataset) -> str | None:
    """The frame of the run that the DNA tower begins with, which reads no other; else the data set's."""
    before = None
    if spec.dna.weights and "dna" in spec.modalities and is_run(spec.dna.weights):
        before = read_object(sealed_folder(Folder(spec.dna.weights)), "inputs.json", _Inputs).get("frame")
    return before or dataset.facts.frame or None


class _Inputs(TypedDict, total=False):
    """inputs.json of a run."""

    towers: Required[TowerInputs]
    classes: Required[list[str]]
    frame: str | None


def _stored(run: Folder, name: str) -> TextTokenizer:
    return TextTokenizer.from_json(read_file(run, name), f"{run}/{name}")


def _label_tokenizer(spec: ExperimentSpec, dataset: PreparedDataset) -> LabelTokenizer | None:
    if "text" not in spec.modalities:
        return None
    if spec.text.kind == "openclip":
        return OpenClipTokenizer()
    if spec.text.weights is None:
        return TextTokenizer.from_json(dataset.tokenizer_json(), f"{dataset.folder}/tokenizer.json")
    if is_run(spec.text.weights):
        return _stored(sealed_folder(Folder(spec.text.weights)), "tokenizer.json")
    return TextTokenizer.from_weights(spec.text.weights)


def _dna_tokenizer(spec: ExperimentSpec) -> LabelTokenizer | None:
    if "dna" not in spec.modalities or spec.dna.kind != "dnabert2":
        return None
    if spec.dna.weights is not None and is_run(spec.dna.weights):
        return _stored(sealed_folder(Folder(spec.dna.weights)), "dna_tokenizer.json")
    return TextTokenizer(dnabert2_tokenizer(spec.dna.weights), pad_id=PAD_ID)
