"""What DNA towers take of barcodes, the views that SimCLR trains on, and the 5-mers that a masked model is to tell.

Trained on its own (`simclr`), a DNA tower sees views of barcodes that are masked at random; otherwise barcodes as they
are, or as its spec lets them vary in any training (`barcode_views`). The masked views are the counterpart of SimCLR's
crops and colours. They are ours: CLIBD trains no DNA encoder this way, and its reviewers missed the comparison. As a
crop shows part of an image, a view shows a window of at least half of the 5-mers; as colours are changed, 15 % of the
5-mers shown are hidden as well. What is hidden is written as unknown, so that every base keeps its place.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workloads.arrays import Bytes, Indices, KmerIds, Mask
from workloads.barcode_views import BarcodeViews
from workloads.data.inputs.barcode_views import view_of_barcode
from workloads.data.inputs.tower_inputs import (
    InputColumn,
    Numbers,
    View,
    groups_of_texts,
    number_input,
    numbers,
    there_in,
)
from workloads.data.prepared.taxon_text import LabelTokenizer
from workloads.data.specimens.barcode import (
    FIRST_KMER_ID,
    KMER,
    NUM_TOKENS,
    UNCERTAIN_BASE,
    UNKNOWN_ID,
    authors_token_ids,
    base_codes,
    placed,
    token_ids,
)
from workloads.data.specimens.kmers import kmer_counts
from workloads.errors import SpecError
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower

MAX_BYTE_PAIRS = 512
"""Longer barcodes are cut, as the published tokeniser of DNABERT-2 says."""
_LEAST_SHOWN = 0.5
"""Share of the 5-mers that the window holds at least."""
_HIDDEN = 0.15
"""Share of the window's 5-mers that are hidden, each by itself."""
_STREAM = 1
"""Of random numbers, which is none of those that choose among images (`View.which`)."""
_IDS = {"own": "dna_ids", "authors": "authors_dna_ids"}


def dna_input(
    inputs: pa.Table, spec: ExperimentSpec, tokenizer: LabelTokenizer | None, frame: str | None = None
) -> InputColumn:
    """What the spec's DNA tower takes.

    Args:
        inputs: the specimens.
        spec: which tower.
        tokenizer: of byte pairs.
        frame: what our own 5-mers are laid into where it is not the frame of the stored ones, or where barcodes vary;
            None: as they are stored.

    Raises:
        SpecError: there is no tokeniser for byte pairs.
    """
    tower, kind, simclr = spec.dna, spec.dna.kind, spec.objective == "simclr"
    masks: dict[tuple[str, str], Callable[..., Numbers]] = {
        ("simclr", "barcodebert"): view_of_token_ids,
        ("simclr", "cnn"): view_of_base_codes,
        ("masked", "barcodebert"): partial(hidden_kmers, share=spec.masked_share),
    }
    mask = masks.get((spec.objective, kind))
    if kind == "features":
        return number_input(inputs["dna_features"])
    if kind == "barcodebert" and not tower.views.vary and (tower.tokens == "authors" or frame is None):
        return number_input(inputs[_IDS[tower.tokens]], None, mask)
    barcodes = inputs["barcode"]
    texts = partial(_texts, barcodes, tower.views)
    if kind == "dnabert2":
        if tokenizer is None:
            raise SpecError("DNABERT-2 needs the tokeniser of its byte pairs")
        read = partial(_byte_pairs, texts, tokenizer, simclr)
        return InputColumn(read, partial(groups_of_texts, barcodes), there_in(barcodes), tokenizer.pad_id)
    take = partial(_encoded, texts, _encoding(tower, frame or ""))
    if kind == "kmers":
        return InputColumn(partial(numbers, take, None), partial(groups_of_texts, barcodes), there_in(barcodes))
    return number_input(barcodes, take, mask)


def _encoding(tower: DnaTower, frame: str) -> Callable[[Sequence[str]], Numbers]:
    """What makes the numbers that a tower takes of barcodes, whole ones or views, (barcodes, length)."""
    if tower.kind == "kmers":
        return partial(kmer_counts, sizes=tower.kmers, strand=tower.strand)
    if tower.kind == "cnn":
        return base_codes
    return authors_token_ids if tower.tokens == "authors" else partial(_ids_in_frame, frame)


