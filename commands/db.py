"""`clibd db`: databases of named specimens, by which others are identified."""

import json
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from commands.look import (
    BarcodeLengthOption,
    ImagesOption,
    KindOption,
    MapOption,
    NamesOption,
    NumSyntheticOption,
    OnlyCoiOption,
    SyntheticSeedOption,
    rules_of,
)
from commands.named_specimens import asking_of, base_here, material_of
from commands.options import CpuOption, FormOption, print_sheets
from workloads.command_line import counting, stderr_console
from workloads.delimited_out import delimited
from workloads.errors import MissingPathError, UsageError, some_of
from workloads.printed_text import in_a_line, say
from workloads.spec import Rank
from workloads.storage import Folder

if TYPE_CHECKING:
    from workloads.identification.building import Doing
    from workloads.identification.database import Database
    from workloads.identification.writing import Written

app = typer.Typer(help="Build and change databases of named specimens.", no_args_is_help=True)

_Database = Annotated[str, typer.Argument(help="Database: its folder, or hf-hub:OWNER/NAME.")]
_Own = Annotated[str, typer.Argument(help="Database: its folder.")]
_Source = Annotated[
    str, typer.Argument(help="Prepared data set, FASTA file, table, or whatever else `clibd data import` reads.")
]
_Replace = Annotated[bool, typer.Option("--replace", help="Make it anew where a database is there already.")]
_SHOWN = 5


@app.command("build")
def _build(
    data: Annotated[str, typer.Option(help="Prepared data set, FASTA, table, or any source of `clibd data import`.")],
    to: Annotated[str, typer.Option(help="Folder of the database, on a disk of this machine.")],
    run: Annotated[str | None, typer.Argument(help="Finished run that embeds. None: barcodes by their 5-mers.")] = None,
    name: Annotated[str | None, typer.Option(help="What it is called. Default: as its folder.")] = None,
    license_: Annotated[
        str, typer.Option("--license", help="Of the specimens, as the Hugging Face Hub has it: cc-by-4.0.")
    ] = "unknown",
    cite: Annotated[str, typer.Option(help="What those who use it are asked to cite.")] = "",
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Keep images of 96 pixels of its specimens.")
    ] = False,
    replace: _Replace = False,
    kind: KindOption = "auto",
    columns: MapOption = None,
    images: ImagesOption = None,
    names: NamesOption = "rule",
    barcode_length: BarcodeLengthOption = None,
    only_coi: OnlyCoiOption = False,
    specimens: NumSyntheticOption = None,
    seed: SyntheticSeedOption = None,
    cpu: CpuOption = False,
) -> None:
    """Make a database of named specimens: of a run and any source, or of barcodes alone.

    Of a prepared data set what trains and what answers are its keys; its validation queries calibrate the confidence,
    and its test queries are left for `clibd db check`. Of any other source all specimens are keys.

    Example: clibd db build --data barcodes.fasta --to DB            without a model: barcodes by their 5-mers

    Example: clibd db build RUN --data DATA --to DB                  images and barcodes, as the run embeds them
    """
    from workloads.identification.building import About, build
    from workloads.record import RunFolder

    console, base = stderr_console(), base_here(RunFolder(Folder(run)) if run else None, cpu)
    told = (kind, columns, images, None, False, specimens, seed)
    material = material_of(data, base, told, rules_of(names, barcode_length, only_coi))
    about = About(name=name, license=license_, cite=cite, thumbnails=thumbnails)
    written = build(to, material, base, about=about, replace_it=replace, doing=_doing(console))
    _say_written(console, written, to)


@app.command("info")
def _info(
    database: _Database, form: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False
) -> None:
    """Say what a database holds: taxa, keys, model, calibration, size, sources, licence."""
    from workloads.identification.contents import info, info_lines, shortfalls
    from workloads.identification.database import Database

    own = Database(database)
    facts = info(own)
    say(json.dumps(facts, indent=1) if form else "\n".join(map(in_a_line, [*info_lines(facts), *shortfalls(own)])))


@app.command("taxa")
def _taxa(
    database: _Database,
    rank: Annotated[Rank, typer.Option(help="Of the taxa that are listed.")] = "species",
    under: Annotated[str | None, typer.Option(help="Only those within this taxon, of any rank.")] = None,
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="For tables or for programs.")] = "csv",
) -> None:
    """List the taxa at a rank with their specimens, BINs and barcodes, and whether the run learned from them.

    Example: clibd db taxa DB --rank genus --under Chironomidae
    """
    from workloads.identification.contents import taxa
    from workloads.identification.database import Database

    table = taxa(Database(database), rank, under)
    if form == "json":
        say(json.dumps(table.to_pylist(), indent=1))
        return
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    say(delimited([table.column_names, *rows]).removesuffix("\n"))


@app.command("add")
def _add(
    database: _Own,
    data: _Source,
    replace_records: Annotated[
        bool, typer.Option("--replace-records", help="Of two specimens of one id keep the new one, not the first.")
    ] = False,
    kind: KindOption = "auto",
    columns: MapOption = None,
    images: ImagesOption = None,
    names: NamesOption = "rule",
    barcode_length: BarcodeLengthOption = None,
    only_coi: OnlyCoiOption = False,
    specimens: NumSyntheticOption = None,
    seed: SyntheticSeedOption = None,
    cpu: CpuOption = False,
) -> None:
    """Add specimens to a database, embedded by its own run. All of it is written anew, and then takes its place.

    Of a prepared data set what trains and what answers is added. Confidence is calibrated anew, as keys have changed.
    """
    from workloads.identification.changing import add

    console, own = stderr_console(), _opened(database)
    base = base_here(own.run, cpu)
    told = (kind, columns, images, None, False, specimens, seed)
    material = material_of(data, base, told, rules_of(names, barcode_length, only_coi))
    change = add(own, material, base.embedder, replace_records=replace_records, doing=_doing(console))
    console.print(f"{change.num_new:,} specimens added, {change.num_gone:,} of the same ids replaced")
    _say_written(console, change.written, own.folder.address)


