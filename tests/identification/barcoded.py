"""Made-up species for tests: barcodes of a species differ in a few bases, those of a genus in some."""

import numpy as np

from workloads.arrays import Indices

Row = tuple[str, str, str, str]
"""Id, species, genus and barcode."""
_BASES = np.array(list("ACGT"))


def made_up(num_genera: int, species: int, specimens: int, seed: int = 0, length: int = 300) -> list[Row]:
    """Specimens of made-up species, the same number of each; more of them leave the first ones as they are."""
    rows = []
    for genus in range(num_genera):
        root = np.random.default_rng([seed, genus]).integers(4, size=length)
        for number in range(species):
            own = _changed(np.random.default_rng([seed, genus, number + 1]), root, 0.12)
            name = f"Genus{chr(97 + genus)} species{chr(97 + number)}"
            for each in range(specimens):
                rng = np.random.default_rng([seed, genus, number + 1, each + 1])
                barcode = "".join(_BASES[_changed(rng, own, 0.004)])
                rows.append((f"{genus}-{number}-{each}", name, name.split()[0], barcode))
    return rows


def _changed(rng: np.random.Generator, bases: Indices, share: float) -> Indices:
    """Each base is another one with some probability."""
    return np.where(rng.random(len(bases)) < share, (bases + rng.integers(1, 4, size=len(bases))) % 4, bases)
