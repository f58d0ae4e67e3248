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
from results.evaluated import EvaluatedFolder
from results.figures.drawing import FIGURES, draw_figure
from results.figures.picture import FigureChoice
from tests.results.figures.made_up import Row, write_evaluated
from workloads.data.prepared.dataset import PreparedDataset

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
def choices(
    tiny_evaluated: EvaluatedFolder,
    tiny_dataset: PreparedDataset,
    rows: list[Row],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, FigureChoice]:
    """Every figure that an evaluation suffices for, of synthetic insects."""
    run, data = str(tiny_evaluated.folder), str(tiny_dataset.folder)
    sweep = tmp_path_factory.mktemp("sweep")
    for seed in (42, 43):
        write_evaluated(sweep / str(seed), rows, seed=seed, synthetic=True)
    return {
        "3": FigureChoice(runs=(run,), data=data),
        "4": FigureChoice(runs=(run,)),
        "9": FigureChoice(runs=(str(sweep),)),
        "10": FigureChoice(runs=(run,), before=run, partition="test"),
        "confusion": FigureChoice(runs=(run,), rank="species", query="dna"),
    }


@pytest.mark.parametrize("figure", ["3", "4", "9", "10", "confusion"])
def test_every_figure_is_drawn_twice_the_same_and_says_that_its_insects_are_synthetic(
    figure: str, choices: dict[str, FigureChoice], tmp_path: Path
) -> None:
    first = draw_figure(figure, choices[figure], str(tmp_path / "first"))
    second = draw_figure(figure, choices[figure], str(tmp_path / "second"))
    assert [Path(file).suffix for file in first] == [".png", ".svg", ".csv"]
    for a, b in zip(first, second, strict=True):
        assert Path(a).read_bytes() == Path(b).read_bytes()
    assert np.asarray(Image.open(first[0]).convert("L")).std() > 5
    drawing = ElementTree.fromstring(Path(first[1]).read_text(encoding="utf-8"))
    texts = [str(element.text) for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.startswith("SYNTHETIC specimens: ") for text in texts)
    assert any("recipe corrected" in text for text in texts)
    header, *lines = Path(first[2]).read_text(encoding="utf-8").splitlines()
    assert header.endswith(",synthetic")
    assert len(lines) > 3
    assert all(line.endswith(",True") for line in lines)


def test_the_files_lie_in_the_run_and_are_named_by_what_was_chosen(
    made_up: EvaluatedFolder, call: Call, tmp_path: Path
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
        (("4", "RUN", "--partition", "train"), "'train' is not one of"),
        (("4", "RUN", "--rank", "tribe"), "'tribe' is not one of"),
        (("confusion", "RUN", "--subset", "known"), "'known' is no subset; choose seen or unseen"),
        (("10", "RUN", "--within", "a\nb$"), "within 'a b$'; choose another"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_the_way_out(
    words: tuple[str, ...], said: str, made_up: EvaluatedFolder, call: Call, tmp_path: Path
) -> None:
    places = {"RUN": str(made_up.folder), "EMPTY": str(tmp_path)}
    code, out, err = call(*[places.get(word, word) for word in words], "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
