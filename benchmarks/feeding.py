"""How well a device is fed by processes that decode beside it, and what a large batch holds in memory.

    python -m benchmarks.feeding            some three minutes
    python -m benchmarks.feeding PROCESSES

Both are stand-ins that sleep, so that what is measured is who waits for whom, and not what else the machine does:
decoding for 1/450 s a picture, as a core takes; the device for half the time that the processes take for its batches of
1,024, and for as long. What reaches it is compared with what the processes make where nobody does anything with it; the
goal is 0.9. `in_turn` decodes in the process of the device. Seconds of the clock.

`in_flight` makes batches of 32,768 pictures without decoding: bytes beyond the batch in use in all processes together,
anonymous and shared, and when the first batch came.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.measuring import publish
from workloads.arrays import Indices
from workloads.data.inputs.batches import Asked, Specimens, View
from workloads.data.inputs.loading import PIECE, Made, loaded
from workloads.evaluation.embed import GPU_BATCH_SIZE, embed_batches
from workloads.models.clibd import Clibd
from workloads.placement import Placement

NUM_BATCHES = 5
SIZE = 224
DECODING = 1 / 450
"""Seconds."""
LARGE = 32_768
GOAL, MOST_BYTES = 0.9, 2e9
_HERE = torch.device("cpu")


class Squares(Specimens):
    """Pictures that are a single grey, which cost little to make; all that is asked of specimens."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._inputs, self._seconds = {}, seconds

    def inputs(self, modality: str, rows: Indices, view: View) -> Tensor:
        """A row's number is its grey, uint8 (rows, 3, 224, 224); they take their time."""
        time.sleep(self._seconds * len(rows))
        views = np.empty((len(rows), SIZE, SIZE, 3), dtype=np.uint8)
        views[:] = rows[:, None, None, None] % 251
        return torch.from_numpy(views).permute(0, 3, 1, 2)


class Sleeping(Clibd):
    """A device that takes its time for a batch."""

    def __init__(self, seconds: float) -> None:
        super().__init__({}, 1.0, trainable_temperature=False)
        self._seconds = seconds

    def embed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing, later."""
        time.sleep(self._seconds)
        return {name: torch.zeros(len(rows), 1) for name, rows in inputs.items()}


def main() -> None:
    """Measure, print, and keep the figures."""
    torch.set_num_threads(1)
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else max(1, min(6, (os.cpu_count() or 1) - 1))
    pictures = Squares(DECODING)
    alone = seconds_alone(pictures, processes)
    figures: dict[str, Any] = {"processes": processes, "processes_per_second": GPU_BATCH_SIZE / alone}
    for share in (0.5, 1.0):
        taken = seconds_fed(pictures, processes, alone * share)
        figures |= {f"device_{share}": {"seconds_a_batch": taken, "fed": alone / taken}}
    in_turn = seconds_fed(pictures, 0, alone)
    figures["in_turn"] = {"seconds_a_batch": in_turn, "fed": alone / in_turn}
    figures["in_flight"] = held = in_flight(LARGE, processes)
    met = {
        f"fed >= {GOAL}": min(figures[f"device_{share}"]["fed"] for share in (0.5, 1.0)) >= GOAL,
        "beyond the batch <= 2 GB": held["bytes_beyond"] <= MOST_BYTES,
    }
    publish("feeding", {**figures, "goals": met})


def asked_for(batch_size: int, count: int) -> list[Asked]:
    rows = np.arange(batch_size * count).reshape(count, batch_size)
    return [Asked(rows=own, modalities=("image",)) for own in rows]


def seconds_alone(pictures: Squares, processes: int) -> float:
    """Of the processes for as many pictures as a batch has, once they are at work, and nobody else is."""
    asked = [part for batch in asked_for(GPU_BATCH_SIZE, NUM_BATCHES + 1) for part in batch.pieces(PIECE)]
    loader = DataLoader(Made(pictures), batch_size=None, sampler=asked, num_workers=processes)
    came = [time.perf_counter() for _ in loader][len(asked) // (NUM_BATCHES + 1) - 1 :]
    return (came[-1] - came[0]) / NUM_BATCHES


def seconds_fed(pictures: Squares, processes: int, device_seconds: float) -> float:
    """From batch to batch of a device, from its second on."""
    rows = (asked.rows for asked in asked_for(GPU_BATCH_SIZE, NUM_BATCHES + 1))
    placement = Placement(loader_processes=processes)
    came = [time.perf_counter() for _ in embed_batches(Sleeping(device_seconds), pictures, "image", rows, placement)]
    return (came[-1] - came[0]) / (len(came) - 1)


def in_flight(batch_size: int, processes: int) -> dict[str, float]:
    """Bytes beyond the batch in use, at most, until nothing is made any more; and seconds until the batch came."""
    highest, over = [before := bytes_in_use()], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            highest.append(bytes_in_use())

    watching = threading.Thread(target=look)
    started = time.perf_counter()
    batches = loaded(Squares(), asked_for(batch_size, 2), _HERE, processes)
    watching.start()
    try:
        batch = next(batches)
        came, size = time.perf_counter() - started, batch["image"].nbytes
        while len(highest) < 6 or highest[-1] > highest[-6] + 2**20:
            time.sleep(0.2)
    finally:
        over.set()
        watching.join()
    batches.close()
    return {"bytes_beyond": max(highest) - before - size, "batch_bytes": size, "first_batch_seconds": came}


def bytes_in_use() -> int:
    """By this process and its children: anonymous memory, and pieces on their way, which nobody need have mapped."""
    anonymous, pieces = 0, dict[int, int]()
    for process in (psutil.Process(), *psutil.Process().children()):
        own = Path(f"/proc/{process.pid}")
        with suppress(OSError):  # it has just ended
            lines = (own / "smaps_rollup").read_text().splitlines()
            anonymous += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
            for link in (own / "fd").iterdir():
                with suppress(OSError):  # it has just been closed
                    if "/memfd:" in os.readlink(link):
                        file = os.stat(link)
                        pieces[file.st_ino] = 512 * file.st_blocks
    return anonymous + sum(pieces.values())


if __name__ == "__main__":
    main()
