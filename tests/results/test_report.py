"""The report: one page that needs no network and runs nothing of what it shows."""

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from results.paper.report import write_report
from sweeps.point import Point
from workloads.errors import MissingRunsError
from workloads.seals import unseal_run
from workloads.storage import Folder

Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]


class Page(HTMLParser):
    """What a browser would fetch or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.num_scripts = 0
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._raw = tag in ("script", "style")
        self.num_scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "data", "action"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += data


def test_the_report_opens_without_a_network(golden_runs: Folder) -> None:
    location, _ = write_report(golden_runs)
    content = Path(location).read_text()
    page = Page(content)
    assert "Plotly.newPlot" in content
    assert len(content) > 1_000_000, "plotly's own script is in the page"
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert "@import" not in content.split("<script>")[0]
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_the_report_shows_the_numbers_their_runs_and_what_is_synthetic(golden_runs: Folder, amp_points: Amp) -> None:
    page = Page(Path(write_report(golden_runs)[0]).read_text())
    assert "91.0 ± 1.0 (n=2)" in page.text
    assert "SYNTHETIC" in page.text
    for point in amp_points(synthetic=True).values():
        assert point.spec.id in page.ids


def test_a_label_cannot_smuggle_a_script_into_the_report(
    runs: Folder, tmp_path: Path, write_run: Write, amp_points: Amp
) -> None:
    write_run(amp_points()[True], 0.1)
    harmless = Page(Path(write_report(runs, tmp_path / "harmless.html")[0]).read_text())
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    write_run(replace(amp_points()[True], label=evil), 0.1)
    page = Page(Path(write_report(runs, tmp_path / "evil.html")[0]).read_text())
    assert page.num_scripts == harmless.num_scripts
    assert page.handlers == []
    # plotly draws some tags in a curve's name, so none may reach it: it would store one as \\u003cimg.
    assert "\\u003cimg" not in (tmp_path / "evil.html").read_text()
    assert evil in page.text


def test_the_report_goes_where_it_was_asked_to(runs: Folder, tmp_path: Path, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.1)
    assert write_report(runs, tmp_path / "deep" / "page.html")[0] == str(tmp_path / "deep" / "page.html")
    assert write_report(runs)[0] == f"{runs}/report.html"
    assert runs.has("report.html")


def test_without_a_finished_run_there_is_no_report(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.9, state="failed")
    with pytest.raises(MissingRunsError):
        write_report(runs)


def test_control_characters_of_a_name_are_shown_in_the_report(golden_runs: Folder) -> None:
    plain = Path(write_report(golden_runs)[0]).read_text()
    for name in (golden_runs / "amp").folders():
        run = golden_runs / "amp" / name
        unseal_run(run, "point.json")
        run.write_json("point.json", {**run.read_json("point.json"), "label": "a\x1b]0;hi\x07\u202e</script>"})
    page = Path(write_report(golden_runs)[0]).read_text()
    assert "\\x1b]0;hi\\x07\\u202e" in page
    assert page.count("</script>") == plain.count("</script>")
    for unseen in "\x1b\x07\u202e":
        assert page.count(unseen) == plain.count(unseen)  # plotly's own script has some
