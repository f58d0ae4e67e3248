"""axe-core finds nothing serious on any page, in the light and in the dark, wide and narrow."""

import pytest

from results.dashboard.page import Asked
from tests.browser.conftest import NARROW, WIDE, Reader, draw_charts
from tests.browser.test_pages import NAMES

_RUN = """() => axe.run(document, {resultTypes: ["violations"], runOnly: {type: "tag", values:
  ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}})
  .then((found) => found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 4).map((node) => `${node.html.slice(0, 160)} ${node.any
      .map((each) => each.message).join("; ")}`).join(" | ")}`))"""


@pytest.mark.parametrize("name", NAMES)
def test_nothing_serious_is_found(name: str, visits: dict[str, Asked], address: str, axe: str, reader: Reader) -> None:
    page = reader(viewport=NARROW, reduced_motion="reduce")
    page.goto(address + visits[name].path)
    draw_charts(page)
    page.evaluate(axe)  # by the browser's own tools, which no policy of a page hinders
    assert page.evaluate(_RUN) == []
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(WIDE)
    assert page.evaluate(_RUN) == []
