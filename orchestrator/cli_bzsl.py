"""`clibd bzsl`: species of images by Bayesian zero-shot learning."""

from typing import Annotated, Literal

import typer


def bzsl(
    source: Annotated[
        str,
        typer.Argument(help="INSECT's folder, a measured run, or a folder of one table with *_features*.npy beside."),
    ],
    dna: Annotated[
        str | None, typer.Option(help="Take the DNA of each species from this one instead; any of the same kinds.")
    ] = None,
    recipe: Annotated[
        Literal["paper", "authors", "corrected"], typer.Option(help="Which reading of the paper; see docs/fidelity.md.")
    ] = "corrected",
    form: Annotated[
        Literal["published", "corrected"] | None,
        typer.Option(help="Of a seen species' covariance: with the published slip or without. Default: the recipe's."),
    ] = None,
    search: Annotated[
        Literal["grid", "optuna", "published-defaults"],
        typer.Option(help="The paper's 144 settings, a far larger space, or the authors' untuned values."),
    ] = "grid",
    trials: Annotated[int | None, typer.Option(min=1, help="optuna: settings to try.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.0, help="optuna: time for it. Default: the paper's 4 if no --trials.")
    ] = None,
    pca: Annotated[int, typer.Option(min=1, help="Principal components of the image features.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of drawn partitions and of optuna.")] = 42,
    out: Annotated[str | None, typer.Option(help="Folder to write. Default: bzsl in the run, or ./bzsl.")] = None,
    output: Annotated[Literal["md", "csv", "json"], typer.Option("--format", help="Of what stdout shows.")] = "md",
) -> None:
    """Tell species apart by their images, unseen ones by the DNA that they have in common with seen ones.

    Hyperparameters are chosen on validation; the test is measured once, with the chosen ones. Beside ours stand the
    paper's numbers for such features, the nearest class mean, and a species chosen at random.

    Example: clibd bzsl INSECT --recipe paper                 Table 4, first row
             clibd bzsl INSECT --dna RUN                      INSECT's images, your run's DNA
             clibd bzsl RUN --search optuna --hours 1         your run's images and DNA
    """
    from orchestrator.bzsl_command import Asked, bzsl_command

    asked = Asked(
        source=source,
        dna=dna,
        recipe=recipe,
        form=form or ("corrected" if recipe == "corrected" else "published"),
        search=search,
        trials=trials,
        hours=hours,
        num_components=pca,
        seed=seed,
        out=out,
    )
    bzsl_command(asked, output)
