"""What learns beside a BarcodeBERT while it is pre-trained: the layer that tells hidden 5-mers.

A 5-mer that is hidden comes as the negative of its id (`workloads.data.inputs.barcode_inputs.hidden_kmers`), so that
one row of ids says what the tower sees and what it is to tell. The tower sees in its place the unknown token, of which
an alignment that begins with it knows from ambiguous bases; in the authors' ids, where that token is padding too, it
sees 1, as in the original pre-training, of which BarcodeBERT's own ids have no other use.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.data.specimens.barcode import FIRST_KMER_ID, NUM_KMERS, START_ID, UNKNOWN_ID
from workloads.models.bert import draw_as_bert
from workloads.tower_specs import DnaTower

GENUS = "dna/genus"
"""What a masked model calls its logits of genera."""


def split_hidden(ids: Tensor, tokens: str) -> tuple[Tensor, Tensor]:
    """The ids that a tower sees, and those that are true, both (batch, 133).

    Args:
        ids: 5-mer ids, negative where they are hidden, (batch, 133).
        tokens: which tokenisation, as `DnaTower.tokens` says.
    """
    true = ids.abs()
    return torch.where(ids < 0, UNKNOWN_ID if tokens == "own" else START_ID, true), true


class MaskedHead(nn.Module):
    """Dropout and one linear layer from a token's last state to the 1,024 5-mers, as in BarcodeBERT's pretraining.py.

    Args:
        spec: the tower whose states it sees.
        of_all: whether in training all known 5-mers are told, and not the hidden ones alone.
    """

    def __init__(self, spec: DnaTower, of_all: bool) -> None:
        super().__init__()
        self.of_all = of_all
        self.dropout = nn.Dropout(spec.dropout)
        self.decoder = nn.Linear(spec.width, NUM_KMERS).apply(draw_as_bert)

    def forward(self, states: Tensor, true: Tensor, hidden: Tensor) -> Tensor:
        """How well each barcode's 5-mers are told.

            s_i = - Σ_t log p(x_it | what is seen of i),   n_i = the number of these t,   r_i = of how many p is largest

        Args:
            states: the tower's last, (batch, 133, width).
            true: ids, (batch, 133).
            hidden: which are hidden, (batch, 133). In evaluation they alone are told.

        Returns:
            s, n and r, in fp32 at least, (batch, 3). Only s has a gradient.
        """
        asked = (true >= FIRST_KMER_ID) if self.of_all and self.training else hidden
        barcode, place = asked.nonzero(as_tuple=True)  # half of all logits, whose layer is as large as a small tower
        logits: Tensor = self.decoder(self.dropout(states[barcode, place]))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        wanted = true[barcode, place] - FIRST_KMER_ID
        entropies = F.cross_entropy(logits, wanted, reduction="none")
        numbers = torch.stack([entropies, torch.ones_like(entropies), (logits.argmax(-1) == wanted).to(logits)], dim=1)
        return numbers.new_zeros(len(true), 3).index_add(0, barcode, numbers)
