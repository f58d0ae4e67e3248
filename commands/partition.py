"""`clibd data partition`: who trains, who asks and who answers, and what that leaves to measure."""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from shlex import quote
from typing import Annotated, TypeAlias

import typer
from rich.console import Console

from workloads.command_line import stderr_console
from workloads.data.specimens.caveats import shared_barcodes
from workloads.data.specimens.outlook import Outlook, outlook, too_few
from workloads.data.specimens.own_splits import splits_of_words
from workloads.data.specimens.partition import Shares, TextColumn, check_partition
from workloads.data.specimens.partition_rules import RULES, SEED, PartitionRule, draw, shares_of
from workloads.data.specimens.schema import PROTOCOLS, part_of
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import UsageError

_Drawn: TypeAlias = tuple[TextColumn, str, str]
"""The split of every specimen, what gave it, and the protocol it is of."""
_COMPARED = 200_000
"""Specimens up to which all rules are drawn to be compared; of more, Appendix A leaves enough."""


def partition(
    specimens: Annotated[str, typer.Argument(help="Specimen table (.parquet), as `clibd data import` writes it.")],
    to: Annotated[str | None, typer.Option(help="Table to write. Default: the same file.")] = None,
    recipe: Annotated[
        PartitionRule | None,
        typer.Option(
            help="paper: Appendix A. authors: their script. small: most of it trains. Default: the source's own, else "
            "paper."
        ),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(help="Lists instead: folder or zip of SPLIT.txt, or a table of id and split (train, val, test)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random draws. Default: 42.")] = None,
    min_records: Annotated[
        int | None, typer.Option(min=2, help="Records that make a species seen, or asked for. Default: 9; small: 2.")
    ] = None,
    seen: Annotated[
        str | None, typer.Option(help="Share of these species that are seen. Default: 0.8; small: 0.9.")
    ] = None,
    shares: Annotated[
        str | None,
        typer.Option(help="Of a seen species' records: train,val,test. Default: 0.7,0.1,0.1; small: 0.8,0.1,0.1."),
    ] = None,
) -> None:
    """Give every specimen its split, and check that accuracies measured on it can be believed.

    A column of train, val and test in the source, or lists of them, are kept: species without a training specimen are
    unseen, and half of their specimens are keys. What each rule would give is said before one is drawn.
    """
    to = to or specimens
    console, table, target = stderr_console(), SpecimenTable.at(specimens), SpecimenTable.at(to)
    given_by = table.facts.partition  # read first: that there is no such table matters more than the target
    target.check_can_be_written()
    options = {"min_records": min_records, "seen": seen, "shares": shares}
    if lists is not None:
        drawn = _listed(console, table, lists, recipe, seed, options)
    elif recipe is None and (own := _own(console, table, given_by, seed)) is not None:
        _refuse(options, "the splits are given; add --recipe small or --recipe paper to draw others")
        drawn = own
    else:
        drawn = _drawn(console, table, recipe or "paper", seed, options)
    _write(console, table, target, drawn)
    console.print(f"Next: clibd data prepare {quote(to)} --to DIR")


def _write(console: Console, table: SpecimenTable, target: SpecimenTable, drawn: _Drawn) -> None:
    """Check, write and tell a partition."""
    splits, by, protocol = drawn
    roles = PROTOCOLS[protocol]
    check_partition(roles, table.column("species"), splits, table.column("specimen_id"))
    found = outlook(roles, table.column("species"), splits)
    table.with_splits(splits, by, target, protocol)
    counts = Counter(splits.to_pylist())
    for split in roles.splits:
        if counts[split]:
            console.print(f"{split:<18}{counts[split]:>10,} specimens")
    for count, sentence in (
        (found.training, "No specimen trains, so that nothing can be trained on this table alone."),
        (found.keys, "No specimen is a key, so that nothing can be found."),
        (sum(found.queries.values()), "No specimen is a query, so that nothing can be measured."),
    ):
        if not count:
            console.print(sentence)
    for sentence in (*too_few(protocol, found), *shared_barcodes(target)):
        console.print(sentence)
    if too_few(protocol, found) and not by.startswith("small"):
        console.print(f"To leave more to training: clibd data partition {quote(str(target))} --recipe small")