def _texts(barcodes: pa.ChunkedArray, views: BarcodeViews, rows: Indices, view: View) -> list[str]:
    """Barcodes of some specimens, empty where there is none, in training as their views."""
    texts: list[str] = [barcodes[row].as_py() or "" for row in rows.tolist()]
    if view.epoch is None or not views.vary:
        return texts
    drawn = (view.random(row, _STREAM) for row in rows.tolist())
    return [view_of_barcode(text, views, random) for text, random in zip(texts, drawn, strict=True)]


def _encoded(
    texts: Callable[[Indices, View], list[str]],
    encode: Callable[[Sequence[str]], Numbers],
    rows: Indices,
    view: View,
) -> Numbers:
    """Numbers that are made of barcodes when they are asked for, (rows, length)."""
    return encode(texts(rows, view))


def _ids_in_frame(frame: str, barcodes: Sequence[str]) -> Numbers:
    """5-mer ids in a frame, which views have lost and another data set does not have; 20,000 take about a second."""
    return token_ids(placed(barcodes, frame))


def _byte_pairs(
    texts: Callable[[Indices, View], list[str]], tokenizer: LabelTokenizer, masked: bool, rows: Indices, view: View
) -> Tensor:
    """Byte-pair ids, int64 (rows, the longest of them)."""
    shown = texts(rows, view)
    if masked and view.epoch is not None:
        shown = [view_of_text(text, view.random(row)) for text, row in zip(shown, rows.tolist(), strict=True)]
    return torch.from_numpy(tokenizer.ids(shown, MAX_BYTE_PAIRS, whole_length=False))


def _shown_kmers(num_kmers: int, random: np.random.Generator) -> Mask:
    """Which 5-mers of a barcode a view shows, (num_kmers,).

    The window's length is drawn evenly from half of the 5-mers up to all of them, then its place.
    """
    length = int(random.integers(int(np.ceil(_LEAST_SHOWN * num_kmers)), num_kmers, endpoint=True))
    start = int(random.integers(0, num_kmers - length, endpoint=True))
    shown = np.zeros(num_kmers, dtype=np.bool_)
    shown[start : start + length] = random.random(length) >= _HIDDEN
    return shown


def hidden_kmers(ids: KmerIds, random: np.random.Generator, share: float) -> KmerIds:
    """5-mer ids of which those that a masked model is to tell are negative, (133,).

    Each known 5-mer is hidden by itself, with the same probability (BarcodeBERT's pretraining.py).
    """
    hidden = (random.random(len(ids)) < share) & (ids >= FIRST_KMER_ID)
    return np.where(hidden, -ids, ids)


def view_of_token_ids(ids: KmerIds, random: np.random.Generator) -> KmerIds:
    """5-mer ids of which some are unknown, (133,); the first id and padding stay.

    The barcode ends with its last known 5-mer, since the authors' ids do not tell unknown ones from padding.
    """
    known = ids[1:] >= FIRST_KMER_ID
    view = ids.copy()
    view[1:][known & ~_shown(known, random)] = UNKNOWN_ID
    return view


def view_of_base_codes(codes: Bytes, random: np.random.Generator) -> Bytes:
    """Base codes of which some 5-mers are uncertain, (660,); past the end nothing changes."""
    known: Mask = np.less(codes, UNCERTAIN_BASE)
    shown = _shown(np.any(known.reshape(-1, KMER), axis=1), random)
    return np.where(known & ~np.repeat(shown, KMER), np.uint8(UNCERTAIN_BASE), codes)


def view_of_text(barcode: str, random: np.random.Generator) -> str:
    """The window as text, its hidden 5-mers written as N, for tokenisers that read letters."""
    shown = np.repeat(_shown_kmers(-(-len(barcode) // KMER), random), KMER)[: len(barcode)]
    return "".join(letter if seen else "N" for letter, seen in zip(barcode, shown.tolist(), strict=True)).strip("N")


def _shown(known: Mask, random: np.random.Generator) -> Mask:
    """Which of 132 5-mers a view shows, of a barcode that ends with its last known one, (132,)."""
    num_kmers = int(known.nonzero()[0].max(initial=-1)) + 1
    shown = np.zeros(NUM_TOKENS - 1, dtype=np.bool_)
    shown[:num_kmers] = _shown_kmers(num_kmers, random)
    return shown
