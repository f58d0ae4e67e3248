"""Runs in a bucket: the same pages, and each file fetched once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.dashboard.catalog import Catalog
from results.dashboard.mirror import Mirror
from results.dashboard.page import Asked, File, NotThereError
from results.dashboard.site.answers import answer
from results.dashboard.site.kinds import kinds
from results.dashboard.site.rendering import rendered
from tests.buckets import served_bucket
from workloads.storage import Folder


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Counter[str]]:
    """What is fetched from a bucket, by its key and how often."""
    from moto.s3.responses import S3Response

    counted: Counter[str] = Counter()
    before = S3Response.get_object

    def get_object(response: S3Response, *given: object, **more: object) -> object:
        counted[response.parse_key_name() if hasattr(response, "parse_key_name") else response.path] += 1
        return before(response, *given, **more)

    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    with served_bucket():
        monkeypatch.setattr(S3Response, "get_object", get_object)
        yield counted


@pytest.fixture
def runs(got: Counter[str], tmp_path: Path) -> Folder:
    """In a bucket that other tests leave things in."""
    return Folder(f"s3://insects/{tmp_path.name}")


def written(runs: Folder, sweep: str, run: str) -> None:
    folder = runs / sweep / run
    folder.write_json("point.json", {"sweep": sweep, "label": run})
    folder.write("predictions.parquet", b"large")
    folder.write("model.safetensors", b"larger")


def test_each_file_is_fetched_once_and_again_when_it_is_another(runs: Folder, got: Counter[str]) -> None:
    for name in ("one", "two", "a%2fb c"):
        written(runs, "amp", name)
    catalog = Catalog(runs)
    for _ in range(3):
        catalog.look_again()
    assert {one.run for one in catalog.standings} == {"one", "two", "a%2fb c"}
    assert (got.total(), set(got.values())) == (3, {1})
    with pytest.raises(NotThereError, match=str(runs)):
        catalog.place("three")

    (runs / "amp" / "one").write_json("point.json", {"sweep": "amp", "label": "another word"})
    before = catalog.now
    assert catalog.look_again().since(before).names == {"amp", "one"}
    assert "another word" in {one.label for one in catalog.standings}
    assert got.total() == 4

    assert Catalog(runs).look_again().modified.keys() == catalog.now.modified.keys()
    assert got.total() == 4, "another process has the same copies"


def test_what_is_large_is_fetched_for_a_run_that_is_looked_at(runs: Folder, got: Counter[str]) -> None:
    for name in ("one", "two"):
        written(runs, "amp", name)
    mirror = Mirror(runs)
    mirror.renew()
    assert not mirror.folder.has("amp/one/predictions.parquet")
    for _ in range(2):
        mirror.bring("amp/one")
    assert mirror.folder.read("amp/one/predictions.parquet") == b"large"
    assert not mirror.folder.has("amp/two/predictions.parquet")
    assert not mirror.folder.has("amp/one/model.safetensors")
    assert got.total() == 3

    (runs / "amp").remove_folder("one")
    mirror.renew()
    assert (mirror.folder / "amp").folders() == ["one", "two"]
    assert (mirror.folder / "amp" / "one").walk() == []


def test_keys_that_no_disk_can_hold_lead_nowhere(runs: Folder, got: Counter[str], tmp_path: Path) -> None:
    import boto3  # type: ignore[import-untyped]  # it has no types

    keys = ["amp/one/point.json", "amp/one", "amp/two/point.json", f"amp/{'x' * 300}/point.json"]
    for key in keys:
        boto3.client("s3").put_object(Bucket="insects", Key=f"{runs.name}/{key}", Body=b"{}")
    catalog = Catalog(runs)
    assert catalog.look_again().number == 1
    assert catalog.problem is None
    assert "two" in {one.run for one in catalog.standings}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_a_store_that_does_not_answer_leaves_the_last_look(
    runs: Folder, got: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(runs, "amp", "one")
    catalog = Catalog(runs)
    look = catalog.look_again()

    def no_answer(mirror: Mirror) -> None:
        raise OSError("the network is gone")

    monkeypatch.setattr(Mirror, "renew", no_answer)
    assert catalog.look_again() is look
    assert catalog.problem is not None
    assert "the network is gone" in catalog.problem


def test_what_pages_say_names_the_bucket_and_never_the_copy(golden_runs: Folder, got: Counter[str]) -> None:
    run = (golden_runs / "amp").folders()[0]
    (golden_runs / "amp" / run).write("measurements.parquet", b"not what was written")
    catalog = Catalog(golden_runs)
    said = {asked: _text(catalog, asked) for kind in kinds().values() for asked in kind.listed(catalog)}
    assert [asked for asked, text in said.items() if catalog.folder.path in text] == []
    assert f"{golden_runs}/amp/{run}/measurements.parquet" in said[Asked("run", run)]
    tables = [text for asked, text in said.items() if asked.page == "table"]
    for command in (
        f"--runs {golden_runs}",
        f"Or move {golden_runs}/amp/{run} away",
        f"clibd evaluate {golden_runs}/amp/",
    ):
        assert any(command in text for text in tables), command


def _text(catalog: Catalog, asked: Asked) -> str:
    made = answer(catalog, asked).answer
    if isinstance(made, File):
        return made.content.decode()
    return rendered(made, asked, lambda other: other.path, "/static/", served=True)
