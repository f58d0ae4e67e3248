"""What all figures share: names as they are drawn, numbers as CSV, and files that are the same bytes each time."""

import io
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from results.figures.ink import shown
from results.figures.picture import Picture, drawn_files, plain_style, sheet
from tests.results.figures.made_up import overlaps

MARKUP = "<b>&amp;$\\frac{1$ _x^"


@plain_style()
def _drawn(title: str = "A title", small_print: str = "insects") -> Picture:
    figure = sheet(6.0, 4.0, title, small_print)
    axes = figure.add_axes((0.15, 0.2, 0.7, 0.6))
    axes.scatter([1, 2], [3, 4], label=MARKUP)
    axes.set_xticks([1, 2], [MARKUP, "b"])
    axes.set_title(MARKUP)
    axes.legend()
    return Picture(figure, [{"name": MARKUP, "value": 0.5}, {"name": "=1+1", "value": None}], True)


@pytest.mark.parametrize(
    ("name", "longest", "expected"),
    [
        ("Aedes aegypti", 13, "Aedes aegypti"),
        ("Aedes aegypti", 12, "Aedes …gypti"),
        ("Aedes aegypti", 5, "Ae…ti"),
        ("a\nb\tc\x00d  e\u202e", 20, "a b c d e"),
        ("", 5, ""),
    ],
)
def test_a_name_is_drawn_on_one_line_and_no_longer_than_allowed(name: str, longest: int, expected: str) -> None:
    assert shown(name, longest) == expected
    assert len(shown(name, longest)) <= longest


def test_the_two_ends_of_every_shortened_name_remain() -> None:
    for longest in range(2, 12):
        short = shown("abcdefghijklmnop", longest)
        head, tail = short.split("…")
        assert len(short) == longest
        assert "abcdefghijklmnop".startswith(head)
        assert "abcdefghijklmnop".endswith(tail)


def test_a_figure_is_a_picture_a_drawing_whose_labels_are_text_and_numbers() -> None:
    drawn = _drawn()
    files = drawn_files(drawn.figure, drawn.records)
    assert list(files) == ["png", "svg", "csv"]
    picture = np.asarray(Image.open(io.BytesIO(files["png"])).convert("L"))
    assert picture.shape == (600, 900)
    assert picture.std() > 5
    drawing = ElementTree.fromstring(files["svg"])
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"A title", "insects", MARKUP, "b"} <= set(texts)
    assert files["csv"].decode() == f"name,value\n{MARKUP},0.5\n'=1+1,\n"


def test_equal_figures_are_equal_files_whatever_the_users_style_and_nothing_tells_the_time() -> None:
    first = _drawn()
    pictures = [drawn_files(first.figure)]
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "another"}):
        second = _drawn()
        pictures.append(drawn_files(second.figure))
        assert matplotlib.rcParams["font.size"] == 20
    assert pictures[0] == pictures[1]
    assert b"<dc:date>" not in pictures[0]["svg"]


@pytest.mark.parametrize("length", [1, 60, 110])
def test_long_titles_and_small_print_stay_on_the_sheet(length: int) -> None:
    title = f"SYNTHETIC specimens: {'w' * length}"
    assert overlaps(sheet(7.0, 4.0, title, " · ".join(["insects in a field"] * (length // 12)))) == []
