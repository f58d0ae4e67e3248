"""`clibd-results`: regenerated tables, figures and comparisons, from finished run folders alone."""

import re
import time
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer

from commands.options import (
    FormOption,
    RunsOption,
    StrictOption,
    end_with_damage,
    existing_runs,
    print_sheets,
    with_version,
)
from results.run import Run
from results.runs import Runs
from results.sheet import Cell, records_text
from workloads.command_line import run_program
from workloads.printed_text import say
from workloads.spec import RANKS, Rank
from workloads.storage import Folder

app = typer.Typer(
    help="Regenerate the paper's tables from finished runs, beside the published numbers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    callback=with_version,
)

Ranks = StrEnum("Ranks", ["ORDER", "FAMILY", "GENUS", "SPECIES"])
"""At which rank an answer is right; typer takes no list of literals."""
_KEY_NUMBER = {"partition": "val", "level": "species", "average": "macro", "species": "harmonic_mean"}
_HEADERS = ("sweep", "run", "state", "data", "recipe", "scale", "image to DNA", "age")


@app.command("table")
def _table(
    number: Annotated[str, typer.Argument(help="Number in the paper, 1 to 20; or the name of a table of our own.")],
    runs: RunsOption = "runs",
    run: Annotated[
        list[str] | None, typer.Option(help="Evaluated folder to set beside those of --runs. Repeat it.")
    ] = None,
    strict: StrictOption = False,
    form: FormOption = "md",
) -> None:
    """Print one table: published and ours, and the difference where the two can be compared.

    Example: clibd-results table 20                            from the runs of a sweep

    Example: clibd-results table 1 --run RUN --run OTHER       from runs that `clibd train` and `clibd evaluate` left

    Example: clibd-results table 3 --run RUN                   after `clibd open-set RUN`
    """
    from results.paper.tables import table_sheets

    folders = [Folder(address) for address in run or []]
    known = existing_runs(runs) if not folders or Folder(runs).folders() else None
    sheets = table_sheets(int(number) if number.isdigit() else number, known, folders)
    print_sheets(sheets, form)
    end_with_damage(sheets, runs if known else folders[0].address, strict)


@app.command("check")
def _check(runs: RunsOption = "runs") -> None:
    """Compare every table with the paper; exit code 1 where ours and published differ by more than noise.

    Noise: the published number lies within our 95 % interval or, of several seeds, within two standard errors of their
    mean. With 95 % intervals one in twenty differs by chance alone.
    """
    from results.layout import number_text, ours_text, published_text
    from results.paper.tables import NUMBERS, table_sheets
    from results.paper.verdicts import verdict, verdicts

    known = Runs(existing_runs(runs))
    sheets = [sheet for number in NUMBERS for sheet in table_sheets(number, known)]
    for cell in (cell for sheet in sheets for cell in sheet.cells if verdict(cell).word == "differs"):
        gap = number_text(cell, cell.difference, sign="+")
        say(f"{_place(cell)}: published {published_text(cell)}, ours {ours_text(cell)}, {gap}")
    found = [found for _, found in verdicts(sheets)]
    words = Counter(each.word for each in found)
    num_compared = words["differs"] + words["within noise"]
    say(f"{num_compared:,} of {len(found):,} published numbers were compared; {words['differs']:,} differ.")
    for reason, count in Counter(str(each) for each in found if each.why).most_common():
        say(f"{count:>7,}  {reason}")
    end_with_damage(sheets, runs, strict=False)
    raise typer.Exit(1 if words["differs"] else 0)


def _place(cell: Cell) -> str:
    from results.damage import row_words

    return "; ".join(filter(None, (f"Table {cell.table}", cell.rank, row_words(cell), cell.block, cell.column)))


@app.command("list")
def _list(
    runs: RunsOption = "runs",
    form: Annotated[Literal["md", "csv", "json"], typer.Option("--format", help="md to read; csv, json.")] = "md",
) -> None:
    """List all runs: state, data set, recipe, scale, age, and one number of each.

    The number is the top-1 accuracy from image to DNA, species, macro, harmonic mean of seen and unseen, validation, in
    percent.
    """
    from results.render import grid

    known = Runs(existing_runs(runs))
    found = known.read(sorted(known.places, key=_naturally))
    shown = {name: run for name, run in found.items() if run.spec or run.point or run.is_damaged}
    rows = [_row(known.places[name].parent.name, run) for name, run in shown.items()]
    rows.sort(key=lambda row: _naturally(row["sweep"]))
    if form == "md":
        say(grid(_HEADERS, [["–" if row[name] is None else str(row[name]) for name in _HEADERS] for row in rows]))
    else:
        say(records_text(rows, form))


