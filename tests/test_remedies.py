"""Every option that an error of the data commands names is one of the command that can be told so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

import commands.clibd
import commands.results
import commands.sweep

ROOT = Path(__file__).parents[1]
PLACES = [
    *(ROOT / "workloads" / "data").rglob("*.py"),
    ROOT / "workloads" / "errors.py",
    *(ROOT / "commands" / name for name in ("data.py", "look.py", "partition.py", "statistics.py")),
]
PROGRAMS = {"clibd": commands.clibd.app, "clibd-sweep": commands.sweep.app, "clibd-results": commands.results.app}
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_COMMAND = re.compile(r"(clibd(?:-sweep|-results)?(?: [a-z][a-z-]*)*)")
DATA = ("download", "import", "look", "partition", "prepare", "stats")


def options_of(command: click.Command) -> set[str]:
    """The options of a command, and of those within it, as `clibd-sweep NAME --scale small` names one of several."""
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


def command_at(words: list[str]) -> click.Command:
    """The command that begins some words, as deep as they lead."""
    found: click.Command = typer.main.get_command(PROGRAMS[words[0]])
    for word in words[1:]:
        inner = getattr(found, "commands", {}).get(word)
        if inner is None:
            return found
        found = inner
    return found


def texts_of(place: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module that names an option, the parts of one text joined; docstrings are not for users."""
    tree = ast.parse(place.read_text())
    docstrings = {expression for node in ast.walk(tree) if (expression := _first_expression(node)) is not None}
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside | docstrings:
            text = node.value
        else:
            continue
        if " " in text and _OPTION.search(text):
            yield node.lineno, text


def _first_expression(node: ast.AST) -> ast.expr | None:
    """The docstring of a module, class or function, if it has one."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
        first = node.body[0]
        return first.value if isinstance(first, ast.Expr) else None
    return None


def misses(text: str) -> list[str]:
    """The options of a sentence that the command before them lacks; where there is none, that no data command has."""
    ours: set[str] = set()
    for name in DATA:
        ours |= options_of(command_at(["clibd", "data", name]))
    missing = []
    for part in text.split("`"):
        known = ours
        for piece in _COMMAND.split(part):
            if _COMMAND.fullmatch(piece):
                known = options_of(command_at(piece.split()))
            else:
                missing += [option for option in _OPTION.findall(piece) if option not in known]
    return missing


TEXTS = [(f"{place.relative_to(ROOT)}:{line}", text) for place in PLACES for line, text in texts_of(place)]


def test_there_are_remedies_to_follow() -> None:
    assert len(TEXTS) > 20
    assert misses("take `clibd train --demo`, or --no-such-option") == ["--demo", "--no-such-option"]


@pytest.mark.parametrize(("place", "text"), TEXTS, ids=[place for place, _ in TEXTS])
def test_the_options_of_a_remedy_exist(place: str, text: str) -> None:
    assert misses(text) == []
