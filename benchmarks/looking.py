"""`clibd data look` on 100,000 rows and 20,000 images, from headers and decoded: seconds of a core, memory at the most.

    python -m benchmarks.looking

Half of the rows have names of which no two are alike and which only the parser can take apart, or open names.
"""

import io
import random
import resource
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.measuring import publish
from workloads.data.sources.collect import collect
from workloads.data.sources.image_survey import look_at_images
from workloads.data.sources.tables import table_source

NUM_ROWS, NUM_IMAGES = 100_000, 20_000


def main() -> None:
    """Measure, print, and keep the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_source(folder)
        began = time.process_time()
        source = table_source(folder, {})
        report = collect(source, None)
        read = time.process_time()
        look_at_images(source.root, report.survey.images)
        looked = time.process_time()
        look_at_images(source.root, report.survey.images, decode_all=True)
        decoded = time.process_time()
    publish(
        "looking",
        {
            "data": "drawn at random",
            "rows": report.num_specimens,
            "images": len(report.survey.images),
            "rows_seconds": read - began,
            "images_seconds": looked - read,
            "decoded_images_seconds": decoded - looked,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
    )


def write_source(folder: Path) -> None:
    """A table as BOLD writes it, and pictures called after its first specimens."""
    draw, buffer = random.Random(1), io.BytesIO()
    Image.effect_noise((256, 256), 50).convert("RGB").save(buffer, "JPEG")
    (folder / "images").mkdir()
    for number in range(NUM_IMAGES):
        (folder / "images" / f"S{number}.jpg").write_bytes(buffer.getvalue())
    genera = [_word(draw).capitalize() for _ in range(500)]
    with (folder / "labels.tsv").open("w") as file:
        print("processid\torder\tgenus\tspecies\tnuc\tmarker_code\tbin_uri", file=file)
        for number in range(NUM_ROWS):
            genus, epithet = draw.choice(genera), _word(draw)
            species = (f"{genus} {epithet}", f"{genus} {epithet} Meigen, 1830", f"{genus} sp. {number}", "")[number % 4]
            barcode = "".join(draw.choices("ACGT", k=658))
            values = (f"S{number}", "Diptera", genus, species, barcode, "COI-5P", f"BOLD:AAA{number % 9999:04}")
            print(*values, sep="\t", file=file)


def _word(draw: random.Random) -> str:
    return "".join(draw.choices("abcdefghilmnopqrstuv", k=8))


if __name__ == "__main__":
    main()
