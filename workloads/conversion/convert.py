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
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from workloads.conversion import released, sizes
from workloads.conversion.foreign_checkpoint import ForeignCheckpoint
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.specimens import barcode
from workloads.errors import ConversionError, UsageError, WeightsError, first_line
from workloads.models.bert import FIELDS
from workloads.models.build import TowerInputs, build_model
from workloads.models.loaded import LoadedModel, write_inputs
from workloads.models.towers import timm_model
from workloads.models.weights import TOWER_NAMES, misfit
from workloads.recipes import with_recipe
from workloads.record import RunFolder, provenance
from workloads.seals import LEASE
from workloads.spec import ExperimentSpec, Modality
from workloads.storage import Folder
from workloads.tower_specs import WITHOUT_HEAD, DnaPooling, DnaTower, ImageTower, TextTower
from workloads.weight_files import MODEL, hub_answers

TOKENIZER = "prajjwal1/bert-small"
"""The word pieces of the released text towers, which are those of every uncased BERT."""
_AUTHORS_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was made, and what became of the rest."""

    what: str
    """A noun with its sizes."""
    use: str
    """What can be done with it, as a sentence."""
    num_tensors: int
    leftovers: tuple[str, ...] = ()
    """Tensors without a use."""
    num_merged: int = 0
    """Adapters added to their layers."""
    dna_pooling: DnaPooling | None = None
    """Which way of pooling DNA the model was taken to have."""


def fetch(name: str, target: str) -> Path:
    """A published file in the hub's cache on this machine, fetched if need be.

    Args:
        name: a key of `PUBLISHED`.
        target: folder that the conversion is for, for messages.

    Raises:
        ConversionError: the hub cannot be reached or has no such file; it says what to fetch by hand.
    """
    from huggingface_hub import hf_hub_download

    published, reachable = released.PUBLISHED[name], hub_answers()
    try:
        return Path(hf_hub_download(released.REPOSITORY, published.file, local_files_only=not reachable))
    except OSError as error:  # what the hub's client raises for every refusal, offline mode and broken network
        why = first_line(error) if reachable else "it cannot be reached from here, or HF_HUB_OFFLINE is set"
        raise ConversionError(
            name,
            f"the hub did not give {released.PUBLISHED_AT}{published.file} ({why}); where there is a "
            f"network, run `hf download {released.REPOSITORY} {published.file} --local-dir .`, bring the folder here, "
            f"and run `clibd convert {published.file} --to {target}`",
        ) from error


def convert(
    checkpoint: ForeignCheckpoint,
    target: Folder,
    tokenizer: str = TOKENIZER,
    dna_pooling: DnaPooling | None = None,
    head_width: int | None = None,
) -> Conversion:
    """Write what a checkpoint holds in our formats; what kind it is, its names tell.

    Args:
        checkpoint: as `read_checkpoint` gives it.
        target: folder to write; the file that makes it whole is written last.
        tokenizer: Hugging Face id or folder of the word pieces, for a model with a text tower.
        dna_pooling: how a model with a DNA tower pools, where the checkpoint's name does not tell.
        head_width: of the attention heads of all towers; None where they are as released, or the file says it.

    Raises:
        UsageError: the folder holds something else, or nobody says how DNA is pooled.
        WeightsError: a tensor is missing, not known or of a wrong shape, the tokeniser cannot be had, or nobody says
            how many attention heads there are.
    """
    check_target(target)
    if _WORDS in checkpoint.tensors:
        return _convert_bert(checkpoint, target, head_width)
    if _PATCHES in checkpoint.tensors:
        return _convert_vision_transformer(checkpoint, target, head_width)
    return _convert_model(checkpoint, target, tokenizer, dna_pooling, head_width)


def check_target(target: Folder) -> None:
    """Refuse a folder that is not empty, unless a conversion broke off in it before its last file.

    Raises:
        UsageError: there is something else in it.
    """
    if not {*target.files(), *target.folders()} - {LEASE}:
        return
    begun = target.has("provenance.json") and "converted" in target.read_json("provenance.json")
    if not begun or target.has("status.json" if target.has("spec.json") else MODEL):
        raise UsageError(f"{target} is not empty; name another folder, or remove that one")


_WORDS, _PATCHES = "bert.embeddings.word_embeddings.weight", "patch_embed.proj.weight"


def _convert_model(
    checkpoint: ForeignCheckpoint,
    target: Folder,
    tokenizer: str,
    dna_pooling: DnaPooling | None,
    head_width: int | None,
) -> Conversion:
    about = released.released_as(checkpoint.path)
    has_dna = any(name.startswith(released.ENCODERS["dna"]) for name in checkpoint.tensors)
    pooling = (dna_pooling or about.dna_pooling) if has_dna else None
    if has_dna and pooling is None:
        raise UsageError(
            f"{checkpoint.path}: nothing in it says how the DNA tower pools, so say it: --dna-pooling softmax_mean for "
            "a model of the authors' main branch, as all released ones are; logits_mean, hidden_mean or cls_token for "
            "one of their later variants"
        )
    model = released.rename(checkpoint.path, checkpoint.tensors, without_dna_head=pooling in WITHOUT_HEAD)
    readers = _readers(checkpoint.path, model.tensors, head_width)
    spec = _converted_spec(checkpoint.path, readers, about, pooling)
    words = _tokenizer(tokenizer) if "text" in spec.modalities else None
    inputs = TowerInputs(vocabulary_size=words.vocabulary_size if words else 0, pad_id=words.pad_id if words else 0)
    rows = len(model.tensors["towers.text.trunk.embeddings.word_embeddings.weight"]) if words else 0
    if rows != inputs.vocabulary_size:
        both = f"{rows} word pieces and the tokeniser {tokenizer} {inputs.vocabulary_size}"
        raise WeightsError("text", str(checkpoint.path), f"it has {both}; --tokenizer names another one")
    with torch.device("meta"):
        empty = build_model(spec, inputs, pretrained=False)
    expected = {model.origin.get(name, name): tensor for name, tensor in empty.state_dict().items()}
    _check_complete(checkpoint, {model.origin[name]: tensor for name, tensor in model.tensors.items()}, expected)
    run = RunFolder(target)
    towers = ", ".join(TOWER_NAMES[name] for name in spec.modalities)
    what = f"CLIBD model ({towers}), embedding size {spec.embedding_size}"
    use, count = f"Measure it: clibd evaluate {target} --data DIR", len(model.tensors)
    done = Conversion(what, use, count, model.leftovers, model.num_merged, pooling)
    run.begin(spec, {"converted": True}, _provenance(checkpoint, done))
    write_inputs(run, LoadedModel(spec, empty, inputs, words, None))
    target.write(MODEL, save(dict(model.tensors)))
    run.finish("finished")
    return done


def _readers(path: Path, tensors: Mapping[str, Tensor], head_width: int | None) -> dict[Modality, sizes.Reader]:
    """One of each tower that a model has under our names, `towers.<modality>.…`.

    Raises:
        ConversionError: there are fewer than two.
    """
    readers: dict[Modality, sizes.Reader] = {}
    for modality, called in TOWER_NAMES.items():
        prefix = f"towers.{modality}."
        if own := {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}:
            readers[modality] = sizes.Reader(path, called, own, head_width)
    if len(readers) < 2:
        raise ConversionError(str(path), f"it has {len(readers)} tower(s), and aligned are two at least")
    return readers


def _converted_spec(
    path: Path,
    readers: Mapping[Modality, sizes.Reader],
    about: released.ReleasedFile,
    pooling: DnaPooling | None,
) -> ExperimentSpec:
    """The experiment that a converted model stands for, by the recipe of the authors' code.

    Args:
        path: of the checkpoint, for messages.
        readers: of its towers.
        about: on what it was trained and for how long.
        pooling: of DNA; None where there is no such tower.

    Raises:
        WeightsError: shapes fit no tower of ours.
    """
    spec = ExperimentSpec(
        dataset=about.dataset,
        data_fingerprint="converted",
        modalities=tuple(readers),
        image=sizes.image_tower(readers["image"], "trunk.") if "image" in readers else ImageTower(),
        dna=DnaTower(**_tower_sizes(readers["dna"], barcode.VOCABULARY_SIZE)) if "dna" in readers else DnaTower(),
        text=TextTower(**_tower_sizes(readers["text"])) if "text" in readers else TextTower(),
        embedding_size=_embedding_size(path, readers, pooling),
        batch_size=_AUTHORS_BATCH,
        epochs=about.epochs,
    )
    spec = with_recipe(spec, "authors")
    dna = replace(spec.dna, pooling=pooling) if pooling else spec.dna
    return replace(spec, dna=dna, image=replace(spec.image, fine_tuning="full"))  # the adapters are merged


def _tower_sizes(reader: sizes.Reader, vocabulary_size: int | None = None) -> dict[str, Any]:
    """What a tower's spec says of its BERT."""
    own = sizes.bert_sizes(reader, "trunk.")
    if vocabulary_size not in (None, own["vocab_size"]):
        reason = f"its vocabulary has {own['vocab_size']} tokens, 5-mers have {vocabulary_size}"
        raise WeightsError(reader.tower, str(reader.path), reason)
    return {ours: own[theirs] for theirs, (ours, _) in FIELDS.items()}


