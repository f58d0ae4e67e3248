"""Names are not paths: whatever somebody calls a data set, its folders lie where they belong, and are listed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.point import Point
from tests.sealed import say_otherwise
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, OutsideError, WeightsError
from workloads.models.places import weights_of
from workloads.naming import is_inside, slug, slugs
from workloads.record import RunFolder, find_run, find_runs
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import DnaTower
from workloads.training.__main__ import app
from workloads.weight_store import MANIFEST, fetch_weights, kept_at, push_weights

PLAIN = ExperimentSpec(dataset="bioscan_1m", data_fingerprint="0123abcd-256")
HOSTILE = [
    *("../../../ESCAPED", "/etc/passwd", "BIOSCAN/1M", "..", ".", "", "a\0b", "a\nb", "x" * 300, ".hidden", "-rf"),
    *("Käfer", "昆虫", "a b", "[red]", "\x1b]0;hi\x07", "a\\b", "C:", "a%2fb", "a?region=x", "a#b", "\ud800"),
]
LEADING_OUT = ["..", "../x", "a/../../x", "/x", "a//b", "a/", ".", "./a", "", "a\0b", "a/\0"]

made: dict[str, str] = {}
"""The first name that gave a slug."""
names = st.one_of(
    st.text(max_size=40),
    st.text("/.\\-_ \0\n\r\t\x1b[]ab1é昆", max_size=12),
    st.text(min_size=250, max_size=300),
    st.lists(st.sampled_from(["..", ".", "", "a", "BIOSCAN", "~"]), max_size=6).map("/".join),
    st.sampled_from(HOSTILE[:-1]),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root") / "inner"


@settings(max_examples=1000, deadline=None)
@given(name=names)
def test_any_name_has_a_folder_of_its_own_that_lies_inside_and_is_listed(root: Path, name: str) -> None:
    own = slug(name)
    assert slug(own) == own
    assert 0 < len(own) <= 64
    assert is_inside(own)
    first = made.setdefault(own, name)
    assert first == name or own in (first, name)  # only what a name is changed to shares its folder
    folder = Folder(root)
    (folder / own).write("spec.json", b"{}")
    assert own in folder.folders()
    assert (root / own / "spec.json").resolve().parent.parent == root.resolve()
    assert [place.name for place in root.parent.iterdir()] == ["inner"]


@pytest.mark.parametrize(
    "name", ["bioscan_1m", "insects", "BIOSCAN-5M", "a.b", "_x", "x" * 64, "7", "synthetic-insects"]
)
def test_a_good_name_stays(name: str) -> None:
    assert slug(name) == name
    assert replace(PLAIN, dataset=name).id.startswith(f"{name}-image+dna+text-")


def test_a_changed_name_can_still_be_read() -> None:
    assert slug("BIOSCAN/1M") == "BIOSCAN-1M-f678709b"
    assert slug("Käfer des Jahres").startswith("Kafer-des-Jahres-")
    assert slugs("owner/small model") == f"owner/{slug('small model')}"


def test_published_ids_are_what_they_were() -> None:
    assert PLAIN.id == "bioscan_1m-image+dna+text-b2000-e15-s42-37b4010c"
    measured = Point(row=None, label="", spec=PLAIN, kind="openclip", model="ViT-B-32:openai")
    assert measured.id == "bioscan_1m-openclip-s42-594b8267"


@pytest.mark.parametrize("name", HOSTILE)
def test_every_id_made_of_a_name_is_one_part_of_a_path(tmp_path: Path, name: str) -> None:
    spec = replace(PLAIN, dataset=name)
    kinds = [Point(row=None, label="", spec=spec, kind=kind) for kind in ("train", "untrained", "openclip", "costs")]
    for identifier in [spec.id, *(point.id for point in kinds)]:
        assert "/" not in identifier
        assert identifier.isascii()
        assert identifier.isprintable()
        RunFolder(Folder(tmp_path) / "sweep" / identifier).folder.write_json("spec.json", {})
    assert {run.id for run in find_runs(Folder(tmp_path), "sweep")} == {spec.id, *(point.id for point in kinds)}
    assert [place.name for place in tmp_path.iterdir()] == ["sweep"]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_folder_refuses_what_would_lie_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("outside")
    refuse_all(Folder(tmp_path / "inner"), name)
    assert sorted(place.name for place in tmp_path.rglob("*")) == ["secret.txt"]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_so_does_a_bucket(bucket: str, name: str) -> None:
    refuse_all(Folder(f"{bucket}/inner"), name)


def refuse_all(folder: Folder, name: str) -> None:
    assert not folder.has(name)
    for refused in (
        lambda: folder / name,
        lambda: folder.write(name, b""),
        lambda: folder.read(name),
        lambda: folder.digest(name),
        lambda: folder.read_json(name),
        lambda: folder.write_json(name, {}),
        lambda: folder.open_parquet(name),
        lambda: folder.remove_folder(name),
        lambda: folder.copy_to(name, Path("copied")),
        lambda: folder.aside(name).__enter__(),
    ):
        with pytest.raises(OutsideError, match="nothing inside can be called"):
            refused()
    folder.remove(name)  # it is not there


def test_names_of_several_parts_work_as_ever(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("embeddings/keys.parquet", b"rows")
    assert folder.read("embeddings/keys.parquet") == b"rows"
    assert (folder / "a/b").path == f"{tmp_path}/a/b"
    assert folder.walk() == ["embeddings/keys.parquet"]


@pytest.mark.parametrize("name", ["a b", "a?region=us-east-1", "a#b", "a%2Fb", "ä"])
def test_in_a_bucket_no_name_ends_its_address(bucket: str, name: str) -> None:
    inner = Folder(f"{bucket}/runs") / name
    inner.write("spec.json", b"{}")
    assert inner.name == name
    assert Folder(f"{bucket}/runs").folders().count(name) == 1
    assert Folder(str(inner)).read("spec.json") == b"{}"
    inner.parent.remove_folder(name)


def test_what_somebody_put_into_a_bucket_leads_nowhere(bucket: str) -> None:
    import boto3  # type: ignore[import-untyped]  # it has no types

    for key in ("foreign/../x/spec.json", "foreign/good/spec.json", "foreign/./z"):
        boto3.client("s3").put_object(Bucket="insects", Key=key, Body=b"{}")
    folder = Folder(f"{bucket}/foreign")
    assert folder.folders() == ["good"]
    assert folder.walk() == ["good/spec.json"]


@pytest.mark.parametrize("name", ["run:..", "run:../../x", "run:a/b", "run:.hidden", "run:a\0b", "sha256:../../x"])
def test_weights_are_called_by_names_and_not_by_paths(name: str, tmp_path: Path) -> None:
    spec = replace(PLAIN, dna=DnaTower(weights=name))
    with pytest.raises(WeightsError, match="after run: stands an id"):
        weights_of(spec, near=Folder(tmp_path) / "train" / "x")


def test_a_data_set_whose_name_is_a_path_trains_inside_runs_and_is_called_what_it_was_called(
    tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    data, runs = tmp_path / "data", tmp_path / "a" / "b" / "runs"
    shutil.copytree(tiny_dataset.folder.path, data)
    say_otherwise(Folder(data), "dataset.json", name="../../../ESCAPED")
    options = ["image-dna", "--data", str(data), "--runs", str(runs), "--scale", "small", "--cpu"]
    app([*options, "--batch-size", "32", "--epochs", "1"], standalone_mode=False)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["a", "data"]
    (run,) = find_runs(Folder(runs), "train")
    assert run.id.startswith("ESCAPED-")
    assert run.spec().dataset == run.folder.read_json("evaluation.json")["dataset"] == "../../../ESCAPED"
    assert find_run(Folder(runs), run.id) is not None


def test_a_prepared_data_set_whose_splits_are_paths_is_damaged(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    say_otherwise(tiny_dataset.folder, "dataset.json", Folder(tmp_path), num_specimens={"../../x": 3})
    with pytest.raises(DamagedError, match=r"no split of clibd is called '\.\./\.\./x'"):
        _ = PreparedDataset(Folder(tmp_path)).facts
    say_otherwise(tiny_dataset.folder, "dataset.json", Folder(tmp_path), protocol="../../x")
    with pytest.raises(DamagedError, match=r"protocol is .*, and not .clibd. or"):
        _ = PreparedDataset(Folder(tmp_path)).facts


def test_a_store_cannot_write_beside_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    store = Folder(tmp_path / "store")
    (tmp_path / "config.json").write_bytes(b"{}")
    push_weights("hf-hub:owner/small", {"config.json": tmp_path / "config.json"}, store)
    inside = store / "owner/small"
    inside.write_json(MANIFEST, {"files": {**inside.read_json(MANIFEST)["files"], "../../../evil": "0" * 64}})
    with pytest.raises(WeightsError, match="would lie elsewhere"):
        fetch_weights("hf-hub:owner/small", store)
    assert not (tmp_path / "cache").exists()
    assert kept_at("owner/small") == tmp_path / "cache" / "weights" / "owner" / "small"
    assert kept_at("../../x").is_relative_to(tmp_path / "cache" / "weights")
    assert ".." not in kept_at("../../x").parts
