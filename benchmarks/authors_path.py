"""The authors' training step, restated from its description, for benchmarks to compare with.

It gives the same loss and embeddings as ours under the recipe `authors` (tests/test_authors_path.py), and spends what
theirs spends: eager attention that also returns all hidden states, adapters left in the vision transformer although all
its parameters train, twelve cross entropies with soft labels, an optimiser that is not fused, and anomaly mode. Left
out are what one process has no use for: the gather over processes and the search for unused parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.models.torchvision_ops import declare_missing_operators

LORA_RANK = 4
PAD_ID = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Of the three towers; the defaults are the paper's."""

    image_size: int = 224
    patch_size: int = 16
    image_width: int = 768
    image_depth: int = 12
    image_heads: int = 12
    dna_vocabulary: int = 1027
    dna_tokens: int = 133
    dna_width: int = 768
    dna_depth: int = 12
    dna_heads: int = 12
    dna_hidden_width: int = 3072
    text_vocabulary: int = 30522
    text_tokens: int = 20
    text_width: int = 512
    text_depth: int = 4
    text_heads: int = 8
    text_hidden_width: int = 2048
    embedding_size: int = 768
    dropout: float = 0.1


class AdaptedQkv(nn.Module):
    """A fused query-key-value layer with low-rank updates added in place to the queries and to the values."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        width = fused.in_features
        self.fused = fused
        self.width = width
        self.query_down, self.value_down = (nn.Linear(width, LORA_RANK, bias=False) for _ in range(2))
        self.query_up, self.value_up = (nn.Linear(LORA_RANK, width, bias=False) for _ in range(2))
        nn.init.zeros_(self.query_up.weight)
        nn.init.zeros_(self.value_up.weight)

    def forward(self, states: Tensor) -> Tensor:
        """(batch, tokens, width) to (batch, tokens, 3 width)."""
        projected: Tensor = self.fused(states)
        projected[:, :, : self.width] += self.query_up(self.query_down(states))
        projected[:, :, -self.width :] += self.value_up(self.value_down(states))
        return projected


class AuthorsTowers(nn.Module):
    """All three towers with random weights, and the scale."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        declare_missing_operators()
        import timm
        from transformers import BertConfig, BertForMaskedLM, BertModel

        self.image = timm.create_model(
            "vit_base_patch16_224",
            pretrained=False,
            num_classes=sizes.embedding_size,
            img_size=sizes.image_size,
            patch_size=sizes.patch_size,
            embed_dim=sizes.image_width,
            depth=sizes.image_depth,
            num_heads=sizes.image_heads,
        )
        for block in self.image.blocks:
            block.attn.qkv = AdaptedQkv(block.attn.qkv)
        dropout = {"hidden_dropout_prob": sizes.dropout, "attention_probs_dropout_prob": sizes.dropout}
        dna = BertConfig(
            vocab_size=sizes.dna_vocabulary,
            hidden_size=sizes.dna_width,
            num_hidden_layers=sizes.dna_depth,
            num_attention_heads=sizes.dna_heads,
            intermediate_size=sizes.dna_hidden_width,
            output_hidden_states=True,
            attn_implementation="eager",
            **dropout,
        )
        self.dna = BertForMaskedLM(dna)
        self.dna.cls.predictions.decoder = nn.Linear(sizes.dna_width, sizes.embedding_size)
        text = BertConfig(
            vocab_size=sizes.text_vocabulary,
            hidden_size=sizes.text_width,
            num_hidden_layers=sizes.text_depth,
            num_attention_heads=sizes.text_heads,
            intermediate_size=sizes.text_hidden_width,
            attn_implementation="eager",
            **dropout,
        )
        self.text = BertModel(text)
        self.text_head = nn.Linear(sizes.text_width, sizes.embedding_size)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, image: Tensor, dna: Tensor, text: Tensor) -> tuple[list[Tensor], Tensor]:
        """Embed specimens.

        Args:
            image: pixels in [0, 1], fp32, (batch, 3, side, side).
            dna: 5-mer ids, (batch, tokens).
            text: word-piece ids, (batch, tokens).

        Returns:
            Unit embeddings of image, DNA and text, each (batch, embedding), and the scale.
        """
        dna_embedded = self.dna(dna).logits.softmax(dim=-1).mean(dim=1)
        states = self.text(input_ids=text, attention_mask=(text != PAD_ID).long()).last_hidden_state
        embedded = [self.image(image), dna_embedded, self.text_head(states.mean(dim=1))]
        return [F.normalize(rows, p=2, dim=-1) for rows in embedded], self.log_scale.exp()


