"""Figures 5 and 11 to 13: which queries each shows, and how they look."""

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from results.figures.attention import draw_attention, overlaid
from results.figures.attention_data import (
    ROWS_OF_FIGURE,
    ROWS_OF_GROUP,
    SUBSETS,
    Case,
    Glance,
    StoredAttention,
    attention_records,
    groups_of_figure,
    read_attention,
)
from results.figures.evaluated import Evaluated, read_evaluated
from results.render import records_text
from tests.results.figures.made_up import overlaps
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.evaluation.attention_by_outcome import SCHEMA

MODELS = ("No align", "I+T", "I+D", "I+D+T")
Store = Callable[..., Evaluated]


PATTERNS = {
    1: [(True,), (False,)],
    2: [(False, True), (True, False), (True, True), (False, False)],
    4: [(False, False, False, True), (False,) * 4, (False, False, True, True), (True, False, False, False)],
}
"""Verdicts that queries have in turn, by the number of models."""


def stored_of(count: int = 200, num_models: int = 4) -> StoredAttention:
    """Made-up attention of made-up queries, which have every outcome in turn; ten queries stand behind each."""
    chance = np.random.default_rng(5)
    patterns = list(product((True, False), repeat=num_models))
    cases, counts = [], dict[tuple[str, tuple[bool, ...]], int]()
    for number in range(count):
        subset, verdicts = SUBSETS[number % 2], patterns[number // 2 % len(patterns)]
        masks = chance.random((num_models, 3, 3)).astype(np.float32)
        glances = [Glance(right, "Genus b", "k", mask) for right, mask in zip(verdicts, masks, strict=True)]
        cases.append(Case(f"q{number}", subset, "Genus a", tuple(glances)))
        counts[subset, verdicts] = counts.get((subset, verdicts), 0) + 10
    return StoredAttention(MODELS[:num_models], "corrected", "middle", tuple(cases), counts)


@pytest.fixture
def store(tiny_evaluated: Evaluated, tmp_path: Path) -> Store:
    """Stores made-up attention of some models for all val queries of the synthetic insects."""
    folder = tmp_path / "run"
    shutil.copytree(str(tiny_evaluated.folder), folder)
    evaluated = read_evaluated(str(folder))

    def made(
        models: tuple[str, ...] = MODELS, recipe: str = "corrected", subsets: tuple[str, ...] = SUBSETS
    ) -> Evaluated:
        answers = evaluated.answers("val", "image", "image")
        species = {row["specimen_id"]: row["species"] for row in evaluated.predictions.specimens.to_pylist()}
        rows, outcomes = [], []
        for subset in subsets:
            for turn, number in enumerate(np.flatnonzero(answers.subset == subset).tolist()):
                pattern = PATTERNS[len(models)][turn % len(PATTERNS[len(models)])]
                outcome = " ".join("right" if right else "wrong" for right in pattern)
                outcomes.append({"subset": subset, "outcome": outcome, "queries": 1})
                keys = answers.key_ids[number].tolist()
                rows += [
                    {
                        "specimen_id": answers.ids[number],
                        "partition": "val",
                        "subset": subset,
                        "outcome": outcome,
                        "model": place,
                        "run": models[place],
                        "right": right,
                        "truth": species[answers.ids[number]] or "Genus unknown",
                        "key_id": keys[place % 5],
                        "found": species[keys[place % 5]],
                        "grid_side": 3,
                        "values": np.random.default_rng(number).random(9).tolist(),
                    }
                    for place, right in enumerate(pattern)
                ]
        evaluated.folder.write_table("attention-val.parquet", pa.Table.from_pylist(rows, schema=SCHEMA))
        facts = {"models": list(models), "recipe": recipe, "extent": "middle", "outcomes": outcomes}
        evaluated.folder.write_json("attention-val.json", facts)
        return evaluated

    return made


def test_what_was_stored_is_read(store: Store) -> None:
    evaluated = store()
    stored = read_attention(evaluated, "val")
    rows = evaluated.folder.read_table("attention-val.parquet").to_pylist()
    assert (stored.models, stored.recipe, stored.extent) == (MODELS, "corrected", "middle")
    assert len(stored.cases) == len(rows) / 4
    by_id = {case.specimen_id: case for case in stored.cases}
    for row in rows:
        glance = by_id[row["specimen_id"]].glances[row["model"]]
        assert (glance.right, glance.found, glance.key_id) == (row["right"], row["found"], row["key_id"])
        assert glance.mask.ravel().tolist() == row["values"]
        assert glance.mask.shape == (3, 3)


def test_each_figure_shows_its_outcomes_and_no_others() -> None:
    stored = stored_of()
    fits = {
        11: lambda v: v == (False, False, False, True),
        12: lambda v: sum(v[1:]) >= 2,
        13: lambda v: v == (False, False, False, False),
    }
    for figure, fit in fits.items():
        [group] = groups_of_figure(figure, stored)
        for subset, cases in group.cases.items():
            everything = [case for case in stored.cases if case.subset == subset and fit(case.verdicts)]
            assert len(cases) == min(ROWS_OF_FIGURE, len(everything)) > 0
            assert all(fit(case.verdicts) and case.subset == subset for case in cases)
            assert group.counts[subset] == 10 * len(everything)


def test_figure_5_compares_the_first_model_with_the_last() -> None:
    stored = stored_of()
    groups = groups_of_figure(5, stored)
    titles = [" ".join(group.title.split()) for group in groups]
    assert titles == [
        "Wrong before, right after",
        "Right before, wrong after",
        "Right before and after",
        "Wrong before and after",
    ]
    for group, (first, last) in zip(groups, [(0, 1), (1, 0), (1, 1), (0, 0)], strict=True):
        for cases in group.cases.values():
            assert len(cases) == ROWS_OF_GROUP
            assert all((case.verdicts[0], case.verdicts[-1]) == (first, last) for case in cases)
    counted = sum(sum(group.counts.values()) for group in groups)
    assert counted == sum(stored.counts.values()) == 10 * len(stored.cases)


def test_outcomes_take_turns_where_a_figure_shows_several() -> None:
    [group] = groups_of_figure(12, stored_of())
    assert len({case.verdicts for case in group.cases["unseen"]}) == ROWS_OF_FIGURE


def test_one_model_alone_is_right_or_wrong() -> None:
    stored = stored_of(20, 1)
    assert [group.title for group in groups_of_figure(5, stored)] == ["Right", "Wrong"]


@pytest.mark.parametrize("figure", [5, 11, 12, 13])
@pytest.mark.parametrize("recipe", ["corrected", "authors"])
def test_no_text_covers_another(figure: int, recipe: str, store: Store, tiny_dataset: PreparedDataset) -> None:
    picture = draw_attention(store(recipe=recipe), str(tiny_dataset.folder), figure)
    assert overlaps(picture.figure) == []
    assert records_text(picture.records, "csv").count("\n") == len(picture.records)


def test_one_model_and_one_subset_make_a_small_figure(store: Store, tiny_dataset: PreparedDataset) -> None:
    picture = draw_attention(store(("I+D+T",), subsets=("unseen",)), str(tiny_dataset.folder), 5)
    assert overlaps(picture.figure) == []
    texts = [text.get_text() for text in picture.figure.texts]
    assert "Unseen species" in texts
    assert "Seen species" not in texts
    assert any(text.startswith("SYNTHETIC") for text in texts)


def test_the_csv_holds_every_value_shown() -> None:
    stored = stored_of()
    groups = groups_of_figure(11, stored)
    records = attention_records(groups, stored, "val")
    cases = [case for cases in groups[0].cases.values() for case in cases]
    assert len(records) == len(cases) * len(MODELS)
    values = [float(value) for value in str(records[0]["attention"]).split()]
    np.testing.assert_allclose(values, cases[0].glances[0].mask.ravel(), atol=5e-4)
    assert [record["model"] for record in records[:4]] == list(MODELS)


@pytest.mark.parametrize("recipe", ["corrected", "authors"])
def test_an_overlay_is_bright_where_attention_is(recipe: str) -> None:
    picture = np.full((30, 30, 3), 120, dtype=np.uint8)
    mask = np.zeros((3, 3), dtype=np.float32)
    mask[0, 2] = 1
    found = overlaid(picture, mask, recipe)
    assert found.shape == (30, 30, 3)
    assert int(found[2, 27, 0]) > int(found[27, 2, 0]) + 60  # red rises with attention in both scales
    np.testing.assert_array_equal(overlaid(picture, mask.T, recipe), found.transpose(1, 0, 2))


def test_what_cannot_be_drawn_says_why(store: Store, tiny_dataset: PreparedDataset) -> None:
    data = str(tiny_dataset.folder)
    with pytest.raises(MissingPathError, match="clibd attention RUN --data DIR --partition test"):
        draw_attention(store(), data, 5, "test")
    run = store().folder
    (run / "evaluation-beetles").write_json("attention-test.json", {})
    with pytest.raises(MissingPathError, match=r"There is some in .*/evaluation-beetles"):
        draw_attention(read_evaluated(str(run)), data, 5, "test")
    with pytest.raises(UsageError, match="figure 7 does not show attention; 5, 11, 12, 13 do"):
        draw_attention(store(), data, 7)
    with pytest.raises(UsageError, match="compares 3 models at least"):
        draw_attention(store(("No align", "I+D+T")), data, 12)
    evaluated = store()
    table = evaluated.folder.read_table("attention-val.parquet")
    evaluated.folder.write_table("attention-val.parquet", table.slice(0, 4))
    with pytest.raises(UsageError, match="no query that was stored fits figure 13"):
        draw_attention(evaluated, data, 13)


def test_damaged_files_are_named(store: Store) -> None:
    evaluated = store()
    facts = json.loads(evaluated.folder.read("attention-val.json"))
    evaluated.folder.write_json("attention-val.json", {name: facts[name] for name in facts if name != "models"})
    with pytest.raises(DamagedError, match="attention-val"):
        read_attention(evaluated, "val")
    store()
    table = evaluated.folder.read_table("attention-val.parquet")
    evaluated.folder.write_table("attention-val.parquet", table.slice(1))
    with pytest.raises(DamagedError, match="attention-val"):
        read_attention(evaluated, "val")
