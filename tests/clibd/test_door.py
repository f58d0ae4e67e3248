"""`import clibd`: it waits for nothing, and has every name that it says it has."""

import subprocess
import sys

import pytest

import clibd

HEAVY = ("torch", "ray", "numpy", "pyarrow", "pandas", "scipy", "transformers", "timm", "faiss", "fastapi")


def test_an_import_waits_for_nothing() -> None:
    code = f"import sys, clibd; print([name for name in {HEAVY!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_every_name_is_there() -> None:
    assert dir(clibd) == sorted(clibd.__all__)
    for name in clibd.__all__:
        found = getattr(clibd, name)
        assert found.__doc__, name
        assert found.__name__ == name


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="it has ClibdError, Database"):
        _ = clibd.identfy


def test_names_are_scored_without_torch() -> None:
    code = (
        "import sys, clibd\n"
        "clibd.score(['a', 'b'], ['a', 'c'])\n"
        "clibd.partition({'species': ['a', 'b'] * 20})\n"
        "print([name for name in ('torch', 'ray', 'transformers') if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
