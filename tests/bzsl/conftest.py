"""Small zero-shot problems, and the model written down from its equations with dense matrices, species by species."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from scipy.stats import multivariate_t

from workloads.bzsl.settings import Setting
from workloads.bzsl.species import principal_axes
from workloads.bzsl.task import Partition, ZeroShotTask
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.stored import EmbeddingFacts, write_embedded
from workloads.spec import RANKS
from workloads.storage import Folder

Problem = Callable[..., ZeroShotTask]


def make_problem(
    seed: int = 0, sizes: Sequence[int] = (5, 2, 4, 1, 30, 3, 6, 2, 5), num_unseen: int = 3, num_features: int = 11
) -> ZeroShotTask:
    """Seen species with so many training images each, two seen and three unseen queries a species.

    Validation and test have other queries, and the test has two more training images of the first species.
    """
    random = np.random.default_rng(seed)
    num_seen = len(sizes)
    species = np.arange(num_seen + num_unseen)
    parts = {
        "train": np.repeat(species[:num_seen], sizes),
        "more": np.zeros(2, dtype=np.int64),
        "val_seen": np.repeat(species[:num_seen], 2),
        "val_unseen": np.repeat(species[num_seen:], 3),
        "test_seen": np.repeat(species[:num_seen], 2),
        "test_unseen": np.repeat(species[num_seen:], 3),
    }
    labels = np.concatenate(list(parts.values()))
    ends = np.cumsum([len(part) for part in parts.values()])
    at = {name: np.arange(end - len(part), end) for (name, part), end in zip(parts.items(), ends, strict=True)}
    centres = 1.5 * random.normal(size=(len(species), num_features))
    mixing = random.normal(size=(num_features, num_features)) / 2
    images = centres[labels] + random.normal(size=(len(labels), num_features)) @ mixing
    side = centres @ random.normal(size=(num_features, 4)) + random.normal(size=(len(species), 4)) / 2
    unknown = np.full(len(species), None, dtype=object)
    classes = [f"Genus{number % 4} species{number}" for number in species]
    return ZeroShotTask(
        ids=np.array([f"s{number}" for number in range(len(labels))], dtype=object),
        images=images.astype(np.float32),
        labels=labels,
        classes=tuple(classes),
        side=side.astype(np.float32),
        tuning=Partition(at["train"], at["val_seen"], at["val_unseen"], species[num_seen:]),
        test=Partition(
            np.concatenate([at["train"], at["more"]]), at["test_seen"], at["test_unseen"], species[num_seen:]
        ),
        names=dict.fromkeys(RANKS, unknown)
        | {
            "genus": np.array([name.split()[0] for name in classes], dtype=object),
            "species": np.array(classes, dtype=object),
        },
    )


def nearest_sets(unseen: np.ndarray, seen: np.ndarray, count: int) -> list[list[int]]:
    """The published rule, literally: the last member moves on until no earlier species has the same set."""
    chosen: list[list[int]] = []
    for row in unseen.astype(float):
        order = sorted(range(len(seen)), key=lambda c: (float(np.linalg.norm(row - seen[c].astype(float))), c))
        for last in range(count - 1, len(seen)):
            members = [*order[: count - 1], order[last]]
            if all(set(members) != set(other) for other in chosen):
                break
        else:
            members = order[:count]
        chosen.append(members)
    return chosen


def dense_log_likelihoods(
    features: ZeroShotTask, partition: Partition, setting: Setting, form: str, num_components: int
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates (unseen ones first) and the log-likelihoods of seen and unseen queries under them."""
    train, labels = features.images[partition.train].astype(float), features.labels[partition.train]
    size = features.images.shape[1]
    axes = principal_axes(features.images[partition.train], num_components) if num_components else np.eye(size)
    d = axes.shape[1]
    queries = features.images[np.concatenate([partition.seen, partition.unseen])].astype(float) @ axes
    seen = sorted(set(labels.tolist()))
    groups = {c: (train @ axes)[labels == c] for c in seen}
    means = {c: group.mean(axis=0) for c, group in groups.items()}
    scatters = {
        c: sum((np.outer(x - means[c], x - means[c]) for x in group), np.zeros((d, d))) for c, group in groups.items()
    }
    mu0 = sum(means.values()) / len(seen)
    several = [c for c in seen if len(groups[c]) > 1]
    sigma0 = sum(scatters[c] / (len(groups[c]) - 1) for c in several) / len(several)
    m, k0, k1 = setting.m * d, setting.kappa0, setting.kappa1
    psi = (m - d - 1) / setting.s * sigma0
    columns = []
    sets = nearest_sets(features.side[partition.unseen_classes], features.side[seen], setting.num_surrogates)
    for members in sets:
        own = [seen[place] for place in members]
        kappas = [len(groups[c]) * k1 / (len(groups[c]) + k1) for c in own]
        kappa = (sum(kappas) + k0) * k1 / (sum(kappas) + k0 + k1)
        nu = sum(len(groups[c]) for c in own) - len(own) + m - d + 1
        mean = (sum(k * means[c] for k, c in zip(kappas, own, strict=True)) + k0 * mu0) / (sum(kappas) + k0)
        scale = (psi + sum(scatters[c] for c in own)) * (kappa + 1) / (kappa * nu)
        columns.append(multivariate_t(mean, scale, df=nu).logpdf(queries))
    kappa = k0 * k1 / (k0 + k1)
    for c in seen:
        n, off = len(groups[c]), means[c] - mu0
        nu = n + m - d + 1
        spread = np.outer(off, off) if form == "corrected" else np.full((d, d), off @ off)
        scale = (psi + scatters[c] + n * kappa / (n + kappa) * spread) * (n + kappa + 1) / ((n + kappa) * nu)
        columns.append(multivariate_t((n * means[c] + kappa * mu0) / (n + kappa), scale, df=nu).logpdf(queries))
    return np.array([*partition.unseen_classes.tolist(), *seen]), np.array(columns).T


