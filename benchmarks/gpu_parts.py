"""The parts of the GPU benchmark: each measures one thing with the product's own training, embedding and search."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np
import torch

from benchmarks.authors_path import AuthorsStep, as_authors_feed
from benchmarks.authors_path import Sizes as TowerSizes
from benchmarks.gpu_measuring import fastest, free_memory, matrix_teraflops, peaks
from benchmarks.our_step import OurStep
from benchmarks.parts import Figures
from benchmarks.stage import Stage
from workloads.arrays import Floats, Indices
from workloads.evaluation.embed import Precision, all_splits, embed, parts_of
from workloads.evaluation.embedded import KEYS
from workloads.evaluation.retrieval import nearest_keys
from workloads.execution import Execution
from workloads.models.fine_tuning import apply_fine_tuning
from workloads.recipes import with_fine_tuning

MOST = 65_536
"""Specimens of the largest batch."""


def ceiling(stage: Stage) -> Figures:
    """What the device can do: bf16 matrix products, the largest and those of the towers, and copies."""
    batch, width = stage.sizes.batch, 768
    shapes = {
        "image_qkv": (batch * 197, width, 3 * width),
        "image_mlp": (batch * 197, width, 4 * width),
        "dna_mlp": (batch * 133, width, 4 * width),
    }
    on_gpu = stage.device.type == "cuda"
    source = torch.empty(4 << 30 if on_gpu else 1 << 16, dtype=torch.uint8, device=stage.device)
    target = torch.empty_like(source)
    copied = fastest({"copy": partial(target.copy_, source)}, stage.device, steps=10, rounds=2)["copy"]
    return {
        "bf16_teraflops": {
            "square": stage.teraflops,
            **({name: matrix_teraflops(shape, stage.device) for name, shape in shapes.items()} if on_gpu else {}),
        },
        "copy_gb_per_second": 2 * source.nbytes / copied / 1e9,  # read and written
        "gflop_per_specimen": stage.gflop,
    }


def compared(stage: Stage) -> Figures:
    """Our step beside the authors' in bf16, as published and without anomaly mode.

    Batches come from host memory on both sides: ours as pinned bytes, theirs as fp32 in ordinary memory.
    """
    sizes = _sizes_of(stage)
    ours = OurStep(sizes, stage.device, model=deepcopy(stage.experiment.model))
    theirs = AuthorsStep(sizes, stage.device)
    found: Figures = {**stage.about}
    for batch_size in (2 * stage.sizes.batch // 5, stage.sizes.batch):
        batch = stage.batch(batch_size)
        fed = as_authors_feed(batch)
        if stage.device.type == "cuda":
            batch = {name: values.pin_memory() for name, values in batch.items()}
        sides: dict[str, Callable[[], object]] = {
            "ours": partial(ours.step, batch),
            "published": partial(theirs.step, fed),
            "published_without_anomaly_mode": partial(theirs.step, fed, anomaly=False),
        }
        seconds = fastest(sides, stage.device, steps=stage.sizes.timed, rounds=2)
        found[str(batch_size)] = {
            "seconds_per_step": seconds,
            "specimens_per_second": {name: batch_size / value for name, value in seconds.items()},
            "speedup_over_published": seconds["published"] / seconds["ours"],
            "speedup_without_anomaly_mode": seconds["published_without_anomaly_mode"] / seconds["ours"],
        }
    return found


def _sizes_of(stage: Stage) -> TowerSizes:
    """The authors' towers in the sizes of ours."""
    image, dna, text = stage.experiment.spec.image, stage.experiment.spec.dna, stage.experiment.spec.text
    sizes = TowerSizes(text_vocabulary=stage.experiment.inputs.vocabulary_size, text_tokens=text.max_tokens)
    return replace(
        sizes,
        image_size=image.image_size,
        patch_size=image.patch_size or sizes.patch_size,
        image_width=image.width or sizes.image_width,
        image_depth=image.depth or sizes.image_depth,
        image_heads=image.num_heads or sizes.image_heads,
        dna_width=dna.width,
        dna_depth=dna.depth,
        dna_heads=dna.num_heads,
        dna_hidden_width=dna.hidden_width,
        text_width=text.width,
        text_depth=text.depth,
        text_heads=text.num_heads,
        text_hidden_width=text.hidden_width,
        embedding_size=stage.experiment.spec.embedding_size,
    )


