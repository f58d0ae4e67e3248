"""Which source this is: its commit, also where git or its objects did not come along, and a digest of the code itself.

    CLIBD_COMMIT          of a container: `docker build --build-arg`, `ENV`
    workloads/COMMIT      of a wheel or an archive: commit, and the digest of the code that it was made of
    .git                  of a checkout; its HEAD and refs alone where the objects were left behind, as rsync may

Imports nothing of ours and nothing that is not in Python, as the wheel is built with it (`hatch_build.py`).
"""

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

PACKAGES = ("clibd", "commands", "orchestrator", "results", "sweeps", "workloads")
"""Ours; what lies in them is the code."""
ROOT = Path(__file__).parents[1]
COMMIT_FILE = "workloads/COMMIT"
_DIGITS = 12
"""Of a commit, and of a digest of the code."""
_LEFT_OUT = (".pyc", ".pyo", ".tmp", ".swp", "~", "/COMMIT")


@cache
def code_digest(root: Path = ROOT) -> str:
    """SHA-256 over names and contents of our packages' files, shortened: equal code, wherever it lies, has one digest.

    Args:
        root: the folder that holds the packages.
    """
    digest = hashlib.sha256()
    for package in PACKAGES:
        names = (path.relative_to(root).as_posix() for path in (root / package).rglob("*") if path.is_file())
        for name in sorted(names):
            if "__pycache__" not in name and not name.endswith(_LEFT_OUT):
                content = hashlib.sha256((root / name).read_bytes()).hexdigest()
                digest.update(f"{content} {name}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def commit(root: Path = ROOT) -> str | None:
    """The source's commit: with `+` where the code has changes, with `?` where nobody can tell; None if it is unknown.

    Args:
        root: the folder that holds the packages.
    """
    given = os.environ.get("CLIBD_COMMIT", "").strip()
    return given or _of_git(root) or _of_file(root) or _of_refs(root)


def commit_line(root: Path = ROOT) -> str | None:
    """The content of COMMIT_FILE for the source as it is now; None where its commit is unknown."""
    known = commit(root)
    return f"{known} {code_digest(root)}\n" if known else None


def _of_git(root: Path) -> str | None:
    """By the git program; a repository further up, in which a wheel is installed, is not ours."""
    if not (root / ".git").exists():
        return None
    git = ("git", "-C", str(root))
    try:
        name = subprocess.run(
            [*git, "rev-parse", f"--short={_DIGITS}", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{name}+" if changed else name


def _of_file(root: Path) -> str | None:
    """By COMMIT_FILE; whether the code has changed since is told by its digest, where the file has one."""
    try:
        name, *digest = (root / COMMIT_FILE).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    plain = name.rstrip("+?")
    return f"{plain}?" if not digest else name if digest == [code_digest(root)] else f"{plain}+"


def _of_refs(root: Path) -> str | None:
    """By .git/HEAD and the branch that it names, which is a file of its own or a line of packed-refs."""
    git = root / ".git"
    try:
        name = (git / "HEAD").read_text(encoding="utf-8").strip()
        if name.startswith("ref:"):
            branch = name.removeprefix("ref:").strip()
            packed = (git / "packed-refs").read_text(encoding="utf-8") if (git / "packed-refs").is_file() else ""
            known = {words[1]: words[0] for words in map(str.split, packed.splitlines()) if len(words) == 2}
            name = (git / branch).read_text(encoding="utf-8").strip() if (git / branch).is_file() else known[branch]
    except (OSError, ValueError, KeyError):
        return None
    return f"{name[:_DIGITS]}?"
