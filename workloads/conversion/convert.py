"""Turns files that others released into safetensors with JSON beside, and accounts for every tensor in them.

    the authors' aligned model       →  the folder of a finished run, for `clibd evaluate` and as a tower's weights
    BarcodeBERT before alignment     →  a folder in the Hugging Face layout of a BertForMaskedLM
    an image encoder from SimCLR     →  model.safetensors in timm's names

A tensor is used, merged into the layer it adapts, or on a written list of leftovers; any other is an error, and so is
one that is missing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from workloads.conversion.names import (
    TOWER_NAMES,
    is_released_model,
    numbers,
    rename,
    tower_of,
    without_dna_head,
)
from workloads.conversion.published import Published, pooling_of, published_as, revision_of
from workloads.conversion.reading import Checkpoint
from workloads.conversion.sizes import Reader, bert_sizes, image_tower, spec_of
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.errors import ConversionError, UsageError, WeightsError
from workloads.models.clibd import TowerInputs, build_model
from workloads.models.fitting import misfit
from workloads.models.image_tower import timm_model
from workloads.models.loaded import LoadedModel, write_inputs
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.record import RunFolder, provenance
from workloads.spec import WITHOUT_HEAD, DnaPooling, ImageTower
from workloads.storage import Folder

MODEL = "model.safetensors"
TOKENIZER = "prajjwal1/bert-small"
"""The word pieces of the released text towers, which are those of every uncased BERT."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was made, and what became of the rest."""

    what: str
    """A noun with its sizes."""
    use: str
    """What can be done with it, as a sentence."""
    num_tensors: int
    beside: tuple[str, ...]
    """What else the file held."""
    leftovers: tuple[str, ...] = ()
    """Tensors without a use."""
    num_merged: int = 0
    """Adapters added to their layers."""
    dna_pooling: DnaPooling | None = None
    """Which way of pooling DNA the model was taken to have."""


def convert(
    checkpoint: Checkpoint, target: Folder, tokenizer: str = TOKENIZER, dna_pooling: DnaPooling | None = None
) -> Conversion:
    """Write what a checkpoint holds in our formats; what kind it is, its names tell.

    Args:
        checkpoint: as `read_checkpoint` gives it.
        target: folder to write; the file that makes it whole is written last.
        tokenizer: Hugging Face id or folder of the word pieces, for a model with a text tower.
        dna_pooling: how a model with a DNA tower pools, where the checkpoint's name does not tell.

    Raises:
        UsageError: the folder holds something else, or nobody says how DNA is pooled.
        WeightsError: a tensor is missing, not known or of a wrong shape, or the tokeniser cannot be had.
    """
    check_target(target)
    if is_released_model(checkpoint.tensors):
        return _convert_model(checkpoint, target, tokenizer, dna_pooling)
    if _WORDS in checkpoint.tensors:
        return _convert_bert(checkpoint, target)
    if _PATCHES in checkpoint.tensors:
        return _convert_vision_transformer(checkpoint, target)
    first = next(iter(checkpoint.tensors))
    raise ConversionError(str(checkpoint.path), f"{first} is of none of the models that can be converted")


def check_target(target: Folder) -> None:
    """Refuse a folder that is not empty, unless a conversion broke off in it before its last file.

    Raises:
        UsageError: there is something else in it.
    """
    if not target.files() and not target.folders():
        return
    begun = target.has("provenance.json") and "converted" in target.read_json("provenance.json")
    if not begun or target.has("status.json" if target.has("spec.json") else MODEL):
        raise UsageError(f"{target} is not empty; name another folder, or remove that one")


_WORDS, _PATCHES = "bert.embeddings.word_embeddings.weight", "patch_embed.proj.weight"


def _convert_model(
    checkpoint: Checkpoint, target: Folder, tokenizer: str, dna_pooling: DnaPooling | None
) -> Conversion:
    model = rename(checkpoint.path, checkpoint.tensors)
    pooling = _pooling(checkpoint, dna_pooling) if "dna" in model.modalities else None
    if pooling in WITHOUT_HEAD:
        model = without_dna_head(model)
    # A file that was renamed is taken for one of the paper's own data set.
    published = published_as(checkpoint.path) or Published(file=checkpoint.path.name)
    spec = spec_of(checkpoint.path, model, published.dataset, published.epochs, pooling or "softmax_mean")
    words = _tokenizer(tokenizer) if "text" in spec.modalities else None
    inputs = TowerInputs(vocabulary_size=words.vocabulary_size if words else 0, pad_id=words.pad_id if words else 0)
    if words:
        _check_vocabulary(checkpoint, tokenizer, words, model.tower("text")["trunk.embeddings.word_embeddings.weight"])
    with torch.device("meta"):
        empty = build_model(spec, inputs, pretrained=False)
    _check_complete(checkpoint, None, model.tensors, empty.state_dict(), model.origin)
    run = RunFolder(target)
    towers = ", ".join(TOWER_NAMES[name] for name in spec.modalities)
    what = f"CLIBD model ({towers}), embedding size {spec.embedding_size}"
    use, count = f"Measure it: clibd evaluate {target} --data DIR", len(model.tensors)
    done = Conversion(what, use, count, checkpoint.beside, model.leftovers, model.num_merged, pooling)
    run.begin(spec, {"converted": True}, _provenance(checkpoint, done))
    write_inputs(run, LoadedModel(spec, empty, inputs, words, None))
    target.write(MODEL, save(dict(model.tensors)))
    run.finish("finished")
    return done


