"""The options that `clibd train` and `python -m workloads.training` share."""

from typing import Annotated

import typer

from workloads.experiments import Experiment, Scale
from workloads.spec import Recipe
from workloads.training.report import WandbMode

ExperimentName = Annotated[
    Experiment,
    typer.Argument(
        help="align: all modalities of the data. image-dna, image-text: two of them. simclr-image, simclr-dna: one "
        "tower alone learns to know two views of a specimen. bind-image, bind-image-text: DNA is bound to frozen "
        "BioCLIP. classify, classify-dna: the image or the DNA tower learns the seen species."
    ),
]
DataFolder = Annotated[str, typer.Option(help="Prepared data set: a folder, or an s3:// or gs:// address.")]
RunsFolder = Annotated[str, typer.Option(help="Where runs are kept; this one goes to RUNS/train/ID.")]
ScaleName = Annotated[Scale, typer.Option(help="The published encoders, or small ones for two CPU cores.")]
RecipeName = Annotated[
    Recipe, typer.Option(help="The paper's text, its authors' code, or the best we know (docs/fidelity.md).")
]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, order and dropout.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Specimens the loss sees per step. Default: the scale's.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Default: the experiment's.")]
StartFrom = Annotated[
    str | None,
    typer.Option("--from", help="Finished run or converted model whose towers it begins with: a folder or an address."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Set any field of the experiment: --set image.fine_tuning=lora --set max_learning_rate=1e-3"
    ),
]
MicroBatch = Annotated[
    int | None,
    typer.Option(min=1, help="Specimens embedded at a time; the loss still sees the whole batch. Default: what fits."),
]
CheckpointBlocks = Annotated[
    bool, typer.Option("--checkpoint-blocks", help="Compute the inside of each block again: a tenth of the memory.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Let torch compile the towers first; for long runs on GPUs.")]
Offline = Annotated[bool, typer.Option("--offline", help="Take published weights from this machine only.")]
Wandb = Annotated[WandbMode, typer.Option(help="Log to Weights & Biases as well.")]
CpuOnly = Annotated[bool, typer.Option("--cpu", help="Train on the CPU, also where there are GPUs.")]
