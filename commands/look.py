"""`clibd data look`: what would be read of a source, before anything is made of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from workloads.command_line import counting, stderr_console
from workloads.printed_text import say

if TYPE_CHECKING:
    from workloads.data.sources.cleaning import Rules
    from workloads.data.sources.collect import ImportReport
    from workloads.data.sources.opening import SourceKind
    from workloads.data.sources.source import Source

SourceArgument = Annotated[str, typer.Argument(help="A table, a FASTA file, a folder, an HDF5 file, or `synthetic`.")]
KindOption = Annotated[
    Literal["auto", "table", "bioscan-1m", "bioscan-5m", "authors", "insect", "synthetic"],
    typer.Option(help="How to read it; authors is their HDF5 file. auto looks."),
]
MapOption = Annotated[
    list[str] | None, typer.Option("--map", help="field=column, such as barcode=COI; repeat it for each field.")
]
ImagesOption = Annotated[
    Path | None, typer.Option(help="Folder or .zip of the images, where they do not lie beside the table.")
]
TaxonomyOption = Annotated[Path | None, typer.Option(help="INSECT: table of order, family, genus and species.")]
OneFifthOption = Annotated[bool, typer.Option(help="BIOSCAN-5M: the authors' fifth of the training records.")]
NumSyntheticOption = Annotated[int | None, typer.Option(min=1, help="How many synthetic insects. Default: 3000.")]
SyntheticSeedOption = Annotated[int | None, typer.Option(min=0, help="Of the synthetic insects. Default: 7.")]
NamesOption = Annotated[
    Literal["rule", "as-given"],
    typer.Option(help="By the rule (docs/names.md), or as they are written, as where tags of morphospecies are meant."),
]
BarcodeLengthOption = Annotated[
    str | None,
    typer.Option(help="Fewest and most bases, such as 100-2000; other barcodes are left out. Default: counted."),
]
OnlyCoiOption = Annotated[bool, typer.Option("--only-coi", help="Leave out barcodes unlike COI's barcode region.")]


def look(
    source: SourceArgument,
    kind: KindOption = "auto",
    columns: MapOption = None,
    images: ImagesOption = None,
    names: NamesOption = "rule",
    barcode_length: BarcodeLengthOption = None,
    only_coi: OnlyCoiOption = False,
    taxonomy: TaxonomyOption = None,
    one_fifth: OneFifthOption = False,
    specimens: NumSyntheticOption = None,
    seed: SyntheticSeedOption = None,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image whole; else headers are read.")] = False,
    form: Annotated[
        Literal["text", "json"], typer.Option("--format", help="json has every count and example.")
    ] = "text",
) -> None:
    """Say what a source holds and how it would be read; nothing is written.

    Columns and what they are taken for, modalities, names, markers, barcodes, images, and what would be left out.
    """
    from workloads.data.sources.collect import collect
    from workloads.data.sources.look import look_lines

    opened = open_as_told(source, kind, columns, images, taxonomy, one_fifth, specimens, seed)
    console, num_rejects = stderr_console(), 0

    def reject(identifier: str, reason: str) -> None:
        nonlocal num_rejects
        num_rejects += 1

    rules = rules_of(names, barcode_length, only_coi)
    with counting(console, f"Reading {opened.name}", "specimens") as told:
        report = collect(opened, None, lambda done: told(done, opened.total), reject, rules, all_images=decode)
    facts = found_in(console, opened, report, num_rejects, decode)
    say(json.dumps(facts, indent=1) if form == "json" else "\n".join(look_lines(facts)))


def open_as_told(
    source: str,
    kind: "SourceKind",
    columns: list[str] | None,
    images: Path | None,
    taxonomy: Path | None,
    one_fifth: bool,
    specimens: int | None,
    seed: int | None,
) -> "Source":
    """The source that the options of `look` and `import` name, as `open_source` says."""
    from workloads.data.sources.columns import parse_map
    from workloads.data.sources.opening import SourceOptions, open_source

    options = SourceOptions(
        columns=parse_map(columns or []),
        images=images,
        taxonomy=taxonomy,
        one_fifth=one_fifth,
        num_synthetic=specimens,
        seed=seed,
    )
    return open_source(source, kind, options)


def rules_of(names: str, barcode_length: str | None, only_coi: bool) -> "Rules":
    """The rules for names and barcodes that the options say.

    Raises:
        UsageError: lengths that are none.
    """
    from workloads.data.sources.cleaning import Rules
    from workloads.data.specimens.barcode_rule import BarcodeRule, parse_lengths

    lengths = parse_lengths(barcode_length) if barcode_length else None
    return Rules(names == "as-given", BarcodeRule(lengths=lengths, only_coi=only_coi))


def found_in(
    console: Console, source: "Source", report: "ImportReport", num_rejects: int, decode: bool = False
) -> dict[str, Any]:
    """What was found in a source that has been read to its end, its images looked at."""
    from workloads.data.sources.image_survey import look_at_images
    from workloads.data.sources.look import look_facts

    if not (references := report.survey.images):
        return look_facts(source, report, num_rejects, {})
    with counting(console, f"Looking at {len(references):,} images", "images") as told:
        images = look_at_images(source.root, references, decode, told, source.follow_links)
    return look_facts(source, report, num_rejects, images)