def _listed(
    console: Console,
    table: SpecimenTable,
    lists: Path,
    recipe: PartitionRule | None,
    seed: int | None,
    options: Mapping[str, object],
) -> _Drawn:
    """Splits from lists.

    Raises:
        UsageError: lists and a recipe, or options of a draw where nothing is drawn.
    """
    from workloads.data.sources.split_lists import assign_lists, protocol_of, read_split_lists

    if recipe is not None:
        raise UsageError("--lists and --recipe are two ways to give splits; name one of them")
    if seed is not None:
        raise UsageError("--seed is of a random draw, and --lists draws nothing; leave out one of them")
    _refuse(options, "--lists gives the splits; leave it out, or name a --recipe instead")
    words, note = assign_lists(table.column("specimen_id"), read_split_lists(lists))
    if note:
        console.print(note)
    splits, protocol = splits_of_words(table.column("species"), words, SEED)
    return splits, f"lists {lists}", protocol or protocol_of(splits.unique().to_pylist())


def _own(console: Console, table: SpecimenTable, given_by: str | None, seed: int | None) -> _Drawn | None:
    """The source's own partition, or what follows from a column of train, val and test; None where there is none.

    Raises:
        UsageError: a seed where nothing is drawn, or words that are no splits.
    """
    another = "--recipe paper and --recipe small draw another one"
    if given_by == "source":
        if seed is not None:
            raise UsageError(f"--seed is of a random draw, and the source's own partition is kept; {another}")
        console.print(f"The source has its own partition, which is kept; {another}.")
        return table.column("split"), "source", table.facts.protocol
    words = table.column("split")
    if given_by is not None or words.null_count == len(words):
        return None
    splits, protocol = splits_of_words(table.column("species"), words, SEED if seed is None else seed)
    if protocol is not None:
        console.print(f"The source's column of splits is kept, with keys made for its unseen species; {another}.")
        return splits, "the source's column of splits", protocol
    known = next(
        (name for name, roles in PROTOCOLS.items() if set(words.unique().to_pylist()) <= {*roles.splits}), None
    )
    if known is not None:
        console.print(f"The source's splits, of the protocol {known}, are kept; {another}.")
        return words, "source", known
    console.print(f"The column of splits ({words.unique()[0]}, …) has no train, val and test, and is not used.")
    return None


def _drawn(
    console: Console, table: SpecimenTable, recipe: PartitionRule, seed: int | None, options: Mapping[str, object]
) -> _Drawn:
    """Splits drawn by a recipe, after all of them have been compared.

    Raises:
        UsageError: the options fit no recipe, or nothing could be asked for and found.
    """
    if recipe == "authors":
        _refuse(options, "--recipe authors draws as their script does; take --recipe paper or --recipe small")
    rule, species = _shares(recipe, options), table.column("species")
    seed = SEED if seed is None else seed
    drawn = {recipe: draw(species, recipe, seed, rule)}
    if len(table) <= _COMPARED:
        others = [name for name in RULES if name != recipe]
        drawn |= {
            name: draw(species, name, seed, RULES[name]) for name in others if name == "small" or _has_pairs(species)
        }
    _say(console, {name: outlook(PROTOCOLS[protocol], species, splits) for name, (splits, protocol) in drawn.items()})
    splits, protocol = drawn[recipe]
    given = "".join(f", {name} {value}" for name, value in options.items() if value is not None)
    return splits, f"{recipe}, seed {seed}{given}", protocol


def _has_pairs(species: TextColumn) -> bool:
    return any(item["counts"] > 1 for item in species.drop_null().value_counts().to_pylist())


def _say(console: Console, found: Mapping[PartitionRule, Outlook]) -> None:
    """What each rule gives, a line each."""
    from results.render import grid

    header = ["--recipe", "train", "species seen", "unseen", "keys", "queries seen, unseen: val", "test", "unused"]
    rows = []
    for name in (name for name in RULES if name in found):
        what = found[name]
        asked = [
            ", ".join(f"{count:,}" for split, count in what.queries.items() if part_of(split) == part)
            for part in ("val", "test")
        ]
        counts = (what.training, what.species_seen, what.species_unseen, what.keys)
        rows.append([name, *(f"{count:,}" for count in counts), *asked, f"{what.unused:,}"])
    console.print(grid(header, rows))


def _refuse(options: Mapping[str, object], why: str) -> None:
    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]:
        raise UsageError(f"{', '.join(given)}: {why}")


def _shares(recipe: PartitionRule, options: Mapping[str, object]) -> Shares:
    """A recipe's rule with what was asked.

    Raises:
        UsageError: shares that leave nothing to train, or to ask, or no keys.
    """
    min_records, seen, shares = (options[name] for name in ("min_records", "seen", "shares"))
    return shares_of(
        recipe,
        None if min_records is None else int(str(min_records)),
        None if seen is None else _fraction("--seen", str(seen)),
        None if shares is None else [_fraction("--shares", text) for text in str(shares).split(",")],
        "--",
    )


def _fraction(option: str, text: str) -> Fraction:
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{option} {text!r}: write a share such as 0.8") from error
