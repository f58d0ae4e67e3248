"""What databases are made of and asked about, as the options of `clibd db` say it."""

from typing import TYPE_CHECKING

from commands.look import open_as_told
from workloads.errors import UsageError
from workloads.seals import DATASET
from workloads.storage import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workloads.data.prepared.dataset import PreparedDataset
    from workloads.data.sources.cleaning import Rules
    from workloads.data.sources.opening import SourceKind
    from workloads.identification.building import Base
    from workloads.identification.material import Material
    from workloads.identification.writing import Known
    from workloads.record import RunFolder

    Told = tuple[SourceKind, list[str] | None, Path | None, Path | None, bool, int | None, int | None]
    """What `open_as_told` is told beside the place."""


def base_here(run: "RunFolder | None", cpu: bool) -> "Base":
    """What makes keys, on this machine.

    Raises:
        MissingPathError: the run is not finished.
    """
    from workloads.identification.building import base_of
    from workloads.placement import Placement, this_device

    return base_of(run, Placement(this_device(cpu)))


def material_of(data: str, base: "Base", told: "Told", rules: "Rules") -> "Material":
    """What a place holds: a prepared data set, or any source of the import."""
    from workloads.identification.material import of_dataset, of_source

    if (dataset := _dataset(data, told, rules)) is not None:
        return of_dataset(dataset, base.trained)
    return of_source(open_as_told(data, *told), base.trained, rules, base.looks)


def _dataset(data: str, told: "Told", rules: "Rules") -> "PreparedDataset | None":
    """The prepared data set of a place; None where it is something else.

    Raises:
        UsageError: an option would silently do nothing.
    """
    from workloads.data.prepared.dataset import PreparedDataset
    from workloads.data.sources.cleaning import AS_USUAL

    if not Folder(data).has(DATASET):
        return None
    if told[0] != "auto" or any(told[1:]) or rules != AS_USUAL:
        raise UsageError(f"{data} is a prepared data set, which is read as it is; other options are for its import")
    return PreparedDataset(Folder(data))


def asking_of(data: str, base: "Base", told: "Told", rules: "Rules") -> "Iterator[list[Known]]":
    """Named specimens, some at a time: those that ask in test of a prepared data set, all of any other source."""
    from workloads.command_line import unseen
    from workloads.identification.material import of_source, of_test_queries

    if (dataset := _dataset(data, told, rules)) is not None:
        material = of_test_queries(dataset)
    else:
        material = of_source(open_as_told(data, *told), rules=rules, looks=base.looks)
    return material.known(unseen("", ""), lambda identifier, reason: None)