def authors_loss(embeddings: Sequence[Tensor], scale: Tensor) -> Tensor:
    """Mean over ordered pairs of modalities of the cross entropies in both directions.

    For three modalities: six pairs, twelve products and as many cross entropies against an n × n matrix of labels,
    of which six and three would do; the rows are normalised again for each pair.

    Args:
        embeddings: by modality, (batch, size).
        scale: inverse temperature, positive scalar.
    """
    rows = torch.arange(len(embeddings[0]), device=embeddings[0].device)
    labels = (rows[:, None] == rows[None, :]).float()  # (batch, batch)
    losses: list[Tensor] = []
    for one, other in permutations(embeddings, 2):
        a, b = F.normalize(one, p=2, dim=1), F.normalize(other, p=2, dim=1)
        forth, back = scale * a @ b.T, scale * b @ a.T
        losses.append((F.cross_entropy(forth, labels) + F.cross_entropy(back, labels)) / 2)
    return sum(losses, start=torch.zeros((), device=rows.device)) / len(losses)


class AuthorsStep:
    """One optimisation step after another, as published.

    Args:
        sizes: of the towers.
        device: where they are.
    """

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.model = AuthorsTowers(sizes).to(device).train()
        self.device = device
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5, weight_decay=0.01)
        self.scaler = torch.amp.GradScaler(device.type)

    def step(
        self, batch: Mapping[str, Tensor], precision: Literal["bf16", "fp32"] = "bf16", anomaly: bool = True
    ) -> float:
        """Train on one batch.

        Args:
            batch: `image` as fp32, `dna` and `text`, on any device.
            precision: `bf16` is autocast with a gradient scaler, which bf16 does not need.
            anomaly: whether autograd's anomaly mode is on, as in every published run.

        Returns:
            The loss.
        """
        with torch.autograd.set_detect_anomaly(anomaly):
            image, dna, text = (batch[name].to(self.device) for name in ("image", "dna", "text"))
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
                embedded, scale = self.model(image, dna, text)
            loss = authors_loss(embedded, scale)
            epoch_loss = loss.item()
            if precision == "bf16":
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
            else:
                loss.backward()
                self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.get_device_properties(self.device)  # asked for each time, to print the memory in use
        shown, logged = loss.item(), loss.item()  # each waits for the device
        return (epoch_loss + shown + logged) / 3


def drawn_batch(sizes: Sizes, batch_size: int, seed: int = 0) -> dict[str, Tensor]:
    """Random specimens: uint8 pixels, 5-mer ids, and word pieces of which the last of each label are padding."""
    random = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, (batch_size, *shape), generator=random)

    text = integers(1, sizes.text_vocabulary, sizes.text_tokens)
    lengths = integers(min(8, sizes.text_tokens), sizes.text_tokens + 1, 1)
    side = sizes.image_size
    return {
        "image": integers(0, 256, 3, side, side).to(torch.uint8),
        "dna": integers(3, sizes.dna_vocabulary, sizes.dna_tokens),
        "text": text.masked_fill(torch.arange(sizes.text_tokens) >= lengths, PAD_ID),
    }


def as_authors_feed(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same batch with images as fp32 in [0, 1], four times the bytes, as the authors' loader makes them."""
    return {**batch, "image": batch["image"].float() / 255}
