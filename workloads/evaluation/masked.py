"""How well a pre-trained BarcodeBERT tells the hidden 5-mers of barcodes that it was not trained on.

Hidden are as many as in training, drawn by the run's seed, and the same whoever asks. Beside it stands what needs no
network: the 5-mer that training barcodes have most often at the same place, as most of a barcode is alike in insects.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from workloads.arrays import Indices
from workloads.data.inputs.batches import Specimens, View
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.barcode import FIRST_KMER_ID, NUM_TOKENS, VOCABULARY_SIZE
from workloads.evaluation.embed import batch_size_on, embed_batches, rows_of_all_workers
from workloads.masked_facts import MaskedFacts
from workloads.models.loaded import LoadedModel
from workloads.placement import Placement
from workloads.recipes import evaluation_precision

_SAMPLE = 20_000
"""Training barcodes of which the commonest 5-mers are counted, at most."""
_AT_ONCE = 4096


def masked_facts(experiment: LoadedModel, dataset: PreparedDataset, placement: Placement) -> dict[str, MaskedFacts]:
    """Measure every split that does not train; called on every worker of a group alike, and the same on each.

    Keys of unseen species are left to retrieval: theirs are the same species as those of the queries.

    Args:
        experiment: with a masked model, on `placement.device`.
        dataset: prepared.
        placement: this worker's.

    Returns:
        By split, those alone that have a barcode with a hidden 5-mer.
    """
    splits, facts = dataset.facts.splits, dict[str, MaskedFacts]()
    held_out = [split for split in (*splits.asking(), *splits.unused) if split not in splits.training]
    filled = [split for split in held_out if dataset.facts.num_having("dna", [split])]
    if not filled:
        return facts
    commonest = _commonest(experiment.specimens(dataset, splits.training))
    for split in filled:
        if told := _told(experiment, experiment.specimens(dataset, [split]), placement, commonest):
            facts[split] = told
    return facts


def _told(
    experiment: LoadedModel, specimens: Specimens, placement: Placement, commonest: Indices
) -> MaskedFacts | None:
    first, view = specimens.groups("dna")[0], _view(experiment)

    def run(batches: Iterable[Indices]) -> Iterator[Tensor]:
        precision = evaluation_precision(experiment.spec)
        rows = (first[some] for some in batches)
        return embed_batches(experiment.model, specimens, "dna", rows, placement, precision, "logits", view)

    told = rows_of_all_workers(run, len(first), placement, batch_size_on(placement.device))
    entropy, kmers, right = told.sum(axis=0, dtype=np.float64).tolist()
    if not kmers:
        return None
    alike = 0
    for start in range(0, len(first), _AT_ONCE):
        ids = specimens.inputs("dna", first[start : start + _AT_ONCE], view).numpy()
        alike += int(np.count_nonzero((ids < 0) & (-ids == commonest)))
    return MaskedFacts(
        barcodes=len(first),
        kmers=int(kmers),
        accuracy=right / kmers,
        perplexity=float(np.exp(entropy / kmers)),
        commonest=alike / kmers,
    )


def _view(experiment: LoadedModel) -> View:
    """As in the epoch behind the last, of which no batch was ever drawn."""
    return View(experiment.spec.seed, experiment.spec.epochs)


def _commonest(training: Specimens) -> Indices:
    """The commonest 5-mer at every place of some training barcodes, (133,)."""
    rows = np.unique(np.linspace(0, len(training.trained) - 1, _SAMPLE, dtype=np.int64))
    counts = np.zeros((NUM_TOKENS, VOCABULARY_SIZE), dtype=np.int64)
    for start in range(0, len(rows), _AT_ONCE):
        ids = training.inputs("dna", training.trained[rows[start : start + _AT_ONCE]], View()).numpy()
        np.add.at(counts, (np.arange(NUM_TOKENS)[None], ids), 1)
    commonest: Indices = FIRST_KMER_ID + counts[:, FIRST_KMER_ID:].argmax(axis=1)
    return commonest
