"""A batch and epochs that suit the data set, and what a collapsed run says of itself."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from workloads.experiments import Data, experiment_spec
from workloads.models.build import TowerInputs, build_model
from workloads.record import RunFolder
from workloads.spec import RANK_WEIGHTS, ExperimentSpec
from workloads.storage import Folder
from workloads.training.report import collapse_words
from workloads.training.sizing import (
    FEATURE_BATCHES,
    FEWEST_BATCHES,
    FEWEST_STEPS,
    LARGEST_FEATURE_BATCH,
    fitted,
    sizing_words,
)

DATA = Data(name="d", fingerprint="0", synthetic=False, modalities=("image", "dna", "text"))
SMALL = experiment_spec("align", "small", DATA)
PAPER = experiment_spec("align", "paper", DATA)


@pytest.mark.parametrize("spec", [SMALL, PAPER])
@pytest.mark.parametrize("num_specimens", [2, 15, 16, 40, 192, 1490, 8000, 1_100_000])
def test_any_number_of_specimens_gives_whole_batches_and_enough_steps(spec: ExperimentSpec, num_specimens: int) -> None:
    own = fitted(spec, num_specimens)
    steps = num_specimens // own.batch_size
    assert steps >= min(FEWEST_BATCHES, max(1, num_specimens // 16))
    assert own.batch_size <= spec.batch_size
    assert steps * own.epochs >= FEWEST_STEPS
    assert own.epochs >= spec.epochs


def test_what_the_scale_has_stays_where_the_data_set_is_large_enough() -> None:
    assert fitted(SMALL, 10_000) == SMALL
    assert fitted(PAPER, 1_000_000) == PAPER


def test_what_was_chosen_stays() -> None:
    own = fitted(replace(PAPER, batch_size=100), 192, {"batch_size"})
    assert (own.batch_size, own.epochs) == (100, FEWEST_STEPS)
    own = fitted(replace(PAPER, epochs=3), 192, {"epochs"})
    assert (own.batch_size, own.epochs) == (24, 3)
    assert fitted(PAPER, 1) == PAPER  # which is refused with its reason when the batches are cut


FEATURES = experiment_spec("align", "small", replace(DATA, image_features=True))


def test_few_features_and_barcodes_are_met_beside_what_they_are_and_drawn_weights_learn_in_fp32() -> None:
    own = fitted(FEATURES, 1490)
    assert (own.image.hidden, own.dna.kind, own.dna.hidden, own.bind_to) == ("residual", "kmers", "residual", "dna")
    assert (own.positives, own.precision, own.dna.strand) == ("ranks", "fp32", "both")
    assert own.image.noise > 0 < own.dna.kept
    assert (own.batch_size, own.epochs) == (1490 // FEATURE_BATCHES, FEWEST_STEPS // FEATURE_BATCHES)
    build_model(own, TowerInputs(image_feature_size=768, vocabulary_size=99))
    pixels = fitted(SMALL, 1490)
    assert replace(pixels, batch_size=SMALL.batch_size, epochs=SMALL.epochs, precision="bf16") == SMALL
    many = fitted(FEATURES, 100_000)
    assert (many.image, many.batch_size, many.epochs) == (own.image, LARGEST_FEATURE_BATCH, FEATURES.epochs)


def test_what_a_small_set_needs_gives_way_to_what_was_chosen() -> None:
    assert fitted(FEATURES, 1490, {"precision"}).precision == "bf16"
    for name in ("positives", "max_learning_rate", "bind_to"):
        assert getattr(fitted(FEATURES, 1490, {name}), name) == getattr(FEATURES, name)
    for name in ("image.depth", "dna.kind", "embedding_size"):
        own = fitted(FEATURES, 1490, {name})
        assert (own.image, own.dna, own.batch_size) == (FEATURES.image, FEATURES.dna, 1490 // 8)
    assert fitted(FEATURES, 1490, {"positives"}).rank_weights == RANK_WEIGHTS
    assert fitted(FEATURES, 1490, any_named=False).positives == "specimen"
    begun = replace(FEATURES, image=replace(FEATURES.image, weights="run:other"))
    published = replace(FEATURES, recipe="paper")
    for spec in (begun, published):
        own = fitted(spec, 1490)
        assert (own.image, own.dna, own.precision) == (spec.image, spec.dna, "bf16")


def test_the_choice_is_said_with_the_options_that_change_it() -> None:
    said = sizing_words(fitted(SMALL, 192), 192, SMALL)
    counts = "192 specimens train: 8 batches of 24 (--batch-size) an epoch, 75 epochs (--epochs), 600 steps in all"
    assert said == f"{counts}; what suits them: fp32 (--set precision=bf16)"
    said = sizing_words(fitted(FEATURES, 1490), 1490, FEATURES)
    assert "beside counts of 5-mers (--set dna.kind=barcodebert), positives by ranks (--set positives=specimen)" in said


@pytest.mark.parametrize(("share", "collapsed"), [(1.0, True), (0.98, True), (0.9, False), (0.1, False)])
def test_a_run_whose_embeddings_are_all_alike_says_so_with_a_remedy(
    tmp_path: Path, share: float, collapsed: bool
) -> None:
    run = RunFolder(Folder(tmp_path / "run"))
    run.begin(replace(SMALL, batch_size=32), {}, {"commit": None})
    for loss in (3.0, share * math.log(32)):
        line = f'{{"event": "epoch", "epoch": 0, "step": 1, "loss": {loss}}}\n'
        run.folder.write("events.jsonl", line.encode())
    said = " ".join(collapse_words(run))
    assert ("all alike (3.47)" in said, "--set max_learning_rate=0.0003" in said) == (collapsed, collapsed)
