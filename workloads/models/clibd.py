"""The CLIBD model, and one tower with a classifier or with what tells hidden 5-mers; `build` makes them from a spec."""

import math
from collections.abc import Collection, Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from workloads.data.inputs.batches import THERE
from workloads.models.bert import BertTower, draw_as_bert
from workloads.models.dnabert2 import MosaicBert
from workloads.models.masked import GENUS, MaskedHead, split_hidden
from workloads.tower_specs import DnaTower

_HEAD = "head"


class Clibd(nn.Module):
    """Towers that embed into one space (CLIBD, section 3).

    Args:
        towers: by modality; each has a `head`, and all else in it is pre-trained.
        temperature: the first one, positive.
        trainable_temperature: whether it is a parameter; it is never clamped, as in the authors' code.
        frozen: modalities of whose towers only the head learns; all else in them stays in evaluation mode.
    """

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        temperature: float,
        trainable_temperature: bool,
        frozen: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(dict(towers))
        self.frozen = frozenset(frozen)
        log_scale = torch.tensor(math.log(1 / temperature))
        if trainable_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self._filled_to: dict[bool, int] = {}
        """Rows of every batch that a compiled tower meets, in training (True) and in evaluation."""
        self.train()

    def compile_towers(self, in_training: int, in_evaluation: int) -> None:
        """Let torch compile the towers, each once for training and once for evaluation, with and without gradient.

        Smaller batches are filled up with copies of their first row, so that no size but these is compiled for. Not so
        where a batch has statistics; and byte pairs have widths of their own, for which DNABERT-2 is compiled as such.

        Args:
            in_training: rows of a batch, at most; another number when it is called again.
            in_evaluation: the same.
        """
        if not self._filled_to:
            for tower in self.towers.values():
                tower.compile(dynamic=None if any(isinstance(part, MosaicBert) for part in tower.modules()) else False)
        self._filled_to = {True: in_training, False: in_evaluation}

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, all but what is frozen: its dropout is off, its running statistics do not move."""
        super().train(mode)
        for modality in self.frozen:
            for name, part in self.towers[modality].named_children():
                part.train(mode and name == _HEAD)
        return self

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Embed specimens.

        Args:
            inputs: by modality, for another view of it by `<modality>/other`. Images are uint8 pixels
                (batch, 3, side, side) or features (batch, feature); barcodes are token ids (batch, tokens), base codes
                (batch, 660) or features; labels are token ids (batch, tokens). Which specimens have a modality that
                some lack is in `<modality>/there`, bool (batch,): the tower sees these alone.

        Returns:
            Unit embeddings in fp32, (batch, embedding) by name of the input, zeros for those who lack it; and the
            scale, which is the inverse temperature.
        """
        embedded = {name: F.normalize(rows.float(), dim=-1) for name, rows in self._raw(inputs).items()}
        return embedded, self.log_scale.exp()

    def _raw(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the towers give; `image/other` is another view for the image tower."""
        rows: dict[str, Tensor] = {}
        for name, values in inputs.items():
            if not name.endswith(THERE):
                tower, there = self.towers[name.split("/")[0]], inputs.get(name + THERE)
                rows[name] = self._given(tower, values) if there is None else self._given_some(tower, values, there)
        return rows

    def _given_some(self, tower: nn.Module, values: Tensor, there: Tensor) -> Tensor:
        """What a tower gives for those that are there, and zeros for the others.

        One alone is seen twice, as batch normalisation needs two; and where there is none the tower sees the first row
        in vain, so that its gradients, of 0, are there to be reduced.
        """
        own = there.nonzero()[:, 0]
        seen = own if len(own) > 1 else own.repeat(2) if len(own) else own.new_zeros(2)
        rows = self._given(tower, values.index_select(0, seen))[: len(own)]
        return rows.new_zeros(len(there), rows.shape[1]).index_copy(0, own, rows)

    def _given(self, tower: nn.Module, values: Tensor) -> Tensor:
        count, missing = len(values), self._filled_to.get(self.training, 0) - len(values)
        if missing > 0 and not (self.training and any(isinstance(part, _BatchNorm) for part in tower.modules())):
            values = torch.cat([values, values[:1].expand(missing, *values.shape[1:])])
        rows: Tensor = tower(values)
        return rows[:count] if missing > 0 else rows

    def embed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit embeddings alone."""
        embedded: dict[str, Tensor] = self(inputs)[0]
        return embedded


class Classifier(Clibd):
    """One tower and a linear layer over the training species (CLIBD, section B.2, the supervised rows); no temperature.

    The layer sees the tower's embedding as it is, not normalised, as in the authors' `method_linear.py`.

    Args:
        modality: which tower it is.
        tower: as in `Clibd`.
        embedding_size: of the tower.
        num_classes: training species.
        frozen: whether of the tower only the head learns.
        head_is_new: whether the tower's head was drawn for this classifier, and is no part of a pre-trained encoder.
    """

    def __init__(
        self,
        modality: str,
        tower: nn.Module,
        embedding_size: int,
        num_classes: int,
        frozen: bool = False,
        head_is_new: bool = True,
    ) -> None:
        super().__init__({modality: tower}, 1.0, False, {modality} if frozen else ())
        self.head_is_new = head_is_new
        self.classifier = nn.Linear(embedding_size, num_classes)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Classify specimens.

        Args:
            inputs: as for `Clibd`.

        Returns:
            Logits in fp32, (batch, classes) by name of the input, and a scale of 1.
        """
        logits = {name: self.classifier(rows).float() for name, rows in self._raw(inputs).items()}
        return logits, self.log_scale.exp()

    def embed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder gives in front of the new linear layers, as unit vectors in fp32.

        These are the features of the fine-tuned encoders in zero-shot learning (CLIBD, Table 4). A head that was drawn
        for the classifier is one of the new layers; without it an untrained tower gives what its published weights do.
        """
        [tower], given = self.towers.values(), list[Tensor]()
        hook = tower.get_submodule(_HEAD).register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
        try:
            raw = self._raw(inputs)
        finally:
            hook.remove()
        # A head that sees every token, as the authors' BarcodeBERT has it, is behind nothing that is pooled.
        features = raw
        if self.head_is_new and given[0].ndim == 2:
            features = {name: rows[: len(raw[name])] for name, rows in zip(raw, given, strict=True)}
        return {name: F.normalize(rows.float(), dim=-1) for name, rows in features.items()}


class MaskedModel(Clibd):
    """A BarcodeBERT without a head, what tells its hidden 5-mers and, if any are to be told, its genus; no temperature.

    The genus is told from the pooled states, which are what is compared when the tower embeds.

    Args:
        tower: without a head.
        spec: of the tower.
        of_all: as for `MaskedHead`.
        num_genera: 0: none is told.
        frozen: whether the tower learns nothing.
    """

    def __init__(self, tower: BertTower, spec: DnaTower, of_all: bool, num_genera: int, frozen: bool) -> None:
        super().__init__({"dna": tower}, 1.0, False, {"dna"} if frozen else ())
        self.tokens = spec.tokens
        tower.token_dropout = 0.0  # what is hidden here is drawn with the batch
        self.masked = MaskedHead(spec, of_all)
        self.genus = nn.Linear(spec.width, num_genera).apply(draw_as_bert) if num_genera else None

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Tell hidden 5-mers.

        Args:
            inputs: `dna` alone, or nothing: 5-mer ids, negative where they are hidden, (batch, 133).

        Returns:
            Under `dna` what `MaskedHead` gives, (batch, 3), and under `GENUS` logits, (batch, genera), in fp32 at
            least; and a scale of 1.
        """
        rows: dict[str, Tensor] = {}
        for name, ids in inputs.items():
            seen, true = split_hidden(ids, self.tokens)
            states, real = self._tower.states(seen)
            rows[name] = self.masked(states, true, ids < 0)
            if self.genus is not None:
                logits: Tensor = self.genus(self._tower.pooled(states, real))
                rows[GENUS] = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return rows, self.log_scale.exp()

    @property
    def _tower(self) -> BertTower:
        tower = self.towers["dna"]
        assert isinstance(tower, BertTower)
        return tower

    def embed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pooled states of barcodes of which nothing is hidden, as unit vectors in fp32."""
        return {name: F.normalize(rows.float(), dim=-1) for name, rows in self._raw(inputs).items()}
