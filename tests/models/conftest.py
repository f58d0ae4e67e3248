"""What several tests of models share: the folder of a finished run, and the model that the authors released, tiny."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from tests.models.authors_model import LABELS, AuthorsModel, authors_model
from workloads.data.prepared.taxon_text import TextTokenizer, learn_word_pieces
from workloads.spec import ExperimentSpec, spec_to_dict
from workloads.tower_specs import DnaTower, TextTower

WriteRun = Callable[[Path, ExperimentSpec, nn.Module], str]
RunOf = Callable[[DnaTower | TextTower, nn.Module], str]


@pytest.fixture(scope="session")
def write_run() -> WriteRun:
    """Writes what a finished run leaves of its model: where, of which spec, which weights."""

    def write(folder: Path, spec: ExperimentSpec, model: nn.Module) -> str:
        folder.mkdir(parents=True)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
        (folder / "spec.json").write_text(json.dumps(spec_to_dict(spec)))
        (folder / "status.json").write_text(json.dumps({"state": "finished"}))
        return str(folder)

    return write


@pytest.fixture
def run_of(write_run: WriteRun, tmp_path: Path) -> RunOf:
    """The same of one tower of DNA or text, and its spec."""

    def write(spec: DnaTower | TextTower, tower: nn.Module) -> str:
        modality = "dna" if isinstance(spec, DnaTower) else "text"
        model = nn.Module()
        model.towers = nn.ModuleDict({modality: tower})
        whole = ExperimentSpec(dataset="insects", data_fingerprint="0")
        return write_run(tmp_path / "run", replace(whole, **{modality: spec}), model)

    return write


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokeniser of a published text model, of a few hundred word pieces."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("words")
    pieces = Tokenizer.from_str(learn_word_pieces(LABELS))
    PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(words: Path) -> TextTokenizer:
    return TextTokenizer.from_weights(str(words))


@pytest.fixture(scope="session")
def adapted(tokenizer: TextTokenizer) -> AuthorsModel:
    return authors_model("old", tokenizer, adapted=True)


@pytest.fixture
def state(adapted: AuthorsModel) -> dict[str, Tensor]:
    """Of the adapted model, to be spoiled."""
    return adapted.state()
