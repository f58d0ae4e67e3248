"""Everything below a folder of runs, whatever lies there."""

import os
from pathlib import Path

from results.sweep_status import Statuses
from workloads.storage import Folder
from workloads.tree import Tree

ODD = ["plain", "n\nl", "t\ty", " ", "a%2fb", "é", "#q?x", "*", "\x1b[31m", "x" * 200]


def test_odd_names_hinder_nothing(tmp_path: Path) -> None:
    for name in (*(name.encode() for name in ODD), b"u\xff"):
        folder = os.path.join(os.fsencode(tmp_path), b"amp", name)
        os.makedirs(folder)
        Path(os.fsdecode(folder), "point.json").write_text("{}")
    tree = Tree(Folder(tmp_path))
    assert sorted(tree.modified) == sorted(f"amp/{name}/point.json" for name in ODD)
    assert {tree.read(name) for name in tree.modified} == {b"{}"}
    assert set(tree.sizes.values()) == {2}
    assert {standing.run for standing in Statuses(Folder(tmp_path)).read()} == set(ODD)
    assert Folder(tmp_path / "amp").folders() == sorted(ODD)


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "runs" / "amp").mkdir(parents=True)
    (tmp_path / "runs" / "amp" / "a").write_text("a")
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs")
    (tmp_path / "runs" / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "runs" / "again").symlink_to("amp")
    assert sorted(Tree(Folder(tmp_path / "runs")).modified) == ["again/a", "amp/a"]


def test_what_is_gone_or_no_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    tree = Tree(Folder(tmp_path))
    assert tree.read("nothing") is tree.read("folder") is None
    assert tree.read_json("nothing") == {}
    assert Tree(Folder(tmp_path / "later")).modified == {}


def test_a_link_back_into_a_folder_below_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "amp" / "run").mkdir(parents=True)
    (tmp_path / "amp" / "run" / "a").write_text("a")
    (tmp_path / "amp" / "run" / "back").symlink_to(tmp_path / "amp")
    assert [*Tree(Folder(tmp_path)).modified] == ["amp/run/a"]
