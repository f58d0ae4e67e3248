"""Which row of a table a run stands for that no sweep has asked for: read from its spec."""

from collections.abc import Iterable

from sweeps.table import Value
from workloads.spec import MODALITIES, ExperimentSpec

_TIMM = {"vit_base_patch16_224": "timm(B/16)", "vit_large_patch16_224": "timm(L/16)"}
_BERT = {(512, 4): "BERT(small)", (768, 12): "BERT(base-uncased)"}
_DNA = {"barcodebert": "BarcodeBERT", "dnabert2": "DNABERT-2", "cnn": "CNN encoder"}

PLAIN: dict[str, Value] = {"bind_to": None, "frozen": False, "simclr_initialised": False}
"""Trained as the paper's main models are: all pairs, every tower, from the usual weights."""


def standing_of(spec: ExperimentSpec, untrained: bool = False, from_simclr: bool | None = None) -> dict[str, Value]:
    """Every field by which tables tell rows apart, and what they take.

    Args:
        spec: of the run.
        untrained: whether it was measured as it was before it was trained.
        from_simclr: whether its image tower began as one of SimCLR; None: the name of its weights tells.
    """
    names = in_order(spec.modalities)
    others = tuple(name for name in names if name != "dna")
    frozen = spec.objective == "align" and "dna" in names and all(_is_frozen(spec, name) for name in others)
    bind_to: tuple[str, ...] | None = None
    if spec.objective == "align" and (spec.bind_to is not None or frozen):
        bind_to = others if spec.bind_to in (None, "dna") else (str(spec.bind_to),)  # frozen pairs teach nothing
    if from_simclr is None:
        from_simclr = "-simclr-" in (spec.image.weights or "").rpartition("/")[2]
    trained = {"align": "clip", "simclr": "simclr"}.get(spec.objective, "classifier")
    return {
        "model": "CLIBD",
        "training": "no_alignment" if untrained else trained,
        "aligned": () if untrained else names,
        "bind_to": None if untrained else bind_to,
        "frozen": frozen and not untrained,
        "simclr_initialised": "image" in names and from_simclr,
        "batch_size": spec.batch_size,
        "epochs": spec.epochs,
        "amp": spec.precision == "bf16",
        "fine_tuning": "full" if spec.image.fine_tuning == "full_and_lora" else spec.image.fine_tuning,
        "temperature": "trainable" if spec.trainable_temperature else "fixed",
        "pooling": spec.dna.pooling,
        **{f"{name}_encoder": tower if name in names else None for name, tower in _encoders(spec).items()},
    }


def _encoders(spec: ExperimentSpec) -> dict[str, str]:
    """The towers as Table 14 calls them; others by the name of their architecture."""
    image, text = spec.image, spec.text
    shape = image.architecture.removeprefix("ViT-").removesuffix("-quickgelu").replace("-", "/")
    images = {"timm": _TIMM.get(image.architecture, image.architecture), "openclip": f"OpenCLIP({shape})"}
    bert = _BERT.get((text.width, text.depth), f"BERT({text.depth} x {text.width})")
    return {
        "image": images.get(image.kind, "features"),
        "dna": _DNA.get(spec.dna.kind, "features"),
        "text": "OpenCLIP" if text.kind == "openclip" else bert,
    }


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Modalities in the order image, DNA, text."""
    there = set(names)
    return tuple(name for name in MODALITIES if name in there)


def _is_frozen(spec: ExperimentSpec, modality: str) -> bool:
    return (spec.image if modality == "image" else spec.text).fine_tuning == "frozen"
