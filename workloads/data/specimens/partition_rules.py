"""The rules by which a table is partitioned, by name, and what somebody chooses otherwise: shares, seeds, records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from workloads.data.specimens.own_splits import OWN_PROTOCOL, SMALL, small_parts, with_keys
from workloads.data.specimens.partition import APPENDIX_A, Shares, TextColumn, partition
from workloads.errors import UsageError

PartitionRule = Literal["paper", "authors", "small"]
RULES: Mapping[PartitionRule, Shares] = {
    "paper": APPENDIX_A["paper"],
    "authors": APPENDIX_A["authors"],
    "small": SMALL,
}
"""Appendix A, the authors' script, and a rule for few specimens, most of which train."""
SEED = 42
"""Of the draw, where none is asked for."""


def shares_of(
    name: PartitionRule,
    min_records: int | None = None,
    seen: Fraction | None = None,
    parts: Sequence[Fraction] | None = None,
    mark: str = "",
) -> Shares:
    """A rule with what was asked instead.

    Args:
        name: of the rule.
        min_records: from which on a species can be seen; of `small`, asked for.
        seen: share of these species that are seen.
        parts: of a seen species' records, training, validation and test.
        mark: what stands before the names of options where they are those of a command: `--`.

    Raises:
        UsageError: there is no such rule; one of the authors' is to be changed; or what is asked leaves nothing to
            train on, to ask, or no keys.
    """
    if name not in RULES:
        raise UsageError(f"recipe is {name!r}; there are {', '.join(RULES)}")
    rule = RULES[name]
    if name == "authors" and (min_records, seen, parts) != (None, None, None):
        raise UsageError("the recipe authors draws as their script does; take paper or small to choose shares")
    if min_records is not None:
        if min_records < 2:
            raise UsageError(f"min_records is {min_records}; a query and its key are 2")
        rule = replace(rule, min_records=min_records)
    if seen is not None:
        rule = replace(rule, seen=_share(f"{mark}seen", seen))
    if parts is not None:
        rule = replace(rule, parts=_parts(name, parts, f"{mark}shares"))
    return rule


def _share(what: str, number: Fraction) -> Fraction:
    if not 0 <= number <= 1:
        raise UsageError(f"{what} {float(number):g}: a share is between 0 and 1")
    return number


def _parts(name: PartitionRule, parts: Sequence[Fraction], called: str) -> tuple[Fraction, Fraction, Fraction]:
    numbers = [_share(called, number) for number in parts]
    whole = name == "small"
    fits = sum(numbers) == 1 if whole else sum(numbers) < 1
    if len(numbers) != 3 or not numbers[0] or not any(numbers[1:]) or not fits:
        given = ",".join(f"{float(number):g}" for number in numbers)
        raise UsageError(f"{called} {given}: give training, validation and test, {_HOW[whole].format(called)}")
    return numbers[0], numbers[1], numbers[2]


_HOW = {
    True: "which are 1 together, such as {} 0.8,0.1,0.1",
    False: "less than 1 together as the rest are keys, such as {} 0.7,0.1,0.1",
}


def draw(
    species: TextColumn, name: PartitionRule, seed: int = SEED, rule: Shares | None = None
) -> tuple[TextColumn, str]:
    """The split of every specimen, and the protocol that the splits follow.

    Args:
        species: of each specimen, null where it is not known, (n,).
        name: of the rule.
        seed: of the random draws.
        rule: of `shares_of`; None: as the rule says.

    Raises:
        UsageError: no species has the two records that a query and its key need; not of `small`.
    """
    rule = rule or RULES[name]
    if name == "small":
        return with_keys(species, small_parts(species, seed, rule), seed), OWN_PROTOCOL
    return partition(species, name, seed, rule), "clibd"
