"""The 144 settings of zero-shot learning on data of INSECT's size: the published steps for one setting, and our search.

    OMP_NUM_THREADS=1 python -m benchmarks.bzsl

Random features stand for those of INSECT: 21,212 images of 2,048 numbers, 1,213 species of which 121 are unseen, 500
components. Both sides choose among the same species for the same 5,950 queries. Principal components are computed once
in either case; they are counted for ours, and not for the published steps. Each side runs in a process of its own, so
that its peak memory is its own.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.bzsl_likelihoods import model_log_likelihoods
from benchmarks.measuring import publish
from benchmarks.peak_memory import in_own_process, peak_and_seconds
from benchmarks.published_bzsl import estimate, log_likelihoods
from workloads.arrays import Indices
from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.settings import GRID
from workloads.bzsl.species import principal_axes
from workloads.bzsl.task import Partition, ZeroShotTask

NUM_SEEN, NUM_UNSEEN, NUM_OTHER = 1_080, 121, 12
NUM_TRAIN, NUM_TEST_SEEN, NUM_TEST_UNSEEN = 15_262, 3_525, 2_425
FEATURES, SIDE, COMPONENTS = 2_048, 500, 500
SETTING = 77
"""Which of the 144 settings the two sides are compared at."""


def main() -> None:
    """Run both sides in processes of their own, and compare what they found."""
    if len(sys.argv) == 3:
        work(*sys.argv[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        ours = in_own_process("benchmarks.bzsl", "ours", scratch)
        published = in_own_process("benchmarks.bzsl", "published", scratch)
        found = {side: np.load(Path(scratch) / f"{side}.npy") for side in ("ours", "published")}
        chosen = np.load(Path(scratch) / "predictions.npy")
    same = int((found["published"].argmax(axis=1) == chosen).sum())
    figures = {
        "settings": 144,
        "queries": len(chosen),
        "species": found["ours"].shape[1],
        "published_seconds_a_setting": published["seconds"],
        "published_extra_peak_mb": published["extra_peak_mb"],
        "ours_seconds_for_all": ours["seconds"],
        "ours_seconds_without_components": ours["seconds"] - ours["component_seconds"],
        "ours_extra_peak_mb": ours["extra_peak_mb"],
        "ratio": 144 * published["seconds"] / ours["seconds"],
        "equal_predictions": same,
        "largest_log_likelihood_difference": float(np.abs(found["ours"] - found["published"]).max()),
    }
    publish("bzsl", figures)
    if figures["ratio"] < 100 or same < len(chosen) or figures["largest_log_likelihood_difference"] > 1e-8:
        raise SystemExit("the search is less than 100 times as fast, or does not agree")


def work(side: str, scratch: str) -> None:
    """One side in this process; leaves its log-likelihoods at one setting, and prints what it took."""
    features = insect_sized()
    figures = _ours(features, scratch) if side == "ours" else _published(features, scratch)
    print(json.dumps(figures))


def _ours(features: ZeroShotTask, scratch: str) -> dict[str, float]:
    kept: list[tuple[SurrogateModel, Indices]] = []

    def search() -> None:
        model = SurrogateModel(features, features.test, COMPONENTS, "published")
        kept.append((model, model.predict(GRID)))

    figures = peak_and_seconds(search)
    started = time.process_time()
    principal_axes(features.images[features.test.train], COMPONENTS)
    figures["component_seconds"] = time.process_time() - started
    model, predictions = kept[0]
    order = np.argsort(model.candidates)
    places = order[np.searchsorted(model.candidates[order], predictions[SETTING])]
    np.save(f"{scratch}/predictions.npy", places)
    np.save(f"{scratch}/ours.npy", model_log_likelihoods(model, GRID[SETTING]))
    return figures


def _published(features: ZeroShotTask, scratch: str) -> dict[str, float]:
    model = SurrogateModel(features, features.test, COMPONENTS, "published")  # for its components and surrogates only
    axes, members = model.species.axes, model.surrogates(GRID[SETTING].num_surrogates)
    train, asked = (
        images.astype(np.float64) @ axes for images in (features.images[features.test.train], model.queries)
    )
    labels, kept = features.labels[features.test.train], []

    def steps() -> None:
        kept.append(log_likelihoods(estimate(train, labels, members, GRID[SETTING]), asked))

    figures = peak_and_seconds(steps)
    np.save(f"{scratch}/published.npy", kept[0])
    return figures


def insect_sized(seed: int = 0) -> ZeroShotTask:
    """Random features of INSECT's sizes: species are points in 120 dimensions, their images scatter around them."""
    random = np.random.default_rng(seed)
    num_classes = NUM_SEEN + NUM_UNSEEN + NUM_OTHER
    sizes = 2 + random.multinomial(NUM_TRAIN - 2 * NUM_SEEN, random.dirichlet(np.full(NUM_SEEN, 2.0)))
    labels = np.concatenate(
        [
            np.repeat(np.arange(NUM_SEEN), sizes),
            random.integers(0, NUM_SEEN, NUM_TEST_SEEN),
            NUM_SEEN + random.integers(0, NUM_UNSEEN, NUM_TEST_UNSEEN),
        ]
    )
    hidden = random.normal(size=(num_classes, 120))
    spread, mixing = random.normal(size=(120, FEATURES)) / 12, random.normal(size=(FEATURES, FEATURES)) / FEATURES**0.5
    images = hidden[labels] @ spread + random.normal(size=(len(labels), FEATURES)) @ mixing
    side = hidden @ random.normal(size=(120, SIDE)) + random.normal(size=(num_classes, SIDE))
    ends = np.cumsum([NUM_TRAIN, NUM_TEST_SEEN, NUM_TEST_UNSEEN])
    train, seen, unseen = (
        np.arange(end - size, end) for end, size in zip(ends, (NUM_TRAIN, NUM_TEST_SEEN, NUM_TEST_UNSEEN), strict=True)
    )
    partition = Partition(train, seen, unseen, NUM_SEEN + np.arange(NUM_UNSEEN))
    names = tuple(f"species {number}" for number in range(num_classes))
    ids = np.arange(len(labels)).astype(str).astype(object)
    return ZeroShotTask(ids, images.astype(np.float32), labels, names, side.astype(np.float32), partition, partition)


if __name__ == "__main__":
    main()
