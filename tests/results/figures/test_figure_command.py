"""`clibd-results figure` as a user meets it."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from commands.results import main
from results.figures.drawing import FIGURES, Asked, draw_figure
from results.figures.evaluated import Evaluated
from tests.results.figures.made_up import Row, write_evaluated
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `clibd-results figure` with some words; gives exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clibd-results", "figure", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


@pytest.fixture(scope="session")
def asked(
    tiny_evaluated: Evaluated, tiny_dataset: PreparedDataset, rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Asked]:
    """Every figure that an evaluation suffices for, of synthetic insects."""
    run, data = str(tiny_evaluated.folder), str(tiny_dataset.folder)
    sweep = tmp_path_factory.mktemp("sweep")
    for seed in (42, 43):
        write_evaluated(sweep / str(seed), rows, seed=seed, synthetic=True)
    return {
        "3": Asked(runs=(run,), data=data),
        "4": Asked(runs=(run,)),
        "9": Asked(runs=(str(sweep),)),
        "10": Asked(runs=(run,), before=run, partition="test"),
        "confusion": Asked(runs=(run,), rank="species", query="dna"),
    }


@pytest.mark.parametrize("figure", ["3", "4", "9", "10", "confusion"])
def test_every_figure_is_drawn_twice_the_same_and_says_that_its_insects_are_synthetic(
    figure: str, asked: dict[str, Asked], tmp_path: Path
) -> None:
    first = draw_figure(figure, asked[figure], str(tmp_path / "first"))
    second = draw_figure(figure, asked[figure], str(tmp_path / "second"))
    assert [Path(file).suffix for file in first] == [".png", ".svg", ".csv"]
    for a, b in zip(first, second, strict=True):
        assert Path(a).read_bytes() == Path(b).read_bytes()
    assert np.asarray(Image.open(first[0]).convert("L")).std() > 5
    drawing = ElementTree.fromstring(Path(first[1]).read_text(encoding="utf-8"))
    texts = [str(element.text) for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.startswith("SYNTHETIC specimens: ") for text in texts)
    assert any("recipe corrected" in text for text in texts)
    assert Path(first[2]).read_text(encoding="utf-8").count("\n") > 4


def test_the_files_lie_in_the_run_and_are_named_by_what_was_chosen(
    made_up: Evaluated, call: Call, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(made_up.folder.path, run)
    code, out, err = call("confusion", run, "--rank", "genus", "--subset", "seen", "--partition", "test")
    assert (code, err) == (0, "")
    files = [run / "figures" / f"confusion-test-image-dna-genus-seen.{ending}" for ending in ("png", "svg", "csv")]
    assert out.splitlines() == [str(file) for file in files]
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("7", "RUN"), f"there is no figure '7'; there are {', '.join(FIGURES)}"),
        (("3", "RUN"), "give the prepared data set of insects with --data DIR"),
        (("4", "EMPTY"), "Make one with `clibd evaluate RUN --data DIR`"),
        (("4", "RUN", "RUN"), "of one run, not of 2; figure 9 takes several"),
        (("9", "RUN"), "Train others with `--seed N`"),
        (("5", "RUN", "--data", "EMPTY"), "Store it with `clibd attention RUN"),
        (("confusion", "RUN", "--query", "averaged"), "no val queries by averaged to dna; there are"),
        (("confusion", "RUN", "--subset", "known"), "'known' is no subset; choose seen or unseen"),
        (("10", "RUN", "--within", "a\nb$"), "within 'a b$'; choose another"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_the_way_out(
    words: tuple[str, ...], said: str, made_up: Evaluated, call: Call, tmp_path: Path
) -> None:
    places = {"RUN": str(made_up.folder), "EMPTY": str(tmp_path)}
    code, out, err = call(*[places.get(word, word) for word in words], "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_partition_or_rank_that_is_none_is_refused(made_up: Evaluated) -> None:
    for wrong in ({"partition": "train"}, {"rank": "tribe"}):
        with pytest.raises(UsageError, match=r"is no (partition|rank); choose"):
            draw_figure("4", Asked(runs=(str(made_up.folder),), **wrong))  # type: ignore[arg-type]
