"""Appendix D.4 of the paper (CLIBD, ICLR 2025): what DNA and text cost, as printed, beside what it can mean."""

from dataclasses import dataclass

NUM_LABELLED = 84_450
"""Samples of BIOSCAN-1M with a species, by which D.4 counts bytes."""
BATCH = 500
"""Samples of the batch by which D.4 counts operations and time."""

_MACS = "printed as FLOPS; they are multiply-adds, each of which is two operations"
_LAUNCH = (
    "500 barcodes take 11.8 TFLOP, so 15 ms would be 785 TFLOP/s, more than an A100 has (312): most likely the time to "
    "launch the kernels, without waiting for them"
)
_MIB = "printed as MB; 84,450 barcodes of 660 bases are 53.2 MiB, or 55.7 million bytes"


@dataclass(frozen=True, slots=True)
class PublishedCost:
    """One number of Appendix D.4."""

    modality: str
    quantity: str
    """As in `workloads.evaluation.costs`."""
    value: float
    """In the units there: counts, operations, bytes, seconds."""
    note: str = ""


PUBLISHED_COSTS: tuple[PublishedCost, ...] = (
    PublishedCost("dna", "tokens", 133),
    PublishedCost("text", "tokens", 20),
    PublishedCost("dna", "parameters", 87.4e6),
    PublishedCost(
        "text", "parameters", 29.2e6, "of LoRA-BERT, with the pooler of BERT, which nothing reads; ours has none"
    ),
    PublishedCost("dna", "macs_per_500", 5.90e12, _MACS),
    PublishedCost("text", "macs_per_500", 0.13e12, _MACS),
    PublishedCost("dna", "seconds_per_500", 0.015, _LAUNCH),
    PublishedCost("text", "seconds_per_500", 0.015, "most likely the time to launch the kernels, as for dna"),
    PublishedCost("dna", "bytes_of_labelled", 53 * 2.0**20, _MIB),
    PublishedCost(
        "text",
        "bytes_of_labelled",
        12 * 2.0**20,
        "printed as MB: 149 bytes a label, where those of the validation queries have 54 on average",
    ),
    PublishedCost("dna", "bytes_of_labelled_2bit", 13.3 * 2.0**20, "printed as MB; a quarter of the above"),
)


def published_cost(modality: str, quantity: str) -> PublishedCost | None:
    """What D.4 prints, None where it is silent."""
    for cost in PUBLISHED_COSTS:
        if (cost.modality, cost.quantity) == (modality, quantity):
            return cost
    return None
