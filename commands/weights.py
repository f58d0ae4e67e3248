"""`clibd weights`: which published weights sweeps start from, where they are, and how hosts without a hub get them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from workloads.errors import UsageError, WeightsError
from workloads.printed_text import say
from workloads.storage import Folder
from workloads.weight_files import Files

app = typer.Typer(
    help="Published weights: what is needed, where it is, and a store for hosts without a hub.", no_args_is_help=True
)

_Store = Annotated[
    str | None, typer.Argument(help="Store: a folder, or an s3:// or gs:// address. Default: $CLIBD_WEIGHTS.")
]
_Sweep = Annotated[str, typer.Option(help="Whose weights, at the paper's scale; `paper` is all sweeps.")]


@app.command("list")
def _list(
    store: _Store = None,
    sweep: _Sweep = "paper",
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="For people or for programs.")] = "text",
) -> None:
    """List the published weights that sweeps start from, and where each is: here, in the store, or nowhere yet."""
    from workloads.models.published import remedy_for
    from workloads.weight_files import place_of

    wanted, named = _wanted(sweep), Folder(store) if store else None
    places = {}
    for name, files in wanted.items():
        found = [place_of(name, *names, store=named) for names in files]
        places[name] = "; ".join(dict.fromkeys(filter(None, found))) if all(found) else ""
    if form == "json":
        say(json.dumps([{"weights": name, "where": place} for name, place in places.items()], indent=1))
        return
    width = max(map(len, places), default=0)
    for name, place in places.items():
        say(f"{name:<{width}}  {place or 'missing'}")
    for name in (name for name, place in places.items() if not place):
        say(f"\n{name}: {remedy_for(name, wanted[name])}")


@app.command("fetch")
def _fetch(store: _Store = None, sweep: _Sweep = "paper") -> None:
    """Copy what the store has of them to this machine, once and checked by digest; runs do this by themselves too.

    The exit code is 1 where some are neither there nor here.
    """
    from workloads.weight_files import place_of
    from workloads.weight_store import fetch_weights

    place, lost = _needed_store(store), []
    for name, files in _wanted(sweep).items():
        if kept := fetch_weights(name, place):
            say(f"{name}: {kept}")
        elif not all(place_of(name, *names) for names in files):
            lost.append(name)
    _end(lost, f"not in {place}, nor on this machine")


@app.command("push")
def _push(store: _Store = None, sweep: _Sweep = "paper") -> None:
    """Put them into a store, from this machine or, where it can be reached, the hub.

    Hosts then need no hub: `export CLIBD_WEIGHTS=STORE`. The exit code is 1 where some could not be had.
    """
    from workloads.command_line import stderr_console
    from workloads.weight_store import push_weights

    place, lost, console = _needed_store(store), [], stderr_console()
    for name, files in _wanted(sweep).items():
        try:
            found = _files_of(name, files)
        except WeightsError as error:
            console.print(str(error))
            lost.append(name)
            continue
        push_weights(name, found, place)
        say(f"{name}: {', '.join(found)}")
    _end(lost, f"not put into {place}")
    console.print(f"On hosts without a hub: export CLIBD_WEIGHTS={place}")


def _wanted(sweep: str) -> dict[str, Files]:
    from commands.sweep import sweeps_of
    from orchestrator.weights_at_hand import wanted_by

    return wanted_by(sweeps_of(sweep))


def _needed_store(given: str | None) -> Folder:
    """The store of the command or of the environment.

    Raises:
        UsageError: there is none.
    """
    from workloads.weight_store import weight_store

    if store := Folder(given) if given else weight_store():
        return store
    raise UsageError("no store is named: give its address, such as s3://BUCKET/weights, or set CLIBD_WEIGHTS")


def _files_of(name: str, files: Files) -> Mapping[str, Path]:
    """Files of weights on this machine, fetched from the hub if need be, with what users put beside them.

    Raises:
        WeightsError: they cannot be had.
    """
    from workloads.weight_files import beside_tokenizer, published_file
    from workloads.weight_store import MANIFEST, kept_at

    found = [published_file("", name, *names) for names in files]
    kept = kept_at(name)
    if all(path.parent == kept for path in found):
        found += [path for path in kept.iterdir() if path.is_file() and path.name != MANIFEST]
    else:
        found += beside_tokenizer(name, [path.name for path in found])
    return {path.name: path for path in found}


def _end(lost: list[str], where: str) -> None:
    """End with 1 and a word where some are lost."""
    if lost:
        from workloads.command_line import stderr_console

        stderr_console().print(f"{len(lost)} {where}: {', '.join(lost)}")
        raise typer.Exit(1)
