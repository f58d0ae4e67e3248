"""A database of two dozen made-up insects with images and barcodes, and the server of it as tests ask it."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from clibd.serving.server import GUARDED, server
from results.dashboard.site.guard import Guard
from tests.identification.small_database import BySimilarity, known
from workloads.arrays import Floats
from workloads.data.files.images import open_image
from workloads.data.specimens.coi_consensus import CONSENSUS
from workloads.errors import RecordError
from workloads.identification.database import Database, DatabaseFacts, KeyKind, write_facts
from workloads.identification.embedding import KmerEmbedder, Problems
from workloads.identification.identifying import Asking, Identifier
from workloads.identification.query import Query
from workloads.identification.writing import Known, SpecimenWriter
from workloads.storage import Folder

PORT = 8400
SPECIES = (
    ("Diptera", "Syrphidae", "Eristalis", "Eristalis tenax"),
    ("Diptera", "Syrphidae", "Eristalis", "Eristalis arbustorum"),
    ("Diptera", "Muscidae", "Musca", "Musca domestica"),
    ("Hymenoptera", "Apidae", "Apis", "Apis mellifera"),
    ("Hymenoptera", "Apidae", "Bombus", "Bombus terrestris"),
    ("Coleoptera", "Carabidae", "Carabus", "Carabus auratus"),
)
_FRAMES = [CONSENSUS[name] for name in sorted(CONSENSUS)]


class Painter:
    """Knows a picture by its mean colour, and a barcode by its 5-mers."""

    kinds: tuple[KeyKind, ...] = ("image", "dna")

    def embed(self, kind: KeyKind, queries: Sequence[Query]) -> tuple[Floats, Problems]:
        if kind == "dna":
            return KmerEmbedder().embed(kind, queries)
        rows, problems = np.zeros((len(queries), 3), dtype=np.float32), list[str | None]()
        for row, query in zip(rows, queries, strict=True):
            try:
                assert isinstance(query.image, bytes)
                row[:] = np.asarray(open_image(query.image)).mean((0, 1)) + 1
                row /= np.linalg.norm(row)
                problems.append(None)
            except RecordError as error:
                problems.append(str(error))
        return rows, problems


def barcode(species: int, specimen: int = 0) -> str:
    """Of a species; each further specimen has one base more that differs."""
    random, letters = np.random.default_rng(species), list(_FRAMES[species % len(_FRAMES)])
    for place in random.choice(len(letters), 40 + specimen, replace=False)[: 40 * (species > 3) + specimen]:
        letters[place] = "ACGT"["CATG".index(letters[place])] if letters[place] in "CATG" else "A"
    return "".join(letters)


def picture(species: int, form: str = "PNG", side: int = 48) -> bytes:
    """A picture in the colour of a species, with some noise."""
    random = np.random.default_rng(species)
    pixels = np.clip(random.integers(20, 230, 3) + random.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(content := io.BytesIO(), form)
    return content.getvalue()


def made_database(folder: Path, species: Sequence[Sequence[str | None]] = SPECIES) -> Database:
    """Four specimens of each species, with small images."""
    folder.mkdir()
    with SpecimenWriter(Folder(folder), ("image", "dna"), thumbnails=True) as writer:
        writer.embed(
            [_known(names, number, each) for number, names in enumerate(species) for each in range(4)], Painter()
        )
    written = writer.written
    write_facts(
        Folder(folder),
        DatabaseFacts(
            name="small",
            model=None,
            weights=None,
            modalities=("image", "dna"),
            num_specimens=written.num_specimens,
            num_keys=written.num_keys,
            num_taxa={rank: len(names) for rank, names in written.taxa.items()},
            synthetic=True,
        ),
    )
    return Database(folder)


def _known(names: Sequence[str | None], species: int, specimen: int) -> Known:
    one = known(f"S{species}/{specimen}", barcode(species, specimen), names, f"BOLD:AAA{species:04d}")
    return Known(Query(one.query.id, picture(species), one.query.barcode), one.names, one.bin, specimen > 0 or None)


def identifier_of(database: Database) -> Identifier:
    """One that knows pictures without a run, and is as sure as keys are similar."""
    identifier = Identifier(database, Asking())
    identifier._embedder = Painter()
    identifier._calibration = BySimilarity()
    return identifier


def asked(database: Database, token: str | None = None) -> TestClient:
    """Whoever asks the server of a database."""
    app = server(identifier_of(database), Guard("127.0.0.1", PORT, token, GUARDED))
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)