def _embedding_size(path: Path, readers: Mapping[Modality, sizes.Reader], pooling: DnaPooling | None) -> int:
    """What the heads give; of a DNA tower without one the width of its states."""
    widths = {
        reader.tower: reader.shape("trunk.embeddings.word_embeddings.weight", 2)[1]
        if modality == "dna" and pooling in WITHOUT_HEAD
        else reader.shape("head.weight", 2)[0]
        for modality, reader in readers.items()
    }
    if len(set(widths.values())) > 1:
        raise ConversionError(str(path), f"its towers do not share a space: {widths}")
    return next(iter(widths.values()))


def _tokenizer(weights: str) -> TextTokenizer:
    try:
        return TextTokenizer.from_weights(weights)
    except WeightsError as error:
        tower, name, reason, _ = error.args
        raise WeightsError(tower, name, f"{reason}; --tokenizer names a folder with its files") from error


def _convert_bert(checkpoint: ForeignCheckpoint, target: Folder, head_width: int | None) -> Conversion:
    from transformers import BertConfig, BertForMaskedLM

    leftovers = tuple(name for name in checkpoint.tensors if name in _BERT_LEFTOVERS)
    left = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in leftovers}
    kept = {name: released.numbers(checkpoint.path, name, tensor) for name, tensor in left.items()}
    told = checkpoint.config.get("num_attention_heads")
    reader = sizes.Reader(checkpoint.path, "DNA", kept, head_width, told if isinstance(told, int) else None)
    config = BertConfig(**_bert_config(checkpoint, sizes.bert_sizes(reader, "bert.")))
    with torch.device("meta"):
        expected = BertForMaskedLM(config).state_dict()
    _check_complete(checkpoint, kept, expected, "DNA")
    config.architectures = ["BertForMaskedLM"]
    config.tie_word_embeddings = torch.equal(kept[_WORDS], kept["cls.predictions.decoder.weight"])
    size = f"{config.num_hidden_layers} blocks of width {config.hidden_size}"
    what, use = f"BERT of {size} over {config.vocab_size:,} tokens", f"DnaTower(weights='{target}')"
    done = Conversion(what, f"Begin a DNA tower with it: {use}", len(kept), leftovers)
    target.write_json("config.json", json.loads(config.to_json_string(use_diff=False)))
    target.write_json("provenance.json", _provenance(checkpoint, done))
    target.write(MODEL, save(kept))
    return done


