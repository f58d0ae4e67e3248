"""Makes evaluated folders of made-up answers, and looks for texts of a figure that cover one another."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from results.evaluated import EvaluatedFolder, read_evaluated
from workloads.experiments import Data, base_spec
from workloads.predictions import MISSING, Answers, Place, Predictions, prediction_table, specimen_table
from workloads.record import EVALUATION, Measurement, RunFolder, measurements_to_table
from workloads.shown import SHOWN
from workloads.spec import RANKS
from workloads.storage import Folder

PATTERNS = {
    1: [(True,), (False,)],
    2: [(False, True), (True, False), (True, True), (False, False)],
    4: [(False, False, False, True), (False,) * 4, (False, False, True, True), (True, False, False, False)],
}
"""Verdicts that queries have in turn, by the number of models."""

Row = dict[str, str | None]
"""A specimen: specimen_id, split and its name at every rank."""

PAIRS = [(query, key) for query in ("image", "dna") for key in ("image", "dna", "text")]


def made_up_rows(count: int = 130, seed: int = 1) -> list[Row]:
    """Specimens of 24 species, of which the odd ones are unseen; some lack names."""
    chance = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(count):
        species = int(min(chance.geometric(0.12), 24)) - 1
        names: Row = {rank: f"{rank} {species // step}" for rank, step in zip(RANKS, (8, 4, 2, 1), strict=True)}
        kept: Row = {rank: name if chance.random() < 0.93 else None for rank, name in names.items()}
        kind = "unseen" if species % 2 else "seen"
        split = [f"val_{kind}", "val_unseen_keys" if species % 2 else "seen_keys", f"test_{kind}"][
            int(chance.choice(3))
        ]
        rows.append({"specimen_id": f"s{number}", "split": split, **kept})
    return rows


def _accuracies(answers: Answers) -> list[Measurement]:
    found = []
    for rank in RANKS:
        for subset in ("seen", "unseen"):
            chosen = (answers.subset == subset) & (answers.truth[rank] != MISSING)
            hits, truth = answers.hits(rank)[chosen], answers.truth[rank][chosen]
            if not chosen.any():
                continue
            macro = [hits[truth == code].mean() for code in np.unique(truth)]
            for average, values in (("micro", hits), ("macro", macro)):
                place = answers.place
                found.append(
                    Measurement(
                        partition=place.partition,
                        average=average,
                        level=rank,
                        query=place.query,
                        key=place.key,
                        species=subset,
                        value=float(np.mean(values)),
                        count=len(values),
                    )
                )
    return found


def write_evaluated(
    folder: Path,
    rows: Sequence[Row],
    *,
    seed: int = 42,
    dataset: str = "insects",
    synthetic: bool = False,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    fingerprint: str = "0-64",
    shown: pa.Table | None = None,
) -> EvaluatedFolder:
    """Writes a run folder whose embeddings are noise about a centre for each species, and what is nearest in them."""
    chance = np.random.default_rng(seed)
    centre = {row["species"]: np.random.default_rng(number).normal(size=8) for number, row in enumerate(rows)}
    embedded = {
        modality: np.stack([centre[row["species"]] + chance.normal(size=8) for row in rows]).astype(np.float32)
        for modality in ("image", "dna", "text")
    }
    embedded = {name: e / np.linalg.norm(e, axis=1, keepdims=True) for name, e in embedded.items()}
    features = {**embedded, "species_text": embedded["text"]}
    columns = {name: [row[name] for row in rows] for name in ("specimen_id", "split", *RANKS)}
    splits = np.array(columns["split"])
    ids = np.array(columns["specimen_id"], dtype=object)
    labels: dict[str, npt.NDArray[np.object_]] = {rank: np.array(columns[rank], dtype=object) for rank in RANKS}
    keys = np.flatnonzero([str(split).endswith("keys") for split in splits])
    run = RunFolder(Folder(folder))
    data = Data(name=dataset, fingerprint=fingerprint, synthetic=synthetic, modalities=("image", "dna", "text"))
    run.begin(base_spec("small", data, seed=seed), {"row": {}, "label": "", "scale": "small"}, {})
    tables = []
    for partition in ("val", "test"):
        asking = np.flatnonzero([split in (f"{partition}_seen", f"{partition}_unseen") for split in splits])
        _write_embeddings(run.folder, partition, asking, columns, embedded)
        subset = np.array([str(split).split("_")[1] for split in splits[asking]], dtype=object)
        for query, key in pairs:
            cosines = features[query][asking] @ features[key][keys].T
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :5]
            found = np.take_along_axis(cosines, order, axis=1)
            place = Place(partition, query, key)
            tables.append(prediction_table(place, ids[asking], subset, ids[keys][order], found))
    predictions = Predictions(pa.concat_tables(tables), specimen_table(ids, splits, labels))
    predictions.write(run.folder)
    measured = [row for place in predictions.places for row in _accuracies(predictions.answers(place))]
    run.folder.write_table("measurements.parquet", measurements_to_table(measured))
    facts = {"dataset": dataset, "data_fingerprint": fingerprint, "synthetic": synthetic}
    run.folder.write_json(EVALUATION, {**facts, "recipe": "corrected", "missing_rank": "left_out"})
    if shown is not None:
        run.folder.write_table(SHOWN, shown)
    run.finish("finished")
    return read_evaluated(Folder(folder))


def _write_embeddings(
    folder: Folder,
    name: str,
    chosen: npt.NDArray[np.intp],
    columns: dict[str, list[str | None]],
    embedded: dict[str, npt.NDArray[np.float32]],
) -> None:
    table = {column: pa.array([values[place] for place in chosen], pa.string()) for column, values in columns.items()}
    for modality, rows in embedded.items():
        table[modality] = pa.FixedSizeListArray.from_arrays(pa.array(rows[chosen].ravel()), rows.shape[1])
    (folder / "embeddings").write_table(f"{name}.parquet", pa.table(table))


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover one another, and texts that leave the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = {id(text): text for text in figure.findobj(Text) if text.get_text() and text.get_visible()}
    boxes = [(text, text.get_window_extent(canvas.get_renderer())) for text in found.values()]
    whole = figure.bbox
    outside = [text for text, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > whole.x1 or b.y1 > whole.y1]
    pairs = [
        (a.get_text(), b.get_text())
        for (a, first), (b, second) in combinations(boxes, 2)
        # Boxes around slanting texts meet although their letters do not.
        if first.overlaps(second) and not (a.get_rotation() % 90 and b.get_rotation() % 90)
    ]
    return [(text.get_text(), "edge") for text in outside] + pairs


def store_attention(
    evaluated: EvaluatedFolder,
    models: tuple[str, ...],
    recipe: str = "corrected",
    subsets: tuple[str, ...] = ("seen", "unseen"),
) -> EvaluatedFolder:
    """Stores made-up attention of some models for all val queries, which have every outcome in turn."""
    from workloads.measuring.attention_folder import SCHEMA  # which brings torch

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