@app.command("remove")
def _remove(
    database: _Own,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of specimens.")] = None,
    taxon: Annotated[list[str] | None, typer.Option(help="All within this taxon, of any rank; repeat it.")] = None,
    listed: Annotated[Path | None, typer.Option("--list", help="File with ids or taxa, one a line.")] = None,
) -> None:
    """Take specimens out of a database. All of it is written anew, and then takes its place."""
    from workloads.identification.changing import remove

    console, own = stderr_console(), _opened(database)
    lines = _lines(listed) if listed else []
    change = remove(own, [*(ids or []), *lines], [*(taxon or []), *lines], doing=_doing(console))
    console.print(f"{change.num_gone:,} specimens removed")
    if change.unknown:
        console.print(f"Not in it: {some_of(change.unknown, _SHOWN)}")
    _say_written(console, change.written, own.folder.address)


@app.command("merge")
def _merge(
    first: _Database,
    second: _Database,
    to: Annotated[str, typer.Option(help="Folder of the database that is made of both.")],
    replace: _Replace = False,
) -> None:
    """Make one database of two of the same run, or of two without one; of two specimens of one id the first."""
    from workloads.identification.changing import merge

    console = stderr_console()
    change = merge(_opened(first), _opened(second), to, replace_it=replace, doing=_doing(console))
    _say_written(console, change.written, to)


@app.command("check")
def _check(
    database: _Database,
    data: Annotated[
        str, typer.Option(help="Named specimens: a prepared data set, of which those that ask in test; or any source.")
    ],
    confidence: Annotated[float, typer.Option(help="Asked for, above 0 and below 1.")] = 0.95,
    out: Annotated[str, typer.Option(help="Folder for check.json, check.parquet and the figures.")] = "check",
    kind: KindOption = "auto",
    columns: MapOption = None,
    images: ImagesOption = None,
    names: NamesOption = "rule",
    barcode_length: BarcodeLengthOption = None,
    only_coi: OnlyCoiOption = False,
    form: FormOption = "md",
    cpu: CpuOption = False,
) -> None:
    """Measure on your own named specimens whether the confidence of names holds, by rank, evidence and group.

    Specimens of species that the database does not have are asked about too: they should get no species.

    Example: clibd db check DB --data DATA --out check
    """
    from results.figures.promise import write_check
    from results.promised import promise_sheet
    from workloads.identification.checking import check

    if not 0 < confidence < 1:
        raise UsageError(f"--confidence {confidence:g}: it is a share, such as 0.95")
    console, opened = stderr_console(), _opened(database)
    base = base_here(opened.run, cpu)
    told = (kind, columns, images, None, False, None, None)
    with counting(console, "Checking", "specimens") as tell:
        known = asking_of(data, base, told, rules_of(names, barcode_length, only_coi))
        checked = check(opened, base.embedder, known, confidence, tell)
    named, synthetic = opened.facts.name, opened.facts.synthetic
    print_sheets([promise_sheet(checked.facts(), named, synthetic)], form)
    files = write_check(Folder(out), checked.facts(), checked.named, named, synthetic)
    console.print(checked.verdict)
    looked_at = [name.rpartition("/")[2] for name in files if name.endswith((".json", ".png"))]
    console.print(f"Numbers and figures in {out}: {', '.join(looked_at)}")


def _opened(name: str) -> "Database":
    """A database whose facts are whole.

    Raises:
        ClibdError: it is none, or not what was written.
    """
    from workloads.identification.database import Database

    database = Database(name)
    _ = database.facts
    return database


def _doing(console: Console) -> "Doing":
    """How all that is built or changed is calibrated and told of."""
    from workloads.identification.building import Doing
    from workloads.identification.calibrating import calibrate

    return Doing(calibrate=calibrate, showing=partial(counting, console), on_remark=console.print)


def _lines(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        MissingPathError: there is no such file.
    """
    if not path.is_file():
        raise MissingPathError(path, "list", "Name a file with ids of specimens or names of taxa, one a line.")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _say_written(console: Console, written: "Written", to: str) -> None:
    """What became of the specimens, how large it is, and what comes next."""
    from workloads.identification.contents import shortfalls
    from workloads.identification.database import KEY_WORDS, Database

    keys = ", ".join(f"{count:,} distinct {KEY_WORDS[kind]}" for kind, count in written.num_keys.items())
    species = len(written.taxa["species"])
    for kind, count in written.num_lost.items():
        console.print(f"{count:,} specimens are without {KEY_WORDS[kind]} there, as theirs cannot be used")
    if written.num_left_out:
        console.print(f"{written.num_left_out:,} left out, with reasons, in {to}/left_out.tsv; the first:")
        for identifier, reason in written.left_out[:_SHOWN]:
            console.print(f"  {identifier}: {reason}")
    if written.num_other_names:
        console.print(f"{written.num_other_names:,} have a barcode that another species has too: {to}/other_names.tsv")
    console.print(f"{written.num_specimens:,} specimens of {species:,} species in {to}: {keys}")
    for shortfall in shortfalls(Database(to)):
        console.print(shortfall)
    console.print(f"Next: clibd db info {quote(to)}, or clibd identify FILES --db {quote(to)}")
