"""Charts as data, words and a table of numbers."""

import json
import re

from results.dashboard.charts import (
    MOST_POINTS,
    Axis,
    Chart,
    Line,
    More,
    Series,
    bars,
    lines,
    parallel,
    scatter,
    thinned,
)
from results.dashboard.page import Asked
from results.dashboard.site.rendering import environment_of
from tests.dashboard.showing import words_of

_LOSS = Axis(title="Training loss")
_EPOCH = Axis(title="Epoch")


def _drawn(chart: Chart) -> str:
    template = environment_of().from_string(
        '{% from "charts.html.j2" import chart with context %}{{ chart(one, "/run-log/a") }}'
    )
    return template.render(one=chart, link_to=_path, renewing=False)


def _path(asked: Asked) -> str:
    return asked.path


def test_a_chart_says_what_it_shows() -> None:
    chart = lines("Loss", _EPOCH, _LOSS, [Series(name="loss", x=[1, 2, 3], y=[3.0, None, 1.25])])
    words = words_of(_drawn(chart))
    assert chart.summary == "loss: from 3 at 1 to 1.25 at 3, least 1.25, most 3."
    assert "3 1.25" in words
    assert "2 –" not in words  # what is missing has no row


def test_shares_are_percent_in_words_and_shares_in_data() -> None:
    axis = Axis(title="Accuracy (%)", share=True)
    series = Series(name="seen", x=["order", "species"], y=[0.5, 0.25], low=[0.4, 0.2], high=[0.6, 0.3])
    chart = bars("By rank", Axis(title="Rank"), axis, [series])
    assert "order 50.0 40.0 60.0" in words_of(_drawn(chart))
    assert chart.data(_path)["series"][0]["low"] == [0.4, 0.2]
    assert [name for name, _ in chart.heads] == ["Rank", "Accuracy (%)", "Low", "High"]


def test_hostile_names_are_text() -> None:
    name = "</script><b>\u202e{{7*7}}"
    html = _drawn(scatter(name, _EPOCH, _LOSS, [Series(name=name, x=[1], y=[2.0], words=[name])]))
    assert "<b>" not in html
    assert "\u202e" not in html
    [told] = re.findall(r'<script type="application/json">(.*)</script>', html)
    assert json.loads(told)["series"][0]["words"] == ["</script><b>\\u202e{{7*7}}"]


def test_many_points_keep_their_extremes() -> None:
    y = [0.0] * 50_000
    y[12_345], y[40_000] = 7.0, -3.0
    kept = thinned(Series(name="norm", x=list(range(50_000)), y=y))
    assert len(kept.y) <= MOST_POINTS + 2
    assert {7.0, -3.0} <= set(kept.y)
    assert kept.x[list(kept.y).index(7.0)] == 12_345
    chart = lines("Norm", _EPOCH, _LOSS, [Series(name="norm", x=list(range(50_000)), y=y)])
    assert "50,000 of norm" in words_of(_drawn(chart))
    assert len(chart.rows) <= 200


def test_parallel_lines_have_a_scale_each() -> None:
    runs = [
        Line(name="a", group="finished", values={"batch_size": 500, "lora": True}, link=Asked("run", "a")),
        Line(name="b", group="failed", values={"batch_size": 2000, "lora": None}),
    ]
    chart = parallel("Fields", ["batch_size", "lora"], runs)
    assert chart.ticks == (("batch_size", "500", "2000"), ("lora", "yes"))
    assert [one.y for one in chart.series] == [[0.0, 0.5, None], [1.0, None, None]]
    assert "/run/a" in _drawn(chart)


def test_a_live_chart_says_where_more_comes_from() -> None:
    more = More(run="a", name="run-log-a", after=3, mark="9f", x="epoch")
    chart = lines("Loss", _EPOCH, _LOSS, [Series(name="loss", x=[1], y=[1.0], column="loss")], more=more)
    assert 'data-more="/run-log/a" data-run="a" data-after="3"' in _drawn(chart)
    assert chart.data(_path)["more"] == "run-log-a"
    assert not lines("Loss", _EPOCH, _LOSS, []).data(_path)["series"]