def _pooling(checkpoint: Checkpoint, given: DnaPooling | None) -> DnaPooling:
    """The variant, which nothing in the tensors tells and every embedding depends on."""
    if pooling := given or pooling_of(checkpoint.path):
        return pooling
    raise UsageError(
        f"{checkpoint.path}: nothing in it says how the DNA tower pools, so say it: --dna-pooling softmax_mean for a "
        "model of the authors' main branch, as all released ones are; logits_mean, hidden_mean or cls_token for one of "
        "their later variants"
    )


def _tokenizer(weights: str) -> TextTokenizer:
    try:
        return TextTokenizer.from_weights(weights)
    except WeightsError as error:
        tower, name, reason, _ = error.args
        raise WeightsError(tower, name, f"{reason}; --tokenizer names a folder with its files") from error


def _check_vocabulary(checkpoint: Checkpoint, tokenizer: str, words: TextTokenizer, rows: Tensor) -> None:
    if words.vocabulary_size != len(rows):
        sizes = f"{len(rows)} word pieces and the tokeniser {tokenizer} {words.vocabulary_size}"
        raise WeightsError("text", str(checkpoint.path), f"it has {sizes}; --tokenizer names another one")


def _convert_bert(checkpoint: Checkpoint, target: Folder) -> Conversion:
    declare_missing_operators()
    from transformers import BertConfig, BertForMaskedLM

    leftovers = tuple(name for name in checkpoint.tensors if name in _BERT_LEFTOVERS)
    left = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in leftovers}
    kept = {name: numbers(checkpoint.path, name, tensor) for name, tensor in left.items()}
    config = BertConfig(**_bert_config(checkpoint, bert_sizes(Reader(checkpoint.path, "DNA", kept), "bert.")))
    with torch.device("meta"):
        expected = BertForMaskedLM(config).state_dict()
    _check_complete(checkpoint, "DNA", kept, expected)
    config.architectures = ["BertForMaskedLM"]
    config.tie_word_embeddings = torch.equal(kept[_WORDS], kept["cls.predictions.decoder.weight"])
    size = f"{config.num_hidden_layers} blocks of width {config.hidden_size}"
    what, use = f"BERT of {size} over {config.vocab_size:,} tokens", f"DnaTower(weights='{target}')"
    done = Conversion(what, f"Begin a DNA tower with it: {use}", len(kept), checkpoint.beside, leftovers)
    target.write_json("config.json", json.loads(config.to_json_string(use_diff=False)))
    target.write_json("provenance.json", _provenance(checkpoint, done))
    target.write(MODEL, save(kept))
    return done


_BERT_LEFTOVERS = ("bert.embeddings.position_ids", "classifier.weight", "classifier.bias")
"""Numbers from 0 on, which old versions of transformers stored, and a classifier that its own loader drops."""
_NOT_IN_SHAPES = (
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "pad_token_id",
)


def _bert_config(checkpoint: Checkpoint, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Sizes from the tensors, and from the file's own config, if it has one, what they do not tell."""
    for name, size in sizes.items():
        if name not in _NOT_IN_SHAPES and (told := checkpoint.config.get(name, size)) != size:
            reason = f"its config has {name} = {told}, its tensors {size}"
            raise WeightsError("DNA", str(checkpoint.path), reason)
    return {**sizes, **{name: checkpoint.config[name] for name in _NOT_IN_SHAPES if name in checkpoint.config}}


_VISION_SIZES = ("architecture", "image_size", "patch_size", "width", "depth", "num_heads")


def _convert_vision_transformer(checkpoint: Checkpoint, target: Folder) -> Conversion:
    tensors = {name: numbers(checkpoint.path, name, tensor) for name, tensor in checkpoint.tensors.items()}
    reader = Reader(checkpoint.path, "image", tensors)
    tower, num_classes = image_tower(reader, ""), reader.shape("head.weight", 2)[0]
    _check_complete(checkpoint, "image", tensors, _vision_transformer(tower, num_classes))
    sizes = {name: getattr(tower, name) for name in _VISION_SIZES}
    different = [f", {name}={value!r}" for name, value in sizes.items() if value != getattr(ImageTower(), name)]
    what = f"{tower.architecture} of {tower.image_size} pixels with {num_classes:,} classes"
    use = f"Begin an image tower with it: ImageTower(weights='{target}/{MODEL}'{''.join(different)})"
    done = Conversion(what, use, len(tensors), checkpoint.beside)
    target.write_json("provenance.json", {**_provenance(checkpoint, done), "sizes": sizes})
    target.write(MODEL, save(tensors))
    return done


def _vision_transformer(tower: ImageTower, num_classes: int) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        model = timm_model(replace(tower, head="pretrained"), None)
        model.reset_classifier(num_classes)
    state: Mapping[str, Tensor] = model.state_dict()
    return state


def _check_complete(
    checkpoint: Checkpoint,
    tower: str | None,
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    origin: Mapping[str, str] | None = None,
) -> None:
    """Refuse a tensor too many, too few, or of another shape; the first is named as the file does.

    Args:
        checkpoint: for messages.
        tower: name for messages; None where our names of the tensors tell it.
        found: tensors by our names.
        expected: empty ones.
        origin: names in the file, where they are others.
    """
    if found_wrong := misfit(found, expected, called=origin):
        name, reason = found_wrong
        raise WeightsError(tower or tower_of(name), str(checkpoint.path), reason)


def _provenance(checkpoint: Checkpoint, done: Conversion) -> dict[str, Any]:
    source = {
        "file": checkpoint.path.name,
        "sha256": checkpoint.sha256,
        "hub_revision": revision_of(checkpoint.path),
        "merged_adapters": done.num_merged,
        "dna_pooling": done.dna_pooling,
        "leftovers": list(done.leftovers),
        "beside": list(checkpoint.beside),
    }
    return {**provenance(), "converted": source}
