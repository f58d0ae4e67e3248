"""Split lists: the published layout in a folder or an archive, a user's own, and what is wrong with bad ones."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.sources.split_lists import UNIONS, assign_lists, protocol_of, read_split_lists
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import MissingPathError, PartitionError, SourceError

PARTS = {split: [f"BIOUG{split}-{n}" for n in range(3)] for split in PROTOCOLS["clibd"].splits}


def published(unions: bool = True) -> dict[str, list[str]]:
    repeated = {name: [x for part in parts for x in PARTS[part]][::-1] for name, parts in UNIONS.items()}
    return PARTS | (repeated if unions else {})


def write_folder(folder: Path, lists: dict[str, list[str]]) -> Path:
    folder.mkdir(parents=True)
    for name, ids in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{identifier}\n" for identifier in ids))
    return folder


EXPECTED = {identifier: split for split, ids in PARTS.items() for identifier in ids}


@pytest.mark.parametrize("unions", [True, False])
def test_the_published_folder_gives_the_split_of_every_specimen(tmp_path: Path, unions: bool) -> None:
    folder = write_folder(tmp_path / "CLIBD_partitioning", published(unions))
    assert read_split_lists(folder) == read_split_lists(tmp_path) == EXPECTED


def test_the_published_archive_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "CLIBD_partitioning.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, ids in published().items():
            archive.writestr(f"CLIBD_partitioning/{name}.txt", "\ufeff" + "\r\n".join(ids))
            archive.writestr(f"__MACOSX/CLIBD_partitioning/._{name}.txt", b"\x00\x05\x16\x07")
    assert read_split_lists(tmp_path / "CLIBD_partitioning.zip") == EXPECTED
    assert [file.name for file in tmp_path.iterdir()] == ["CLIBD_partitioning.zip"]


def test_byte_order_marks_blank_lines_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "no_split.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\n  b  \r\n")
    (tmp_path / "train_seen.txt").write_bytes(b"c\nd")
    assert read_split_lists(tmp_path) == {"a": "no_split", "b": "no_split", "c": "train_seen", "d": "train_seen"}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("test_seen", "BIOUGno_split-1", "line 4: 'BIOUGno_split-1' is in no_split "),
        ("test_seen", "BIOUGtest_seen-1", "line 4: 'BIOUGtest_seen-1' is in test_seen "),
        ("all_keys", "BIOUGtest_seen-1", "line 10: 'BIOUGtest_seen-1' .* not in seen_keys "),
        ("all_keys", "stranger", "line 10: 'stranger' is in no list"),
        ("all_keys", "BIOUGseen_keys-1", "line 10: 'BIOUGseen_keys-1' .* second"),
        ("no_split", "a\tb", "line 4: not a specimen id"),
        ("no_split", "a\0b", "line 4: not a specimen id"),
        ("no_split", "x" * 201, "line 4: not a specimen id"),
        ("mystery", "a", "a split 'mystery'"),
    ],
)
def test_a_bad_line_is_refused_with_its_file_and_number(tmp_path: Path, name: str, line: str, message: str) -> None:
    write_folder(tmp_path / "lists", published())
    with (tmp_path / "lists" / f"{name}.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(SourceError, match=message) as caught:
        read_split_lists(tmp_path / "lists")
    assert caught.value.args[0].endswith(".txt")


def test_a_line_that_is_not_utf8_or_is_endless_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no_split.txt").write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(SourceError, match=r"no_split\.txt, line 2: not UTF-8"):
        read_split_lists(tmp_path)
    (tmp_path / "no_split.txt").write_bytes(b"a\n" + b"x" * 3_000_000 + b"\n")
    with pytest.raises(SourceError, match=r"no_split\.txt, line 2: not a specimen"):
        read_split_lists(tmp_path)


def test_a_list_that_repeats_others_must_repeat_all_of_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "lists", published() | {"all_keys": published()["all_keys"][1:]})
    with pytest.raises(SourceError, match=r"all_keys\.txt: 'BIOUGtest_unseen_keys-2' of test_unseen_keys "):
        read_split_lists(folder)
    (folder / "test_unseen_keys.txt").unlink()
    with pytest.raises(SourceError, match=r"all_keys\.txt: .* test_unseen_keys are missing"):
        read_split_lists(folder)


def test_no_lists_and_dishonest_archives_are_typed_errors(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="list of a split"):
        read_split_lists(tmp_path)
    with pytest.raises(MissingPathError, match="list of a split"):
        read_split_lists(tmp_path / "absent")
    path = tmp_path / "a.zip"
    for name, reason in (("../no_split.txt", "leads out"), ("a/no_split.txt", "a second list")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("no_split.txt", "a")
            archive.writestr(name, "b")
        with pytest.raises(SourceError, match=reason):
            read_split_lists(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("no_split.txt", bytes(2**22))
    with pytest.raises(SourceError, match="inflate to 4,194,304 "):
        read_split_lists(path)
    path.write_bytes(b"no archive")
    with pytest.raises(SourceError, match="zip archive"):
        read_split_lists(path)


def test_a_table_of_splits_is_read_under_the_names_of_the_authors_script(tmp_path: Path) -> None:
    rows = [
        "\tsampleid\turi\timage_file\tspecies\tsplit",
        "0\tA\tBOLD:AAA0001\ta.jpg\tAus bus\ttrain_seen",
        "1\tB\t\tb.jpg\tAus bus\tquery_seen",
        "2\tC\t\tc.jpg\tAus cus\tval_query_unseen",
        "3\tD\t\td.jpg\tAus dus\ttest_query_unseen",
        "4\tE\t\te.jpg\tAus eus\tsingle_species",
    ]
    (tmp_path / "splits.tsv").write_text("\n".join(rows))
    assert read_split_lists(tmp_path / "splits.tsv") == {
        "A": "train_seen",
        "B": "seen_keys",
        "C": "val_unseen_keys",
        "D": "test_unseen_keys",
        "E": "single_species",
    }
    (tmp_path / "own.csv").write_text("specimen_id,split\nA,no_split\nB,val_seen\n")
    assert read_split_lists(tmp_path / "own.csv") == {"A": "no_split", "B": "val_seen"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("specimen_id,part\nA,train_seen\n", "first line: .* 'split'"),
        ("specimen_id,split\nA,train_seen\nB,extra\n", "line 3: .* a split 'extra'"),
        ("specimen_id,split\nA,train_seen\nA,val_seen\n", "line 3: 'A' is in train_seen "),
        ("specimen_id,split\n,train_seen\n", "line 2: not a specimen id"),
        ("specimen_id,split\nA,train_seen,x\n", "line 2: 3 columns"),
        ("specimen_id,split\n", "it lists no specimen"),
    ],
)
def test_a_bad_table_of_splits_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_split_lists(tmp_path / "own.csv")


def test_a_table_gets_its_splits_in_its_own_order_and_may_be_a_part_of_the_lists() -> None:
    ids = ["BIOUGtest_seen-2", "BIOUGno_split-0", "BIOUGval_unseen_keys-1"]
    expected = ["test_seen", "no_split", "val_unseen_keys"]
    for given_ids in (iter(ids), pa.chunked_array([ids[:1], ids[1:]])):
        splits, note = assign_lists(given_ids, EXPECTED)
        assert splits.to_pylist() == expected
        assert splits.type == pa.string()
        assert note == f"the lists name {len(EXPECTED) - 3} specimens more than the table has"
    assert assign_lists(EXPECTED, EXPECTED)[1] is None


def test_a_specimen_in_no_list_is_never_given_a_split() -> None:
    with pytest.raises(PartitionError, match=r"in no list \(stranger\)"):
        assign_lists(["BIOUGno_split-0", "stranger"], EXPECTED)
    with pytest.raises(PartitionError, match="another id"):
        assign_lists(["AACTA1-20", "AACTA2-20"], EXPECTED)


def test_the_protocol_is_the_first_that_has_all_splits() -> None:
    assert protocol_of(["no_split", "train_seen"]) == "clibd"
    assert protocol_of(["no_split", "unseen_keys"]) == "bioscan_5m"
    assert protocol_of(EXPECTED.values()) == "clibd"
    with pytest.raises(PartitionError, match="no one protocol"):
        protocol_of(["val_unseen_keys", "unseen_keys"])


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20),
        st.sampled_from(sorted(PARTS)),
        min_size=1,
        max_size=30,
    )
)
def test_any_ids_survive_the_way_through_lists(
    tmp_path_factory: pytest.TempPathFactory, splits: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    for identifier, split in splits.items():
        with (folder / f"{split}.txt").open("a", encoding="utf-8", newline="") as file:
            file.write(identifier + "\n")
    read = read_split_lists(folder)
    assert read == splits
    assert assign_lists(splits, read)[0].to_pylist() == list(splits.values())
