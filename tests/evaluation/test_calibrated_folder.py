"""What a calibrated and fused evaluation leaves: measurements, a sheet, a figure and a page, none of them a paper's."""

from pathlib import Path

import numpy as np
import pytest

from results.calibrated import traced
from results.dashboard.catalog import Catalog
from results.evaluated import read_evaluated
from results.figures.calibration import draw_calibration
from results.figures.picture import FigureChoice
from results.measured import evaluation_sheet
from results.run import Measured
from tests.dashboard.showing import shown
from tests.evaluation.open_set_cases import specimens
from workloads.errors import UsageError
from workloads.evaluation.embedded import KEYS, Embedded
from workloads.evaluation.evaluate import Questions
from workloads.evaluation.fusion import Fusing
from workloads.evaluation.measure import measure_embedded
from workloads.evaluation.trained_on import Beside
from workloads.experiments import Data, base_spec
from workloads.record import Measurement, RunFolder
from workloads.storage import Folder

ABOUT = {
    "model": "CLIBD",
    "dataset": "insects",
    "data_fingerprint": "0",
    "synthetic": True,
    "aligned": ["image", "dna"],
}
PAIRS = [("image", "dna"), ("dna", "dna")]
ASKED = Questions(keys=("all", "calibrated", "csls"), pairs=PAIRS, fusing=Fusing("mean"))


def unit_rows(embedded: Embedded) -> Embedded:
    """Without rows of zeros, which ask nothing."""
    rows = {name: own + np.float32(0.25) for name, own in embedded.rows.items()}
    rows = {name: own / np.linalg.norm(own, axis=1, keepdims=True) for name, own in rows.items()}
    return Embedded(embedded.ids, embedded.split, embedded.labels, rows, embedded.lacking)


def parts() -> dict[str, Embedded]:
    made = {KEYS: specimens("key", 3, 20, 15), "val": specimens("val", 1, 20, 20), "test": specimens("test", 2, 20, 20)}
    return {name: unit_rows(own) for name, own in made.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, measured so."""
    data = Data(name="insects", fingerprint="0-64", synthetic=True, modalities=("image", "dna"))
    spec = base_spec("small", data, seed=42)
    run = RunFolder(Folder(tmp_path_factory.mktemp("calibrated") / "train" / spec.id))
    run.begin(spec, {"row": {}, "label": "", "scale": "small"}, {})
    measure_embedded(run.folder, parts(), ASKED, {**ABOUT, "run": run.id, "recipe": "corrected"}, Beside())
    run.finish("finished")
    return run


def of(rows: list[Measurement], keys: str, query: str = "image", key: str = "dna") -> list[Measurement]:
    return [row for row in rows if (row.keys, row.query, row.key) == (keys, query, key)]


def test_calibrated_rows_stand_beside_those_of_all_keys_and_change_none(run: RunFolder, tmp_path: Path) -> None:
    rows = run.measurements()
    alone = Folder(tmp_path)
    plain = measure_embedded(alone, parts(), Questions(pairs=PAIRS), {**ABOUT, "run": run.id}, Beside())
    kept = [row for row in rows if row.keys == "all" and "+" not in row.query + row.key]
    assert sorted(map(repr, kept)) == sorted(map(repr, plain))
    told = run.folder.read_json("evaluation.json")
    for pair in told["constants"]:
        query, key = pair.split(" to ")
        [reached] = [
            row.value
            for row in of(rows, "calibrated", query, key)
            if (row.method, row.partition, row.level, row.average, row.species, row.metric)
            == ("clibd", "val", "species", "macro", "harmonic_mean", "top1")
        ]
        assert told["constants"][pair]["harmonic_mean"] == pytest.approx(reached, abs=1e-12)
    assert "constants" not in alone.read_json("evaluation.json")


def test_tables_of_the_paper_take_no_calibrated_row(run: RunFolder) -> None:
    where = {"method": "clibd", "query": "image", "key": "dna", "partition": "test", "level": "species"}
    found = Measured(run.measurement_table()).find({**where, "average": "macro", "species": "seen", "metric": "top1"})
    assert found is not None
    assert found.keys == "all"
    assert Measured(run.measurement_table()).find({**where, "keys": "calibrated"}) is None
    assert Measured(run.measurement_table()).find({"query": "image+dna", "key": "dna"}) is not None


def test_the_sheet_says_what_was_taken_off_and_what_was_fused(run: RunFolder) -> None:
    about = run.folder.read_json("evaluation.json")
    sheet = evaluation_sheet(about, run.measurements(), full=False)
    text = " ".join(sheet.about)
    assert "Calibrated, image to dna: keys of seen species" in text
    assert "not the paper's protocol" in text
    assert "image+dna, by mean: of keys 35 specimens have both, 0 an image and 0 a barcode alone" in text
    rows = {(cell.row["retrieval"], cell.row["keys"]) for cell in sheet.cells}
    assert {("image to dna", "calibrated"), ("image to dna", "csls"), ("image+dna to image+dna", "all")} <= rows


def test_the_figure_has_both_curves_with_the_chosen_constant_on_them(run: RunFolder) -> None:
    evaluated = read_evaluated(run.folder)
    picture = draw_calibration(evaluated, FigureChoice())
    assert picture.synthetic
    chosen = {row["partition"]: row for row in picture.records if row["chosen"]}
    told = evaluated.facts["constants"]["image to dna"]
    assert chosen["val"]["constant"] == told["value"]
    assert chosen["val"]["harmonic_mean"] == pytest.approx(told["harmonic_mean"], abs=1e-6)
    measured = {
        (row.partition, row.species): row.value
        for row in of(run.measurements(), "calibrated")
        if (row.level, row.average, row.metric, row.method) == ("species", "macro", "top1", "clibd")
    }
    assert chosen["test"]["seen"] == pytest.approx(measured["test", "seen"], abs=1e-6)
    assert chosen["test"]["unseen"] == pytest.approx(measured["test", "unseen"], abs=1e-6)
    with pytest.raises(UsageError, match="--keys calibrated"):
        draw_calibration(evaluated, FigureChoice(query="text"))


def test_the_page_shows_the_curve_and_only_pairs_that_have_one(run: RunFolder) -> None:
    catalog = Catalog(Folder(Path(run.folder.address).parents[1]))
    words = shown(catalog, "calibration", run.id)
    assert "chosen on validation" in words
    evaluated = read_evaluated(run.folder)
    [val, test] = traced(evaluated.predictions, evaluated.facts, ("image", "dna"), "here")
    assert (val.partition, test.partition) == ("val", "test")
    assert f"area {100 * val.area:.1f} %" in words
    assert f"calibration/{run.id}" in shown(catalog, "run", run.id).replace("%2B", "+")
    assert "--keys calibrated" in shown(catalog, "calibration", run.id, status=404, pair="text-dna")
