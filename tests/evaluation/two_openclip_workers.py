"""One of two workers that embed with an OpenCLIP model, run by test_openclip_row.py as a program.

python two_openclip_workers.py RANK MEETING_FILE DATA WEIGHTS OUT.npz
"""

import sys

import numpy as np
import torch
import torch.distributed as dist

from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.openclip_row import embed_openclip
from workloads.placement import Placement
from workloads.storage import Folder

if __name__ == "__main__":
    rank, meeting, data, weights, out = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2)
    placement = Placement.here(torch.device("cpu"))
    embedded = embed_openclip(weights, PreparedDataset(Folder(data)), placement, "corrected", "photo")
    np.savez(out, **{f"{part}-{name}": rows for part, found in embedded.items() for name, rows in found.rows.items()})
    dist.destroy_process_group()