@pytest.fixture(scope="session")
def problem() -> Problem:
    """Makes a small problem."""
    return make_problem


@pytest.fixture(scope="session")
def dense() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The slow form of the model."""
    return dense_log_likelihoods


@pytest.fixture(scope="session")
def published_sets() -> Callable[[np.ndarray, np.ndarray, int], list[list[int]]]:
    """The published rule of surrogates in loops."""
    return nearest_sets


# Sources


def cells(values: Sequence[str]) -> np.ndarray:
    """A column of MATLAB cells."""
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = list(values)
    return array


def write_small_insect(folder: Path, sizes: Sequence[int] = (4, 5, 6, 7, 8, 4), seed: int = 0) -> dict[str, Any]:
    """INSECT's two MATLAB files: six species in train, three in val, three unseen; gives what is in them."""
    random = np.random.default_rng(seed)
    counts = np.array([*sizes, 4, 4, 4, 3, 3, 3])
    lists: dict[str, list[int]] = {name: [] for name in ("train", "val", "test_seen", "test_unseen")}
    labels = random.permutation(np.concatenate([np.repeat(np.arange(12), counts), np.repeat(np.arange(9), 2)]))
    taken = np.zeros(12, dtype=int)
    for index, label in enumerate(labels.tolist()):
        taken[label] += 1
        asked = "test_unseen" if label > 8 else "test_seen" if taken[label] > counts[label] else None
        lists[asked or ("train" if label < 6 else "val")].append(index + 1)
    random.shuffle(lists["train"])  # the published list is in no order
    centres = 2 * random.normal(size=(12, 10))
    content: dict[str, Any] = {
        "features": (centres[labels] + random.normal(size=(len(labels), 10))).T,
        "labels": (labels + 1).tolist(),
        "ids": [f"BC{index}" for index in range(len(labels))],
        "att": (centres @ random.normal(size=(10, 5))).T,
        "class_names": [f"Genus{label % 3} species{11 - label}" for label in range(12)],
        **{f"{name}_loc": found for name, found in lists.items()},
        "trainval_loc": sorted([*lists["train"], *lists["val"]]),
    }
    folder.mkdir(exist_ok=True, parents=True)
    res101 = {
        "features": content["features"],
        "labels": np.array(content["labels"], dtype=np.uint16)[:, None],
        "ids": cells(content["ids"]),
        "species": cells([content["class_names"][label] for label in labels]),
        "nucleotides": cells(["ACGT"] * len(labels)),
    }
    scipy.io.savemat(folder / "res101.mat", res101)
    locs = {name: np.array([found], dtype=np.float64) for name, found in content.items() if name.endswith("_loc")}
    scipy.io.savemat(folder / "att_splits.mat", {**locs, "att": content["att"]})
    return content