_BERT_LEFTOVERS = ("bert.embeddings.position_ids", "classifier.weight", "classifier.bias")
"""Numbers from 0 on, which old versions of transformers stored, and a classifier that its own loader drops."""
_NOT_IN_SHAPES = (
    "hidden_act",
    "layer_norm_eps",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "pad_token_id",
)


def _bert_config(checkpoint: ForeignCheckpoint, own: Mapping[str, int]) -> dict[str, Any]:
    """Sizes from the tensors, and from the file's own config, if it has one, what they do not tell."""
    for name, size in own.items():
        if name not in _NOT_IN_SHAPES and (told := checkpoint.config.get(name, size)) != size:
            reason = f"its config has {name} = {told}, its tensors {size}"
            raise WeightsError("DNA", str(checkpoint.path), reason)
    return {**own, **{name: checkpoint.config[name] for name in _NOT_IN_SHAPES if name in checkpoint.config}}


_VISION_SIZES = ("architecture", "image_size", "patch_size", "width", "depth", "num_heads")


def _convert_vision_transformer(checkpoint: ForeignCheckpoint, target: Folder, head_width: int | None) -> Conversion:
    tensors = {name: released.numbers(checkpoint.path, name, tensor) for name, tensor in checkpoint.tensors.items()}
    reader = sizes.Reader(checkpoint.path, "image", tensors, head_width)
    tower, num_classes = sizes.image_tower(reader, ""), reader.shape("head.weight", 2)[0]
    with torch.device("meta"):
        model = timm_model(replace(tower, head="pretrained"), None)
        model.reset_classifier(num_classes)
    _check_complete(checkpoint, tensors, model.state_dict(), "image")
    own = {name: getattr(tower, name) for name in _VISION_SIZES}
    different = [f", {name}={value!r}" for name, value in own.items() if value != getattr(ImageTower(), name)]
    what = f"{tower.architecture} of {tower.image_size} pixels with {num_classes:,} classes"
    use = f"Begin an image tower with it: ImageTower(weights='{target}/{MODEL}'{''.join(different)})"
    done = Conversion(what, use, len(tensors))
    target.write_json("provenance.json", {**_provenance(checkpoint, done), "sizes": own})
    target.write(MODEL, save(tensors))
    return done


def _check_complete(
    checkpoint: ForeignCheckpoint, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], tower: str = ""
) -> None:
    """Refuse a tensor too many, too few, or of another shape, naming the first and, unless it is given, its tower."""
    if wrong := misfit(tensors, expected):
        name, reason = wrong
        raise WeightsError(tower or released.tower_of(name), str(checkpoint.path), reason)


def _provenance(checkpoint: ForeignCheckpoint, done: Conversion) -> dict[str, Any]:
    parts = checkpoint.path.parts  # in the hub's cache the commit stands behind `snapshots`
    source = {
        "file": checkpoint.path.name,
        "sha256": checkpoint.sha256,
        "hub_revision": parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None,
        "merged_adapters": done.num_merged,
        "dna_pooling": done.dna_pooling,
        "leftovers": list(done.leftovers),
        "beside": list(checkpoint.beside),
    }
    return {**provenance(), "converted": source}
