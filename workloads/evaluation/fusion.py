"""One row for the image and the barcode of a specimen, as a query and as a key: the feature `image+dna`.

With unit rows i and d of a specimen that has both, and size numbers each:

    mean           (i + d) / |i + d|
    concatenation  (i, d) / sqrt 2, of 2 size numbers; whoever asks or answers with a single row x has (x, x) / sqrt 2,
                   so that an image is compared with the image and with the barcode of a fused key, and counts the mean
    gate           (g i + (1 - g) d) / |g i + (1 - g) d| with g = 1 / (1 + exp(-(a·i + b·d + c))), learned with frozen
                   towers (`workloads.evaluation.fusion_gate`)

A specimen that lacks one of them has the other alone: as i, as d, or twice over in the concatenation. Rows are made,
some at a time, when a pair is searched, and then forgotten: one copy of the keys, of size or of 2 size numbers each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from workloads.arrays import Doubles, Floats, Indices, Mask
from workloads.errors import DamagedError, UsageError
from workloads.evaluation.candidates import pieces
from workloads.evaluation.embedded import Embedded, query_features, query_specimens, unit
from workloads.predictions import FUSED
from workloads.record import RunFolder
from workloads.seals import sealed_folder
from workloads.spec import Fusion

GATE = "gate.json"


class Gate(NamedTuple):
    """Weights of the learned gate."""

    image: Doubles
    """a, (size,)."""
    dna: Doubles
    """b, (size,)."""
    bias: float

    def share(self, image: Floats, dna: Floats) -> Doubles:
        """g, the share of the image, (specimens, 1); both (specimens, size)."""
        score = image.astype(np.float64) @ self.image + dna.astype(np.float64) @ self.dna + self.bias
        return np.asarray(1 / (1 + np.exp(-score)))[:, None]


@dataclass(frozen=True, slots=True)
class Fusing:
    """How rows are fused."""

    kind: Fusion = "mean"
    gate: Gate | None = None


def fused_rows(embedded: Embedded, fusing: Fusing) -> Floats:
    """Unit rows of those who have an image or a barcode, one for each of `query_specimens`, (specimens, size)."""
    own = query_specimens(embedded, FUSED)
    size = embedded.rows["image"].shape[1] * (2 if fusing.kind == "concatenation" else 1)
    rows = np.empty((len(own), size), dtype=np.float32)
    there = {name: np.isin(own, embedded.having([name]))[:, None] for name in ("image", "dna")}
    for start, stop in pieces(len(own)):
        image, dna = (unit(embedded.rows[name][own[start:stop]]) for name in ("image", "dna"))
        rows[start:stop] = _fused(image, dna, there["image"][start:stop], there["dna"][start:stop], fusing)
    return rows


def _fused(image: Floats, dna: Floats, with_image: Mask, with_dna: Mask, fusing: Fusing) -> Floats:
    """The same of some, (some, numbers); who has an image and who a barcode are (some, 1)."""
    first, second = np.where(with_image, image, dna), np.where(with_dna, dna, image)
    if fusing.kind == "concatenation":
        return unit(np.concatenate([first, second], axis=1))
    share = 0.5 if fusing.gate is None else fusing.gate.share(first, second)
    # What is alone asks as it does without the other, to the last bit.
    return np.where(with_image & with_dna, unit(share * first + (1 - share) * second), first)


def fused_features(
    queries: Embedded, keys: Embedded, pair: tuple[str, str], fusing: Fusing
) -> tuple[Floats, Floats, Indices]:
    """The rows of a pair one of which is `image+dna`.

    Returns:
        Queries and keys in unit length, (queries, numbers) and (keys, numbers), and the specimen of each key, (keys,).
    """
    asked, offered = (_rows(embedded, name, fusing) for embedded, name in zip((queries, keys), pair, strict=True))
    return asked, offered, query_specimens(keys, pair[1])


def _rows(embedded: Embedded, name: str, fusing: Fusing) -> Floats:
    if name == FUSED:
        return fused_rows(embedded, fusing)
    rows = query_features(embedded, name)
    return unit(np.concatenate([rows, rows], axis=1)) if fusing.kind == "concatenation" else rows


def fusing_of(run: RunFolder, asked: Fusion | None) -> Fusing | None:
    """How a run's rows are fused: as asked, or else as its spec says; None where neither does.

    Raises:
        UsageError: the run has not both towers, or no gate, and was asked for them.
        DamagedError: the gate is not what was written.
    """
    spec = run.spec()
    kind = asked or spec.fusion
    if kind is None:
        return None
    if not {"image", "dna"} <= {*spec.modalities}:
        raise UsageError(
            f"--fusion {kind} takes images and barcodes, and {run.id} has towers for {', '.join(spec.modalities)} alone"
        )
    if kind != "gate":
        return Fusing(kind)
    if not run.folder.has(GATE):
        raise UsageError(
            f"{run.id} has learned no gate: train it with --set fusion=gate, or ask for --fusion mean or concatenation"
        )
    return Fusing(kind, _gate(sealed_folder(run.folder).read_json(GATE), f"{run.folder}/{GATE}", spec.embedding_size))


def _gate(content: Mapping[str, Any], where: str, size: int) -> Gate:
    try:
        image, dna = (np.array(content[name], dtype=np.float64) for name in ("image", "dna"))
        gate = Gate(image, dna, float(content["bias"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(where, f"it is no gate ({error})") from error
    if not (image.shape == dna.shape == (size,) and all(np.isfinite(part).all() for part in gate)):
        raise DamagedError(where, f"it is no gate over two rows of {size} finite numbers")
    return gate


def fusion_told(parts: Mapping[str, Embedded], fusing: Fusing) -> dict[str, Any]:
    """For evaluation.json: how rows were fused, and of how many specimens of each part both were there, or one."""
    return {"kind": fusing.kind, "specimens": {part: _counts(embedded) for part, embedded in parts.items()}}


def _counts(embedded: Embedded) -> dict[str, int]:
    both, image, dna = (len(embedded.having(names)) for names in (["image", "dna"], ["image"], ["dna"]))
    return {"both": both, "image": image - both, "dna": dna - both}