def _naturally(name: str) -> list[tuple[int, str]]:
    """A batch of 100 comes behind one of 50."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _row(sweep: str, run: Run) -> dict[str, Any]:
    number = run.find({"method": "clibd", "metric": "top1", "query": "image", "key": "dna", **_KEY_NUMBER})
    told = run.facts or ({"dataset": run.spec.dataset, "synthetic": run.spec.synthetic} if run.spec else {})
    data = f"{told['dataset']}{' (SYNTHETIC)' if told.get('synthetic') else ''}" if "dataset" in told else None
    state = run.state if run.problem is None or run.state != "finished" else "not measured"
    state = "not ended" if state == "missing" else state
    values = (sweep, run.name, state, data, run.recipe or None, run.point.get("scale"))
    return dict(zip(_HEADERS, (*values, round(100 * number.value, 1) if number else None, _age(run)), strict=True))


def _age(run: Run) -> str | None:
    """Since it was begun, in the largest unit that fits."""
    try:
        begun = time.strptime(str(run.source["started"]), "%Y-%m-%dT%H:%M:%SZ")
    except (KeyError, ValueError, OverflowError):
        return None
    seconds = time.time() - (time.mktime(begun) - time.timezone)
    units = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
    unit = next((unit for unit, size in units.items() if seconds >= size), "s")
    return f"{seconds / units[unit]:.0f} {unit}"


@app.command("compare")
def _compare(
    run_a: Annotated[str, typer.Argument(help="An evaluated run, or an evaluation in it.")],
    run_b: Annotated[str, typer.Argument(help="Another one, of the same queries.")],
    partition: Annotated[Literal["val", "test"] | None, typer.Option(help="Default: both, if evaluated.")] = None,
    rank: Annotated[list[Ranks] | None, typer.Option(help="May be given several times. Default: species.")] = None,
    every: Annotated[
        bool, typer.Option("--every", help="All retrievals. Default: DNA to DNA, and image to image, DNA and text.")
    ] = False,
    form: FormOption = "md",
) -> None:
    """Print where run B is better or worse than run A: differences, their intervals, tests with Holm's correction."""
    from results.comparison.compare import comparison_sheet

    ranks = [name for name in RANKS if name in (rank or [Ranks.SPECIES])]
    print_sheets([comparison_sheet(Folder(run_a), Folder(run_b), partition, ranks, every)], form)


@app.command("figure")
def _figure(
    name: Annotated[str, typer.Argument(help="Number in the paper: 3, 4, 5 or 9 to 13; or calibration, confusion.")],
    runs: Annotated[list[str], typer.Argument(help="Evaluated run folder; figure 9 takes several, or a sweep's.")],
    data: Annotated[str | None, typer.Option(help="Prepared data set, where pictures or barcodes are drawn.")] = None,
    before: Annotated[str | None, typer.Option(help="Evaluation before alignment, to draw beside (10).")] = None,
    partition: Annotated[Literal["val", "test"], typer.Option(help="Whose queries.")] = "val",
    rank: Annotated[Rank | None, typer.Option(help="Whose names. Default: as in the paper.")] = None,
    within: Annotated[str | None, typer.Option(help="Only queries of this higher taxon (10).")] = None,
    query: Annotated[str, typer.Option(help="Feature that asks (3, calibration, confusion).")] = "image",
    key: Annotated[str, typer.Option(help="Feature that answers (calibration, confusion).")] = "dna",
    subset: Annotated[str | None, typer.Option(help="Only seen or unseen queries (3, confusion).")] = None,
    only_errors: Annotated[bool, typer.Option("--only-errors", help="Only wrong nearest keys (3).")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn by chance, and of UMAP.")] = 413,
    out: Annotated[str | None, typer.Option(help="Folder for the files. Default: figures/ in the run folder.")] = None,
) -> None:
    """Draw a figure of finished runs: PNG, SVG, and its numbers as CSV."""
    from results.figures.drawing import draw_figure
    from results.figures.picture import FigureChoice

    choice = FigureChoice(
        tuple(runs), data, before, partition, rank, within, query, key, subset, only_errors=only_errors, seed=seed
    )
    for file in draw_figure(name, choice, out):
        say(file)


def main() -> None:
    """Entry point of `clibd-results`."""
    run_program(app)
