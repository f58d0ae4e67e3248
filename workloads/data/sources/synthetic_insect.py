"""Synthetic data in the published form of INSECT, so that Table 4 can be tried without a download.

Species of the same tree as the built-in insects, yet none of theirs, so that what was learned of those is of use. The
reader of INSECT reads them as they are; `synthetic_seed` in both MATLAB files makes every number of them say so.
"""

import io
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workloads.arrays import Doubles, Indices, Names
from workloads.data.sources.insect_files import FEATURES_FILE, LINEAGE_FILES, SEED_VARIABLE, SPLITS_FILE
from workloads.data.specimens.partition import drawn_splits
from workloads.data.synthetic.drawings import draw
from workloads.data.synthetic.insects import TreePlace, barcode, lineage, node_random, tree_path
from workloads.spec import RANKS

NUM_SPECIES, SEED = 60, 8
_TREE = 200
"""Species of the tree whose genera these join: that of the 3,000 built-in insects, if the seed is theirs."""
_FIRST_SPECIES = 100_000
"""Number of the first species, beyond all that the built-in insects have."""
_SMALLEST, _LARGEST = 10, 30
_COLOUR_STEPS, _NUM_FEATURES = 6, 64


def write_synthetic_insect(folder: Path, num_species: int = NUM_SPECIES, seed: int = SEED) -> None:
    """Draw specimens, 20 a species on average, into INSECT's two MATLAB files, its table of names and its pictures.

    Image features are principal components of the pictures' colours, which do not depend on how an insect lies. Side
    information of a species is how often its barcodes have each four bases in a row.

    Args:
        folder: made if need be; what it holds of INSECT is written over.
        num_species: of which a fifth are unseen, and a fifth of the others are kept for validation.
        seed: of the tree, the specimens and the splits.
    """
    places = _places(num_species, seed)
    names = [lineage(place.taxa) for place in places]
    species = np.array([own[-1] for own in names], dtype=object)
    classes, labels = np.unique(species.astype(str), return_inverse=True)
    ids = [f"SYN{seed:03d}-INSECT-{place.specimen:05d}" for place in places]
    barcodes = [barcode(place) for place in places]
    pictures = [draw(place) for place in places]
    for identifier, name, picture in zip(ids, species, pictures, strict=True):
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        (folder / "images" / name / f"{identifier}.jpg").write_bytes(picture)
    lineages = {own[-1]: dict(zip(RANKS[:-1], own[:-1], strict=True)) for own in names}
    (folder / LINEAGE_FILES[0]).write_text(json.dumps(lineages, indent=1))
    words = _word_shares(barcodes)
    described = np.array([words[labels == label].mean(axis=0) for label in range(len(classes))])
    columns = {"ids": ids, "bold_ids": ids, "species": species, "nucleotides": barcodes}
    cells = {name: np.array(values, dtype=object)[:, None] for name, values in columns.items()}
    res101 = {"features": _features(pictures).T, "labels": labels[:, None].astype(np.uint16) + 1}
    _save(folder / FEATURES_FILE, seed, res101 | cells)
    _save(folder / SPLITS_FILE, seed, {"att": described.T, **_lists(drawn_splits(species, seed))})


def _places(num_species: int, seed: int) -> list[TreePlace]:
    """Every specimen's place in the tree, in random order; two species a genus."""
    random = node_random(seed, 8)
    taxa = [
        (*tree_path(number // 2 * 2 * _TREE // num_species, _TREE)[:3], _FIRST_SPECIES + number)
        for number in range(num_species)
    ]
    counts = random.integers(_SMALLEST, _LARGEST + 1, num_species)
    order = random.permutation(np.repeat(np.arange(num_species), counts))
    return [TreePlace(seed, taxa[number], specimen) for specimen, number in enumerate(order.tolist())]


def _features(pictures: Sequence[bytes]) -> Doubles:
    """Principal components of the square roots of the shares of colours, (specimens, 64)."""
    shares = []
    for picture in pictures:
        steps = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3) // -(-256 // _COLOUR_STEPS)
        colours = steps @ (_COLOUR_STEPS**2, _COLOUR_STEPS, 1)
        shares.append(np.bincount(colours, minlength=_COLOUR_STEPS**3) / len(colours))
    rows = np.sqrt(shares)
    _, _, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    components: Doubles = rows @ axes[:_NUM_FEATURES].T
    return components


def _word_shares(barcodes: Sequence[str]) -> Doubles:
    """How often each word of four bases stands in a barcode, (specimens, 256)."""
    from sklearn.feature_extraction.text import CountVectorizer

    words = ["".join(letters) for letters in product("ACGT", repeat=4)]
    counter = CountVectorizer(analyzer="char", ngram_range=(4, 4), lowercase=False, vocabulary=words)
    counts = counter.transform(barcodes).toarray()
    shares: Doubles = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _lists(splits: Names) -> dict[str, Indices]:
    """The published lists, which count from 1."""
    on = {"train": ["train_seen"], "val": ["val_classes"], "trainval": ["train_seen", "val_classes"]}
    on |= {name: [name] for name in ("test_seen", "test_unseen")}
    named = splits.astype(str)
    return {f"{name}_loc": 1 + np.flatnonzero(np.isin(named, own))[None] for name, own in on.items()}


def _save(path: Path, seed: int, variables: dict[str, Any]) -> None:
    from scipy.io import savemat

    savemat(path, {SEED_VARIABLE: seed, **variables}, do_compression=True)
