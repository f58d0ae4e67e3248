"""The commit of the source, by each way in which it may have come; with the real git and the real builder."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from workloads.source_tree import COMMIT_FILE, PACKAGES, ROOT, code_digest, commit, commit_line


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIBD_COMMIT", raising=False)


def git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with one commit."""
    root = tmp_path / "tree"
    for package in PACKAGES:
        (root / package).mkdir(parents=True)
        (root / package / "one.py").write_text(f'"""Of {package}."""\n')
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def head(root: Path) -> str:
    return git(root, "rev-parse", "HEAD")[:12]


def test_a_checkout_has_the_commit_of_git_and_a_plus_with_changes(tree: Path) -> None:
    assert commit(tree) == head(tree)
    (tree / "workloads" / "one.py").write_text("changed = True\n")
    assert commit(tree) == f"{head(tree)}+"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("detached", [False, True])
def test_a_copy_without_the_objects_has_the_commit_too(tree: Path, packed: bool, detached: bool) -> None:
    name = head(tree)
    if packed:
        git(tree, "pack-refs", "--all")
    if detached:
        git(tree, "checkout", "-q", "--detach")
    shutil.rmtree(tree / ".git" / "objects")
    assert commit(tree) == f"{name}?"


def test_a_worktree_has_its_own_commit(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tree, "worktree", "add", "-q", "-b", "second", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "second")
    name = head(other)
    assert name != head(tree)
    assert commit(other) == name


def test_a_repository_further_up_is_not_ours(tree: Path) -> None:
    inner = tree / "site-packages"
    for package in PACKAGES:
        shutil.copytree(tree / package, inner / package)
    assert commit(inner) is None


def test_the_environment_comes_first(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_COMMIT", "0123456789ab")
    assert commit(tree) == "0123456789ab"


def test_a_commit_file_tells_by_the_digest_whether_the_code_has_changed_since(tree: Path) -> None:
    line, name = commit_line(tree), head(tree)
    shutil.rmtree(tree / ".git")
    assert commit(tree) is None
    assert commit_line(tree) is None
    (tree / COMMIT_FILE).write_text(f"{name}\n")
    assert commit(tree) == f"{name}?"
    (tree / COMMIT_FILE).write_text(line or "")
    assert commit(tree) == name
    (tree / "sweeps" / "two.py").write_text("")
    code_digest.cache_clear()
    assert commit(tree) == f"{name}+"


def test_equal_code_has_one_digest_wherever_it_lies(tree: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tree, tmp_path / "elsewhere")
    (copy / "sweeps" / "__pycache__").mkdir()
    (copy / "sweeps" / "__pycache__" / "one.cpython-311.pyc").write_bytes(b"0")
    assert code_digest(copy) == code_digest(tree)
    (copy / "sweeps" / "one.py").rename(copy / "sweeps" / "two.py")
    code_digest.cache_clear()
    assert code_digest(copy) != code_digest(tree)


def test_an_archive_and_a_wheel_of_it_bring_the_commit_and_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(source: Path, kind: str) -> Path:
        words = ("-m", "hatchling", "build", "-t", kind, "-d", str(tmp_path))
        subprocess.run([sys.executable, *words], cwd=source, check=True, capture_output=True)
        return next(path for path in tmp_path.iterdir() if path.suffix == {"sdist": ".gz", "wheel": ".whl"}[kind])

    monkeypatch.setenv("CLIBD_COMMIT", "0123456789ab")  # of whatever this checkout is
    archive = build(ROOT, "sdist")
    monkeypatch.delenv("CLIBD_COMMIT")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "archive", filter="data")
    [source] = (tmp_path / "archive").iterdir()
    wheel = build(source, "wheel")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site-packages")
    assert code_digest(tmp_path / "site-packages") == code_digest(ROOT)
    assert commit(tmp_path / "site-packages") == commit(source) == "0123456789ab"