def write_small_run(
    folder: Path, train: bool = False, columns: Sequence[str] = ("image", "dna"), seed: int = 0, size: int = 8
) -> Path:
    """A run's embeddings of BIOSCAN-1M's splits: species `seen 0` to `seen 5`, three of val and three of test."""
    random = np.random.default_rng(seed)
    groups = {"seen": 6, "val": 3, "test": 3}
    species = [f"{group} {number}" for group, count in groups.items() for number in range(count)]
    centres = dict(zip(species, 2 * random.normal(size=(len(species), size)), strict=True))
    parts = {
        "keys": {"seen_keys": 4, "val_unseen_keys": 2, "test_unseen_keys": 2} | ({"train_seen": 5} if train else {}),
        "val": {"val_seen": 2, "val_unseen": 3},
        "test": {"test_seen": 2, "test_unseen": 3},
    }
    embedded = {}
    for part, splits in parts.items():
        rows = [
            (split, name)
            for split, count in splits.items()
            for name in species * count
            if name.startswith("seen" if "unseen" not in split else split.split("_")[0])
        ]
        names = np.array([name for _, name in rows], dtype=object)
        embedded[part] = Embedded(
            ids=np.array([f"{split}-{number}" for number, (split, _) in enumerate(rows)], dtype=object),
            split=np.array([split for split, _ in rows], dtype=object),
            labels={
                "order": np.array(["Diptera"] * len(rows), dtype=object),
                "family": np.array([None] * len(rows), dtype=object),
                "genus": np.array([name.split()[0] for name in names], dtype=object),
                "species": names,
            },
            rows={
                modality: np.array([centres[name] + random.normal(size=size) for name in names], dtype=np.float32)
                for modality in columns
            },
        )
    facts = EmbeddingFacts(
        model="run",
        weights="0",
        dataset="bioscan_1m",
        data_fingerprint="0",
        data_content="0",
        modalities=tuple(columns),
        precision="fp32",
    )
    write_embedded(Folder(folder), facts, embedded)
    Folder(folder).write_json(
        "evaluation.json",
        {
            "dataset": "bioscan_1m",
            "data_fingerprint": "0",
            "synthetic": False,
            "recipe": "corrected",
            "missing_rank": "left_out",
        },
    )
    return folder


def write_small_arrays(
    folder: Path, species: Sequence[str] | None = None, split: Sequence[str] | None = None, seed: int = 0
) -> Path:
    """A hundred specimens of twenty species; the first image feature is the row, and the fifth row has no species."""
    random = np.random.default_rng(seed)
    centres = 3 * random.normal(size=(20, 6))
    names = [f"species {row % 20}" if row != 4 else None for row in range(100)]
    images = centres[np.arange(100) % 20] + random.normal(size=(100, 6))
    images[:, 0] = np.arange(100)
    table = {"processid": [f"P{row}" for row in range(100)], "species": species or names}
    folder.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table(table | ({"split": split} if split else {})), folder / "pairs.parquet")
    np.save(folder / "image_features.npy", images.astype(np.float16))
    np.save(folder / "dna_features.npy", (centres[np.arange(100) % 20, :3]).astype(np.float16))
    return folder


@pytest.fixture(scope="session")
def write_insect() -> Callable[..., dict[str, Any]]:
    """Writes a small INSECT."""
    return write_small_insect


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Writes the embeddings of a small run."""
    return write_small_run


@pytest.fixture(scope="session")
def write_arrays() -> Callable[..., Path]:
    """Writes a small table with arrays beside."""
    return write_small_arrays
