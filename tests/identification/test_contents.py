"""What a database says that it holds: info, taxa, card, Croissant, `clibd verify`; and one that the hub has."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mlcroissant
import pytest
import yaml

from tests.identification.databases import BARCODES, kmer_database
from workloads.errors import UsageError
from workloads.identification.building import About
from workloads.identification.card import croissant, readme
from workloads.identification.changing import remove
from workloads.identification.contents import info, info_lines, taxa
from workloads.identification.database import Database
from workloads.storage import Folder
from workloads.verify import things_in

ROWS = (
    ("a", "Apis mellifera", "Apis", BARCODES[0]),
    ("b", "Apis cerana", "Apis", BARCODES[1]),
    ("c", "Bombus hortorum", "Bombus", BARCODES[2]),
    ("d", "Apis mellifera", "Apis", BARCODES[0]),
    ("e", "", "Apis", BARCODES[2][9:]),
)


@pytest.fixture
def bees(tmp_path: Path) -> Database:
    return kmer_database(tmp_path / "bees", ROWS, about=About(license="cc-by-4.0", cite="Doe 2026 <doi>, *in press*"))


def test_taxa_are_counted_at_every_rank_as_a_plain_count_has_it(bees: Database) -> None:
    for rank, place in (("species", 1), ("genus", 2)):
        table = taxa(bees, rank)  # type: ignore[arg-type]
        found = dict(zip(table[rank].to_pylist(), table["specimens"].to_pylist(), strict=True))
        assert found == Counter(row[place] for row in ROWS if row[place])
        keys = {name: len({row[3] for row in ROWS if row[place] == name}) for name in found}
        assert dict(zip(table[rank].to_pylist(), table["barcodes"].to_pylist(), strict=True)) == keys
    assert taxa(bees, "order").num_rows == 0
    assert taxa(bees, "species", under="Apis")["species"].to_pylist() == ["Apis cerana", "Apis mellifera"]
    with pytest.raises(
        UsageError, match="has no taxon 'Bombos' at order or family or genus or species; there is Bombus"
    ):
        taxa(bees, "species", under="Bombos")


def test_info_has_every_count_and_size(bees: Database) -> None:
    facts = info(bees)
    assert facts["num_without_name"] == {"order": 5, "family": 5, "genus": 0, "species": 1}
    assert facts["species"] == {"trained": 0, "untrained": 0, "unknown": 3}
    assert facts["bytes"] == sum(path.stat().st_size for path in Path(bees.folder.address).rglob("*"))
    assert json.loads(json.dumps(facts)) == json.loads(json.dumps(facts))
    lines = "\n".join(info_lines(facts))
    assert "bees: 5 specimens, 0 BINs" in lines
    assert "Confidence: none: names come without a confidence" in lines
    assert "synthetic" in "\n".join(info_lines({**facts, "synthetic": True}))


def test_the_card_has_a_header_that_the_hub_reads_and_names_are_text(bees: Database) -> None:
    card = bees.folder.read("README.md").decode()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "license": "cc-by-4.0",
        "library_name": "clibd",
        "tags": ["biology", "insects", "species-identification", "dna-barcoding"],
    }
    assert "Doe 2026 \\<doi\\>, \\*in press\\*" in body
    odd = replace(bees.facts, name="x\n# y", license="a: [b", synthetic=True)
    header = readme(odd).split("---\n", 2)[1]
    assert yaml.safe_load(header)["license"] == "a: [b"
    assert "synthetic" in yaml.safe_load(header)["tags"]
    assert "\n# y" not in readme(odd)
    assert "license: unknown" in readme(replace(odd, license="unknown"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Croissant's library is built on
def test_croissant_is_valid_and_leads_to_the_specimens(bees: Database, caplog: pytest.LogCaptureFixture) -> None:
    dataset = mlcroissant.Dataset(jsonld=Path(bees.folder.address) / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    assert "not standard" not in caplog.text
    records = list(dataset.records("specimen"))
    assert [record["specimen/specimen_id"] for record in records] == [b"a", b"b", b"c", b"d", b"e"]
    assert croissant(bees.facts, "0" * 64)["license"] == "cc-by-4.0"


def test_verify_finds_a_changed_byte_what_is_gone_and_what_is_not_ours(bees: Database) -> None:
    folder = Folder(bees.folder.address)

    def verdict() -> tuple[str, list[str], list[str]]:
        ((_, check),) = things_in(folder)
        found = check(lambda done, total: None)
        assert found.kind == "database"
        assert all("clibd db build" in problem.remedy for problem in found.problems)
        return found.state, [problem.file for problem in found.problems], found.strangers

    assert verdict() == ("whole", [], [])
    folder.write("notes.txt", b"mine")
    assert verdict() == ("whole", [], ["notes.txt"])
    keys = Path(folder.address, "keys-dna.npy")
    keys.write_bytes(keys.read_bytes()[:-1] + b"\xff")
    assert verdict()[:2] == ("damaged", ["keys-dna.npy"])
    keys.unlink()
    assert verdict()[:2] == ("damaged", ["keys-dna.npy"])
    Path(folder.address, "database.json").write_text("{}")
    assert verdict()[:2] == ("damaged", ["database.json"])


def test_a_database_of_the_hub_is_read_from_its_cache(
    bees: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "hub" / "models--someone--bees"
    shutil.copytree(bees.folder.address, kept / "snapshots" / ("0" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    database = Database("hf-hub:someone/bees")
    database.verify()
    assert database.facts.name == "bees"
    with pytest.raises(UsageError, match="is the hub's cache, and is not changed; copy it"):
        remove(database, ids=["a"])
    with pytest.raises(UsageError, match="not in the hub's cache, and the hub cannot be reached"):
        Database("hf-hub:someone/wasps")
    with pytest.raises(UsageError, match="the hub has no such database"):
        Database("hf-hub:a/b/c")