def precisions(stage: Stage) -> Figures:
    """Training in bf16, TF32 and fp32, at a batch that all three have the memory for."""
    own, batch_size = stage.experiment.spec, 2 * stage.sizes.batch // 5
    specs = {
        "bf16": replace(own, precision="bf16"),
        "tf32": replace(own, precision="tf32"),
        "fp32": replace(own, precision="fp32"),
    }
    return {name: stage.trained(batch_size, spec=spec, timed=2) for name, spec in specs.items()}


def lora(stage: Stage) -> Figures:
    """Training with adapters alone."""
    spec = with_fine_tuning(stage.experiment.spec, "lora")
    model = deepcopy(stage.experiment.model)
    for name in spec.modalities:
        apply_fine_tuning(model.towers[name], spec.tower(name))
    return stage.trained(stage.sizes.batch, spec=spec, model=model)


def compiled(stage: Stage) -> Figures:
    """Training with towers that torch compiles first, in one piece and with the gradient cache; minutes."""
    execution = Execution(compile=True, micro_batch=stage.sizes.batch)
    return {str(size): stage.trained(size, execution, timed=3) for size in (stage.sizes.batch, 2 * stage.sizes.batch)}


def probe(stage: Stage) -> Figures:
    """How many specimens are found to fit at a time into the memory, directly and with checkpointed blocks."""
    found: Figures = {**stage.about}
    for name, checkpoint_blocks in (("direct", False), ("checkpointed", True)):
        free_memory(stage.device)
        most = MOST if stage.device.type == "cuda" else stage.sizes.large
        spec = replace(stage.experiment.spec, batch_size=most)
        training = stage.training(spec, Execution(checkpoint_blocks=checkpoint_blocks))
        training.cut(stage.specimens(most))
        assert training.shares is not None
        found[name] = {
            "specimens_at_a_time": max(training.shares.chunk_sizes(0)),
            "chunks_of_a_batch_of": {str(most): training.shares.num_chunks},
            "seconds": training.probe_seconds,
        }
        del training
    return found


def large(stage: Stage, sizes: tuple[int, ...] = (8192, 32_768, MOST)) -> Figures:
    """Batches of which not all activations fit: two steps, of which the second is timed."""
    sizes = sizes if stage.device.type == "cuda" else (stage.sizes.large,)
    return {str(size): stage.trained(size, warm=1, timed=1) for size in sizes}


def evaluation(stage: Stage) -> Figures:
    """Keys and queries embedded in each precision, and the nearest key of all pairs of modalities.

    What fp32 gives, as recipes `paper` and `authors` measure, is compared with the others: how far unit embeddings
    move, and which share of the queries keeps its nearest key. Embeddings of untrained towers lie close together, so
    more queries change theirs than in a trained model.
    """
    experiment, parts = stage.experiment, parts_of(stage.dataset)
    specimens = experiment.specimens(stage.dataset, all_splits(parts))
    are_keys = np.isin(specimens.split.astype(str), parts[KEYS])
    found: Figures = {**stage.about, "keys": int(are_keys.sum()), "queries": int((~are_keys).sum())}
    rows: dict[str, dict[str, Floats]] = {}
    nearest: dict[str, dict[tuple[str, str], Indices]] = {}
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
    for precision in precisions:
        free_memory(stage.device)
        started = perf_counter()
        rows[precision] = {
            name: embed(experiment.model, specimens, name, stage.placement, precision) for name in specimens.modalities
        }
        embedded = perf_counter()
        nearest[precision] = {
            (query, key): nearest_keys(own[~are_keys], other[are_keys], 1)[0]
            for query, own in rows[precision].items()
            for key, other in rows[precision].items()
        }
        same = [float((own == nearest["fp32"][pair]).mean()) for pair, own in nearest[precision].items()]
        found[precision] = {
            "embed_seconds": embedded - started,
            "specimens_per_second": len(specimens) / (embedded - started),
            "search_seconds": perf_counter() - embedded,
            "furthest_moved": max(float(abs(own - rows["fp32"][name]).max()) for name, own in rows[precision].items()),
            "same_nearest_key": {"least": min(same), "mean": sum(same) / len(same)},
            **peaks(stage.device),
        }
    return found
