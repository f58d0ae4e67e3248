"""Figures 5 and 11 to 13: which queries each shows, and how they look."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from results.evaluated import EvaluatedFolder, read_evaluated
from results.figures.attention_cases import (
    ROWS_OF_FIGURE,
    ROWS_OF_GROUP,
    SUBSETS,
    AttentionFigure,
    Glance,
    StoredAttention,
    groups_of_figure,
    overlaid,
    read_attention,
)
from results.figures.attention_maps import draw_attention
from results.figures.picture import FigureChoice
from results.sheet import records_text
from tests.results.figures.made_up import overlaps, store_attention
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.storage import Folder

MODELS = ("No align", "I+T", "I+D", "I+D+T")
Store = Callable[..., EvaluatedFolder]


def verdicts(case: tuple[Glance, ...]) -> tuple[bool, ...]:
    """Which models were right."""
    return tuple(glance.right for glance in case)


def stored_of(count: int = 200, num_models: int = 4) -> StoredAttention:
    """Made-up attention of made-up queries, which have every outcome in turn; ten queries stand behind each."""
    chance = np.random.default_rng(5)
    patterns = list(product((True, False), repeat=num_models))
    cases, counts = [], dict[tuple[str, tuple[bool, ...]], int]()
    for number in range(count):
        subset, pattern = SUBSETS[number % 2], patterns[number // 2 % len(patterns)]
        masks = chance.random((num_models, 3, 3)).astype(np.float32)
        pairs = zip(pattern, masks, strict=True)
        seen = (Glance(f"q{number}", subset, "Genus a", right, "Genus b", "k", mask) for right, mask in pairs)
        cases.append(tuple(seen))
        counts[subset, pattern] = counts.get((subset, pattern), 0) + 10
    return StoredAttention(MODELS[:num_models], "corrected", "middle", tuple(cases), counts)


@pytest.fixture
def store(tiny_evaluated: EvaluatedFolder, tmp_path: Path) -> Store:
    """Stores made-up attention of some models for all val queries of the synthetic insects."""
    folder = tmp_path / "run"
    shutil.copytree(str(tiny_evaluated.folder), folder)
    evaluated = read_evaluated(Folder(folder))

    def made(
        models: tuple[str, ...] = MODELS, recipe: str = "corrected", subsets: tuple[str, ...] = SUBSETS
    ) -> EvaluatedFolder:
        return store_attention(evaluated, models, recipe, subsets)

    return made


def test_what_was_stored_is_read(store: Store) -> None:
    evaluated = store()
    stored = read_attention(evaluated, "val")
    rows = evaluated.folder.read_table("attention-val.parquet").to_pylist()
    assert (stored.models, stored.recipe, stored.extent) == (MODELS, "corrected", "middle")
    assert len(stored.cases) == len(rows) / 4
    by_id = {case[0].specimen_id: case for case in stored.cases}
    for row in rows:
        glance = by_id[row["specimen_id"]][row["model"]]
        assert (glance.right, glance.found, glance.key_id) == (row["right"], row["found"], row["key_id"])
        assert glance.mask.ravel().tolist() == row["values"]
        assert glance.mask.shape == (3, 3)


def test_each_figure_shows_its_outcomes_and_no_others() -> None:
    stored = stored_of()
    fits: dict[AttentionFigure, Callable[[tuple[bool, ...]], bool]] = {
        11: lambda v: v == (False, False, False, True),
        12: lambda v: sum(v[1:]) >= 2,
        13: lambda v: v == (False, False, False, False),
    }
    for figure, fit in fits.items():
        [group] = groups_of_figure(figure, stored)
        for subset, cases in group.cases.items():
            everything = [case for case in stored.cases if case[0].subset == subset and fit(verdicts(case))]
            assert len(cases) == min(ROWS_OF_FIGURE, len(everything)) > 0
            assert all(fit(verdicts(case)) and case[0].subset == subset for case in cases)
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
            assert all((case[0].right, case[-1].right) == (first, last) for case in cases)
    counted = sum(sum(group.counts.values()) for group in groups)
    assert counted == sum(stored.counts.values()) == 10 * len(stored.cases)


def test_outcomes_take_turns_where_a_figure_shows_several() -> None:
    [group] = groups_of_figure(12, stored_of())
    assert len({verdicts(case) for case in group.cases["unseen"]}) == ROWS_OF_FIGURE


def test_one_model_alone_is_right_or_wrong() -> None:
    stored = stored_of(20, 1)
    assert [group.title for group in groups_of_figure(5, stored)] == ["Right", "Wrong"]


@pytest.mark.parametrize("figure", [5, 11, 12, 13])
@pytest.mark.parametrize("recipe", ["corrected", "authors"])
def test_no_text_covers_another(
    figure: AttentionFigure, recipe: str, store: Store, tiny_dataset: PreparedDataset
) -> None:
    picture = draw_attention(store(recipe=recipe), FigureChoice(data=str(tiny_dataset.folder)), figure)
    assert overlaps(picture.figure) == []
    assert records_text(picture.records, "csv").count("\n") == len(picture.records)


def test_one_model_and_one_subset_make_a_small_figure(store: Store, tiny_dataset: PreparedDataset) -> None:
    picture = draw_attention(store(("I+D+T",), subsets=("unseen",)), FigureChoice(data=str(tiny_dataset.folder)))
    assert overlaps(picture.figure) == []
    texts = [text.get_text() for text in picture.figure.texts]
    assert "Unseen species" in texts
    assert "Seen species" not in texts
    assert any(text.startswith("SYNTHETIC") for text in texts)


def test_the_csv_holds_every_value_shown(store: Store, tiny_dataset: PreparedDataset) -> None:
    evaluated = store()
    picture = draw_attention(evaluated, FigureChoice(data=str(tiny_dataset.folder)), 11)
    [group] = groups_of_figure(11, read_attention(evaluated, "val"))
    cases = [case for cases in group.cases.values() for case in cases]
    assert len(picture.records) == len(cases) * len(MODELS)
    values = [float(value) for value in str(picture.records[0]["attention"]).split()]
    np.testing.assert_allclose(values, cases[0][0].mask.ravel(), atol=5e-4)
    assert [record["model"] for record in picture.records[:4]] == list(MODELS)


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
    choice = FigureChoice(data=str(tiny_dataset.folder))
    with pytest.raises(MissingPathError, match="clibd attention RUN --data DIR --partition test"):
        draw_attention(store(), replace(choice, partition="test"))
    run = store().folder
    (run / "evaluation-beetles").write_json("attention-test.json", {})
    with pytest.raises(MissingPathError, match="/evaluation-beetles"):
        draw_attention(read_evaluated(run), replace(choice, partition="test"))
    with pytest.raises(UsageError, match="3 models"):
        draw_attention(store(("No align", "I+D+T")), choice, 12)
    evaluated = store()
    table = evaluated.folder.read_table("attention-val.parquet")
    evaluated.folder.write_table("attention-val.parquet", table.slice(0, 4))
    with pytest.raises(UsageError, match=r"no query .* figure 13"):
        draw_attention(evaluated, choice, 13)


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
