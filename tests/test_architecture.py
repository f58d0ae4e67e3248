"""Who may import whom. The one place where the rules are written down."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("commands", "clibd", "orchestrator", "workloads", "sweeps", "results")

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "workloads": ("ray", "commands", "clibd", "orchestrator", "sweeps", "results"),
    "sweeps": ("ray", "torch", "commands", "clibd", "orchestrator", "results", "workloads"),
    "results": (
        "ray",
        "torch",
        "commands",
        "clibd",
        "orchestrator",
        "workloads.training",
        "workloads.models",
        "workloads.evaluation",
    ),
    "orchestrator": ("commands", "clibd"),
    "clibd": ("ray", "commands", "orchestrator", "sweeps"),
    "commands": ("ray", "torch"),
}
"""What each package does not import, at the top of a file or inside a function."""
ALLOWED: dict[str, tuple[str, ...]] = {
    "sweeps": tuple(
        f"workloads.{name}" for name in ("spec", "tower_specs", "errors", "experiments", "fields", "naming", "recipes")
    ),
}
"""Exceptions to the above."""
LAYERS = (
    "workloads",  # the words that all share: specs, records, errors, folders
    "workloads.data.files",
    "workloads.data.packages",
    "workloads.data.specimens",
    "workloads.data.synthetic",
    "workloads.data.sources",
    "workloads.data.prepared",
    "workloads.data.inputs",
    "workloads.models",
    "workloads.conversion",
    "workloads.evaluation",
    "workloads.bzsl",
    "workloads.training",
    "workloads.measuring",
    "workloads.identification",
    "results",  # sheets and how they are printed, and what lies in run folders
    "results.comparison",
    "results.figures",
    "results.paper",
    "results.dashboard",
    "results.dashboard.pages",
    "results.dashboard.site",
)
"""The packages of `workloads` and of `results`: each imports those before it, and none after it."""
BANNED_NAMES = {"utils", "helpers", "common", "manager", "handler", "base", "misc"}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(source: str) -> Iterator[str]:
    """Every module that a source names in an import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def offences(package: str, source: str) -> list[str]:
    return [
        module
        for module in imports(source)
        if any(within(module, name) for name in FORBIDDEN[package])
        and not any(within(module, name) for name in ALLOWED.get(package, ()))
    ]


@pytest.mark.parametrize("package", OURS)
def test_imports_follow_the_arrows(package: str) -> None:
    found = files(package)
    assert len(found) >= 5
    assert {str(file.relative_to(ROOT)): bad for file in found if (bad := offences(package, file.read_text()))} == {}


def upwards(source: str, package: str) -> list[str]:
    """Imports of packages that stand above one; a module is of the innermost package that it lies in."""
    layers = {
        module: max((name for name in LAYERS if within(module, name)), default=package, key=len)
        for module in imports(source)
    }
    return [module for module, layer in layers.items() if LAYERS.index(layer) > LAYERS.index(package)]


@pytest.mark.parametrize("package", LAYERS)
def test_packages_import_downwards(package: str) -> None:
    folder = ROOT / package.replace(".", "/")
    modules = sorted(folder.glob("*.py"))
    assert len(modules) >= 3
    assert {file.name: bad for file in modules if (bad := upwards(file.read_text(), package))} == {}


def test_every_package_of_workloads_and_results_has_its_layer() -> None:
    modules = [*files("workloads"), *files("results")]
    packages = {str(file.parent.relative_to(ROOT)).replace("/", ".") for file in modules}
    assert packages - {"workloads.data"} == set(LAYERS)


def test_the_layers_notice_an_import_of_what_stands_above() -> None:
    assert upwards("from workloads.training.loop import fit\n", "workloads.models") == ["workloads.training.loop.fit"]
    assert upwards("from workloads.data.files import images\n", "workloads") == ["workloads.data.files.images"]
    assert upwards("from workloads.models import lora\n", "workloads.evaluation") == []
    assert upwards("from results.paper import tables\n", "results") == ["results.paper.tables"]
    assert upwards("from results import sheet\n", "results.figures") == []


def test_the_rules_notice_an_offence_wherever_it_hides() -> None:
    hidden = "def f():\n    from ray import train\n"
    assert offences("workloads", hidden) == ["ray.train"]
    assert offences("orchestrator", hidden) == []
    assert offences("sweeps", "import torch.nn\nfrom workloads import spec\n") == ["torch.nn"]
    assert offences("sweeps", "from workloads.training.loop import fit\n") == ["workloads.training.loop.fit"]
    assert offences("workloads", "import rayon\n") == []


def test_results_and_sweeps_load_neither_ray_nor_torch() -> None:
    program = (
        "import sys\n"
        "import results.paper.tables, results.measured, results.comparison, sweeps\n"
        "import workloads.experiments, workloads.record\n"
        "print(sorted({'ray', 'torch', 'timm', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", OURS)
def test_the_packages_under_test_are_those_of_this_checkout(package: str) -> None:
    location = import_module(package).__file__
    assert location is not None
    assert Path(location).is_relative_to(ROOT)


def test_file_names_are_nouns_of_the_domain() -> None:
    assert [file for package in OURS for file in files(package) if file.stem in BANNED_NAMES] == []


def test_every_module_says_what_it_holds() -> None:
    silent = [file for package in OURS for file in files(package) if not ast.get_docstring(ast.parse(file.read_text()))]
    assert silent == []
