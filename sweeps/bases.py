"""The experiment that every sweep varies, at each scale."""

from dataclasses import replace

from sweeps.point import Scale
from workloads.spec import DnaTower, ExperimentSpec, ImageTower, Modality, TextTower


def base_spec(
    scale: Scale,
    *,
    dataset: str,
    data_fingerprint: str,
    synthetic: bool,
    modalities: tuple[Modality, ...],
    has_image_features: bool,
    seed: int = 42,
) -> ExperimentSpec:
    """The base for a prepared data set.

    Args:
        scale: `paper` takes the published encoders and hyperparameters, `small` what two CPU cores train in minutes.
        dataset: name of the prepared data set.
        data_fingerprint: its fingerprint.
        synthetic: whether its specimens are drawn.
        modalities: what it has; all of it is aligned.
        has_image_features: whether its images are precomputed features.
        seed: of weights, order and dropout.
    """
    paper = ExperimentSpec(
        dataset=dataset,
        data_fingerprint=data_fingerprint,
        synthetic=synthetic,
        modalities=modalities,
        image=ImageTower(kind="features", dropout=0.5) if has_image_features else ImageTower(weights="timm"),
        # BarcodeBERT's 5-mer weights are published as a training checkpoint only; the tower starts from scratch.
        dna=DnaTower(),
        text=TextTower(weights="prajjwal1/bert-small"),
        seed=seed,
    )
    return paper if scale == "paper" else _small(paper)


def _small(spec: ExperimentSpec) -> ExperimentSpec:
    """Towers of about a million parameters, from scratch, with learning rates that suit them."""
    has_features = spec.image.kind == "features"
    if has_features:
        image = ImageTower(kind="features", width=2048, depth=2, dropout=0.7)
    else:
        image = ImageTower(
            architecture="vit_tiny_patch16_224", image_size=48, patch_size=8, width=96, depth=3, num_heads=3
        )
    return replace(
        spec,
        image=image,
        dna=DnaTower(
            width=64,
            depth=1,
            num_heads=2,
            hidden_width=128,
            dropout=0.0,
            token_dropout=0.1,
        ),
        text=TextTower(width=64, depth=1, num_heads=2, hidden_width=128, dropout=0.0),
        embedding_size=512 if has_features else 256,
        # An MLP over features learns a thousand specimens by heart once the temperature falls (docs/log.md).
        initial_temperature=0.1 if has_features else 0.07,
        trainable_temperature=not has_features,
        max_learning_rate=3e-3,
        initial_learning_rate=6e-5,
        epochs=14 if spec.synthetic else 25,
    )
