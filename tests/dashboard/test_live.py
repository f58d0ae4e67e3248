"""What changes in a folder of runs reaches everybody who listens, and each of them alone."""

import json
from contextlib import ExitStack
from pathlib import Path

from results.dashboard.catalog import Catalog
from tests.dashboard.serving import Stream, served
from workloads.storage import Folder


def point(runs: Path, sweep: str, run: str) -> Path:
    folder = runs / sweep / run
    folder.mkdir(parents=True)
    (folder / "point.json").write_text(json.dumps({"sweep": sweep, "label": run}))
    return folder


def told_of(stream: Stream, name: str) -> dict[str, object]:
    """Until one event names something."""
    while True:
        kind, told = stream.next()
        assert kind, "the stream has ended"
        if name in told.get("changed", ()):
            return dict(told)


def test_a_look_is_another_when_something_changes(tmp_path: Path) -> None:
    catalog = Catalog(Folder(tmp_path))
    empty = catalog.look_again()
    assert catalog.look_again() is empty
    folder = point(tmp_path, "amp", "one")
    begun = catalog.look_again()
    assert begun.since(empty).told() == {
        "look": begun.number,
        "changed": ["amp", "one"],
        "states": {"one": "interrupted"},
        "tables": True,
    }
    (folder / "events.jsonl").write_text('{"event": "step"}\n')
    later = catalog.look_again()
    assert later.since(begun).names == {"amp", "one"}
    assert not later.since(begun).tables, "no table is made of a log"
    assert begun.since(empty).then(later.since(begun)).tables
    assert later.version("amp/one") == begun.version("amp/one")
    assert later.version("amp/one", passing=True) != begun.version("amp/one", passing=True)
    assert begun.since(empty).then(later.since(begun)).look == later.number


def test_two_readers_are_told_what_changes(tmp_path: Path) -> None:
    with served(Folder(tmp_path)) as desk, desk.listening() as one, desk.listening() as other:
        assert one.next()[0] == other.next()[0] == "look"
        folder = point(tmp_path, "amp", "one\n\nevent: look")
        (told, same) = (told_of(stream, folder.name) for stream in (one, other))
        assert told == same
        page = desk.ask("/")
        assert f'data-look="{told["look"]}"' in page.text


def test_who_comes_later_learns_which_look_is_the_last(tmp_path: Path) -> None:
    with served(Folder(tmp_path)) as desk:
        before = desk.ask("/").text
        with desk.listening() as first:
            first.next()
            point(tmp_path, "amp", "one")
            look = told_of(first, "one")["look"]
        with desk.listening() as later:
            assert later.next() == ("look", {"look": look})
        assert f'data-look="{look}"' not in before


def test_the_end_of_the_server_ends_the_streams(tmp_path: Path) -> None:
    with ExitStack() as server:
        desk = server.enter_context(served(Folder(tmp_path)))
        with desk.listening() as stream:
            assert stream.next()[0] == "look"
            server.close()
            assert stream.next() == ("", None)
