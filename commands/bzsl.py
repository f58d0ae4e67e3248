"""`clibd bzsl`: species of images by Bayesian zero-shot learning."""

from typing import Annotated

import typer

from commands.options import BusyOption, FormOption, print_sheets
from workloads.bzsl.settings import PUBLISHED_COMPONENTS, ScaleForm, SettingSearch
from workloads.command_line import stderr_console
from workloads.errors import UsageError
from workloads.lease import held
from workloads.seals import run_of
from workloads.spec import Recipe
from workloads.storage import Folder


def bzsl(
    source: Annotated[
        str,
        typer.Argument(
            help="INSECT's folder or INSECT prepared, a measured run, or a table with *_features*.npy beside."
        ),
    ],
    dna: Annotated[
        str | None, typer.Option(help="Take the DNA of each species from this one instead; any of the same kinds.")
    ] = None,
    recipe: Annotated[Recipe, typer.Option(help="Which reading of the paper; see docs/fidelity.md.")] = "corrected",
    form: Annotated[
        ScaleForm | None,
        typer.Option(help="Of a seen species' covariance: with the published slip or without. Default: the recipe's."),
    ] = None,
    search: Annotated[
        SettingSearch,
        typer.Option(help="The paper's 144 settings, a far larger space, or the authors' untuned values."),
    ] = "grid",
    trials: Annotated[int | None, typer.Option(min=1, help="optuna: settings to try.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.0, help="optuna: time for it. Default: the paper's 4 if no --trials.")
    ] = None,
    pca: Annotated[
        int, typer.Option(min=0, help="Principal components of the image features; 0 takes these as they are.")
    ] = PUBLISHED_COMPONENTS,
    seed: Annotated[int, typer.Option(min=0, help="Of drawn partitions and of optuna.")] = 42,
    out: Annotated[str | None, typer.Option(help="Folder to write. Default: bzsl in the run, or ./bzsl.")] = None,
    output: FormOption = "md",
    busy: BusyOption = "refuse",
) -> None:
    """Tell species apart by their images, unseen ones by the DNA that they have in common with seen ones.

    Hyperparameters are chosen on validation; the test is measured once, with the chosen ones. Beside ours stand the
    paper's numbers for such features, the nearest class mean, and a species chosen at random.

    Example: clibd bzsl INSECT --recipe paper                 Table 4, first row
             clibd bzsl INSECT --dna RUN                      INSECT's images, your run's DNA
             clibd bzsl RUN --search optuna --hours 1         your run's images and DNA
    """
    from results.measured import zero_shot_sheet
    from workloads.measuring.zero_shot_folder import default_target, measure_zero_shot

    target = None if out is None else Folder(out)
    if target is not None and (
        target.has("spec.json") or (target.has("evaluation.json") and not target.has("bzsl.json"))
    ):
        raise UsageError(f"--out {out} holds a run or an evaluation, whose measurements would be lost")
    with held(run_of(target or default_target(source)), busy):
        folder = measure_zero_shot(source, dna, target, recipe, seed, form, search, trials, hours, pca)
    print_sheets([zero_shot_sheet(folder)], output)
    stderr_console().print(f"Settings, predictions and measurements: {folder}")
