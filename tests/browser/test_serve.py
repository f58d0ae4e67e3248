"""`clibd serve` as people use it: drop, paste, look, correct, download; hostile names, keys, phones, no scripts."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from benchmarks.made_up_names import HOSTILE
from clibd.serving.running import served
from tests.browser.conftest import NARROW, WIDE, Reader
from tests.browser.test_axe import _RUN
from tests.browser.test_hostile import _is_harmless
from tests.serving.small_server import SPECIES, barcode, identifier_of, made_database, picture

ONE, OTHER = barcode(0, 1), barcode(3)
_DROP = """([names, contents]) => {
  const held = new DataTransfer(), how = {dataTransfer: held, bubbles: true, cancelable: true};
  names.forEach((name, place) => {
    held.items.add(new File([Uint8Array.from(contents[place])], name, {type: "image/png"}));
  });
  for (const kind of ["dragover", "drop"]) document.getElementById("drop").dispatchEvent(new DragEvent(kind, how));
}"""


@pytest.fixture(scope="module")
def names_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(identifier_of(made_database(tmp_path_factory.mktemp("served") / "db")), port=0) as server:
        yield server.address


@pytest.fixture(scope="module")
def hostile_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    species = [(name, f"{name} f", f"{name} g", f"{name} s") for name in HOSTILE[:12]]
    with served(identifier_of(made_database(tmp_path_factory.mktemp("hostile") / "db", species)), port=0) as server:
        yield server.address


def paste(page: Page, text: str) -> None:
    page.get_by_label("Barcodes, as FASTA").fill(text)
    page.get_by_role("button", name="Identify").click()


def test_dropped_photographs_are_named_beside_the_nearest_specimens(names_served: str, guarded: Page) -> None:
    guarded.goto(names_served)
    guarded.evaluate(_DROP, [["fly.png", "bee.png", "none.png"], [list(picture(2)), list(picture(3)), [1, 2, 3]]])
    expect(guarded.locator("#dropped")).to_contain_text("3 files")
    guarded.get_by_role("button", name="Identify").click()
    answers = guarded.locator(".answer")
    expect(answers).to_have_count(3)
    expect(answers.nth(0).locator("[data-name]")).to_have_text("Musca domestica")
    expect(answers.nth(1).locator("[data-name]")).to_have_text("Apis mellifera")
    expect(answers.nth(2)).to_contain_text("does not decode")
    expect(answers.nth(0).locator("summary img")).to_have_js_property("naturalWidth", 48)
    answers.nth(0).locator("summary").click()
    small = answers.nth(0).locator(".near img").first
    small.scroll_into_view_if_needed()
    expect(small).not_to_have_js_property("naturalWidth", 0)


def test_pasted_barcodes_show_ladders_and_the_bases_that_differ(names_served: str, guarded: Page) -> None:
    guarded.goto(names_served)
    paste(guarded, f">mine\n{barcode(0, 3)}\n>other\n{OTHER}")
    expect(guarded.locator("#count")).to_have_text("2 specimens answered")
    first = guarded.locator(".answer").first
    expect(first.locator("summary")).to_be_focused()
    guarded.keyboard.press("ArrowDown")
    expect(guarded.locator(".answer summary").nth(1)).to_be_focused()
    guarded.keyboard.press("ArrowUp")
    guarded.keyboard.press("Enter")
    expect(first.locator(".ladder .rank")).to_have_text(["order", "family", "genus", "species"])
    expect(first.locator(".ladder .ladder .ladder .ladder .name")).to_have_text("Eristalis tenax")
    expect(first.locator("svg.barcode")).to_have_count(6)
    expect(first.locator(".near > li").nth(1)).to_contain_text(re.compile(r"\b0 of 6\d\d bases differ"))
    expect(first.locator(".near")).to_contain_text("→")


def test_a_correction_is_kept_and_written_into_downloads(names_served: str, guarded: Page) -> None:
    guarded.goto(names_served)
    paste(guarded, f">mine\n{ONE}\n>other\n{OTHER}")
    first, second = guarded.locator(".answer").nth(0), guarded.locator(".answer").nth(1)
    first.locator("summary").click()
    first.get_by_label("or it is").press_sequentially("bombus t")
    option = first.locator("datalist option[value^='Bombus terrestris']")
    expect(option).to_have_count(1)
    first.get_by_label("or it is").fill(str(option.get_attribute("value")))
    expect(first.locator("[data-name]")).to_have_text("Bombus terrestris")
    expect(first.locator("[data-said]")).to_contain_text("The machine had said Eristalis tenax")
    second.locator("summary").click()
    expect(second.locator("[data-validated]")).to_be_hidden()
    second.get_by_role("button", name="It is right").click()
    expect(second.locator("[data-validated]")).to_be_visible()
    with guarded.expect_download() as download:
        guarded.get_by_role("button", name="Darwin Core").click()
    assert download.value.suggested_filename == "identified.dwc.tsv"
    with Path(download.value.path()).open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["scientificName"] for row in rows] == ["Bombus terrestris", "Apis mellifera"]
    assert {row["identificationVerificationStatus"] for row in rows} == {"ValidatedByHuman"}
    guarded.reload()
    paste(guarded, f">mine\n{ONE}")
    again = guarded.locator(".answer").first
    expect(again.locator("[data-name]")).to_have_text("Bombus terrestris")
    again.locator("summary").click()
    again.get_by_role("button", name="Take it back").click()
    expect(again.locator("[data-name]")).to_have_text("Eristalis tenax")
    with guarded.expect_download() as download:
        guarded.get_by_role("button", name="JSON").click()
    (row,) = json.loads(Path(download.value.path()).read_text())
    assert (row["species"], "ValidatedByHuman" in row["flags"]) == ("Eristalis tenax", False)


def test_hostile_names_do_nothing(hostile_served: str, guarded: Page) -> None:
    guarded.goto(hostile_served)
    paste(guarded, "\n".join(f">{HOSTILE[number].replace(chr(10), ' ')}\n{barcode(number)}" for number in range(12)))
    guarded.evaluate(_DROP, [["<img src=x onerror=alert(1)>.png", "a"], [list(picture(1)), [0]]])
    guarded.get_by_role("button", name="Identify").click()
    expect(guarded.locator("#count")).to_contain_text("14 specimens answered")
    guarded.evaluate("() => document.querySelectorAll('.answer details').forEach((one) => (one.open = true))")
    guarded.locator(".answer").first.get_by_label("or it is").press_sequentially("s")
    expect(guarded.locator(".answer").first.locator("option").first).to_have_count(1)
    _is_harmless(guarded)


def test_what_is_too_large_or_nothing_is_a_sentence(names_served: str, guarded: Page) -> None:
    guarded.goto(names_served)
    guarded.get_by_role("button", name="Identify").click()
    expect(guarded.get_by_role("alert")).to_contain_text("nothing to name")
    guarded.evaluate(_DROP, [["large.png"], [[0]]])
    large = "() => {const t = new DataTransfer(); t.items.add(new File([new Uint8Array(1e8)], 'huge.png')); return t}"
    handle = guarded.evaluate_handle(large)
    guarded.dispatch_event("#drop", "drop", {"dataTransfer": handle})
    expect(guarded.get_by_role("alert")).to_contain_text("huge.png has 95 MB; at most 64 MB are read")
    expect(guarded.locator("#dropped")).to_contain_text("1 file")


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_serious_is_found_with_other_senses_or_hands(
    dark: bool, names_served: str, axe: str, reader: Reader
) -> None:
    page = reader(viewport=WIDE if dark else NARROW, color_scheme="dark" if dark else "light", reduced_motion="reduce")
    page.goto(names_served)
    paste(page, f">mine\n{ONE}\n>bad\nJ")
    expect(page.locator(".answer")).to_have_count(2)
    page.locator(".answer summary").first.click()
    page.evaluate(axe)
    assert page.evaluate(_RUN) == []
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    page.goto(f"{names_served}interface")
    page.evaluate(axe)
    assert page.evaluate(_RUN) == []


def test_the_form_works_without_scripts(names_served: str, reader: Reader) -> None:
    page = reader(java_script_enabled=False)
    page.goto(names_served)
    page.get_by_label("Photographs").set_input_files(
        [{"name": "fly.png", "mimeType": "image/png", "buffer": picture(2)}]
    )
    paste(page, ONE)
    expect(page.locator(".answer")).to_have_count(2)
    expect(page.locator("[data-name]")).to_have_text([SPECIES[2][3], SPECIES[0][3]])
    page.locator(".answer summary").nth(1).click()
    expect(page.locator(".answer").nth(1).locator("svg.barcode")).to_have_count(6)
