"""Training on one machine without Ray.

python -m workloads.training align --data DIR
torchrun --nproc-per-node 4 -m workloads.training align --data DIR
"""

import os

import typer

from workloads.command_line import run_command
from workloads.execution import Execution
from workloads.training import options

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def train(
    data: options.DataFolder,
    experiment: options.ExperimentName = "align",
    runs: options.RunsFolder = "runs",
    scale: options.ScaleName = "paper",
    recipe: options.RecipeName = "corrected",
    seed: options.Seed = 42,
    batch_size: options.BatchSize = None,
    epochs: options.Epochs = None,
    start_from: options.StartFrom = None,
    settings: options.Settings = None,
    micro_batch: options.MicroBatch = None,
    checkpoint_blocks: options.CheckpointBlocks = False,
    compile_towers: options.Compile = False,
    offline: options.Offline = False,
    wandb: options.Wandb = "off",
    cpu: options.CpuOnly = False,
) -> None:
    """Train one experiment on a prepared data set, on this machine and without Ray.

    Started again after an interruption, it goes on from the last checkpoint. Under torchrun the batch is shared among
    its processes; the loss still sees all of it.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    from workloads.training.command import Asked, train_here

    fields = tuple(settings or ())
    asked = Asked(experiment, data, runs, scale, recipe, seed, batch_size, epochs, start_from, fields)
    execution = Execution(micro_batch=micro_batch, checkpoint_blocks=checkpoint_blocks, compile=compile_towers)
    print(train_here(asked, execution, wandb, cpu).folder)


if __name__ == "__main__":
    run_command(app)
