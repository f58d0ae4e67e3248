"""Stored attention: each outcome with its queries, and maps over pictures where there are any."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.dashboard.catalog import Catalog
from results.figures.attention_cases import overlaid, read_attention
from tests.dashboard.showing import sent, shown, words_of
from tests.dashboard.test_embedding_page import say
from tests.results.figures.made_up import store_attention, write_evaluated
from workloads.data.inputs.image_views import evaluation_view
from workloads.data.prepared.dataset import PreparedDataset
from workloads.spec import RANKS
from workloads.storage import Folder

MODELS = ("No align", "I+D+T")


@pytest.fixture
def runs(tmp_path: Path, tiny_dataset: PreparedDataset) -> Folder:
    protocol = tiny_dataset.facts.splits
    splits = [split for split in protocol.splits if split not in (*protocol.training, *protocol.unused)]
    rows = tiny_dataset.load(splits, ["specimen_id", *RANKS]).to_pylist()
    evaluated = write_evaluated(tmp_path / "runs/batch/tiny", rows, dataset=tiny_dataset.facts.name, synthetic=True)
    say(evaluated, data_fingerprint=tiny_dataset.facts.fingerprint)
    return Folder(tmp_path / "runs")


def _pixels(catalog: Catalog, **options: object) -> object:
    return np.asarray(
        Image.open(io.BytesIO(sent(catalog, "attention-map", "tiny", partition="val", **options).content))
    )


def test_without_stored_attention_the_command_stands_there(runs: Folder) -> None:
    words = words_of(shown(Catalog(runs), "attention", "tiny"))
    assert f"clibd attention {runs}/batch/tiny --data DIR" in words
    assert "SYNTHETIC" in words


def test_outcomes_are_chosen_and_counted(runs: Folder) -> None:
    catalog = Catalog(runs)
    stored = read_attention(store_attention(catalog.evaluated("tiny"), MODELS), "val")
    words = words_of(shown(catalog, "attention", "tiny"))
    cases = [case for case in stored.cases if (case[0].right, case[1].right) == (False, True)]
    num = sum(queries for (_, verdicts), queries in stored.counts.items() if verdicts == (False, True))
    assert f"Wrong before, right after (n={num})" in words
    assert f"{len(cases)} are stored and shown here" in words
    html = shown(catalog, "attention", "tiny", group="Right before, wrong after", subset="seen")
    others = [case for case in stored.cases if (case[0].right, case[1].right) == (True, False)]
    shown_ids = [case[0].specimen_id for case in others if case[0].subset == "seen"][:12]
    assert all(name in html for name in shown_ids)
    assert not any(f'Query {case[0].specimen_id}"' in html for case in cases)
    assert shown(catalog, "attention", "tiny", group="nonsense", status=404)
    assert "compares 3 models at least" in words_of(shown(catalog, "attention", "tiny", figure="12"))


def test_maps_lie_over_the_pictures_that_the_towers_saw(runs: Folder, tiny_dataset: PreparedDataset) -> None:
    catalog = Catalog(runs, tiny_dataset.folder)
    stored = read_attention(store_attention(catalog.evaluated("tiny"), MODELS), "val")
    case = stored.cases[0]
    splits = tiny_dataset.facts.splits
    name, key = case[0].specimen_id, case[1].key_id
    picture = evaluation_view(tiny_dataset.images(splits.asking("val"), [name])[name], 160)
    assert np.array_equal(_pixels(catalog, specimen=name), picture)
    assert np.array_equal(_pixels(catalog, specimen=name, model=2), overlaid(picture, case[1].mask, "corrected"))
    of_key = evaluation_view(tiny_dataset.images(splits.keys, [key])[key], 160)
    assert np.array_equal(_pixels(catalog, specimen=name, model=2, what="key"), of_key)


def test_without_pictures_maps_lie_on_grey_and_the_page_says_so(runs: Folder) -> None:
    catalog = Catalog(runs)
    stored = read_attention(store_attention(catalog.evaluated("tiny"), MODELS), "val")
    assert "Pictures need the data set" in words_of(shown(catalog, "attention", "tiny"))
    grey = np.full((160, 160, 3), 128, dtype=np.uint8)
    case = stored.cases[0]
    found = _pixels(catalog, specimen=case[0].specimen_id, model=1)
    assert np.array_equal(found, overlaid(grey, case[0].mask, "corrected"))
    assert shown(catalog, "attention-map", "tiny", status=404, partition="val", specimen="nobody")
    assert shown(catalog, "attention-map", "tiny", status=404, partition="val", specimen=case[0].specimen_id, model=9)


def test_damaged_attention_says_so(runs: Folder) -> None:
    catalog = Catalog(runs)
    evaluated = store_attention(catalog.evaluated("tiny"), MODELS)
    evaluated.folder.write("attention-val.parquet", b"PAR1 nonsense")
    assert "cannot be read" in words_of(shown(Catalog(runs), "attention", "tiny", status=404))
