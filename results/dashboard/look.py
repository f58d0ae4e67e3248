"""A folder of runs at one moment, and what is another at a later one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from results.sweep_status import Standing
from workloads.seals import LEASE

_PASSING = (LEASE, "events.jsonl")
"""Files that change while a run is at work, and that no table is made of."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is another than it was."""

    look: int
    """Number of the look that shows it."""
    names: frozenset[str]
    """Ids of runs, and sweeps; `*` where anything may be another."""
    states: Mapping[str, str]
    """The states of those runs now."""
    tables: bool
    """Whether a table may be another."""

    def then(self, later: "Change") -> "Change":
        """Both."""
        states = {**self.states, **later.states}
        return Change(later.look, self.names | later.names, states, self.tables or later.tables)

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {"look": self.look, "changed": sorted(self.names), "states": dict(self.states)}
        return told | {"tables": self.tables}


class Look:
    """The names and times of all files, and the states of all points, at one moment."""

    def __init__(
        self,
        number: int,
        modified: Mapping[str, float],
        standings: tuple[Standing, ...],
        prepared: float | None = None,
    ) -> None:
        self.number = number
        """Another one as soon as something is another."""
        self.modified, self.standings = modified, standings
        self.prepared = prepared
        """When the data set was last prepared, in seconds since 1970; None where none is known."""

    def shows_what(self, other: "Look") -> bool:
        """Whether both show the same, but for the seconds in which nothing was heard."""
        same = [*map(_timeless, other.standings)] == [*map(_timeless, self.standings)]
        return same and (self.modified, self.prepared) == (other.modified, other.prepared)

    @cached_property
    def places(self) -> dict[str, list[str]]:
        """Where runs lie, by their ids."""
        found: dict[str, list[str]] = {}
        for name in self.modified:
            if name.endswith(("/spec.json", "/point.json")) and name.count("/") == 2:
                place = name.rpartition("/")[0]
                found.setdefault(place.rpartition("/")[2], [])
                if place not in found[place.rpartition("/")[2]]:
                    found[place.rpartition("/")[2]].append(place)
        return found

    @cached_property
    def by_place(self) -> dict[str, list[tuple[str, float]]]:
        """The names and times of the files of each run, SWEEP/ID; those of a sweep itself each by its name."""
        found: dict[str, list[tuple[str, float]]] = {}
        for name, when in self.modified.items():
            found.setdefault("/".join(name.split("/")[:2]), []).append((name, when))
        return found

    def version(self, place: str, passing: bool = False) -> int:
        """Another number as soon as a file of a run changes; of those at work only where it is asked for."""
        return hash(tuple(sorted(each for each in self.by_place.get(place, []) if passing or _stays(each[0]))))

    @cached_property
    def tables_version(self) -> int:
        """Another number as soon as a table may be another."""
        return hash(tuple(sorted(each for each in self.modified.items() if _stays(each[0]))))

    def since(self, before: "Look") -> Change:
        """What it shows that an earlier one did not show so."""
        standings = {_timeless(one) for one in before.standings} ^ {_timeless(one) for one in self.standings}
        places = [
            place
            for place in before.by_place.keys() | self.by_place.keys()
            if before.by_place.get(place) != self.by_place.get(place)
        ]
        names = {one.sweep for one in standings} | {one.run for one in standings if one.run}
        names |= {part for place in places for part in place.split("/")}
        names |= {"*"} if before.prepared != self.prepared else set()
        states = {one.run: one.state for one in self.standings if one.run in names}
        return Change(self.number, frozenset(names), states, self.tables_version != before.tables_version)


def _timeless(standing: Standing) -> Standing:
    return replace(standing, silence=None, waited=None)


def _stays(name: str) -> bool:
    return not name.endswith(_PASSING) and "/checkpoints/" not in name and "/attempts/" not in name
