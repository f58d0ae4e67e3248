"""The networks behind the released checkpoints, tiny, with random weights, built from their description."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.conversion.foreign_checkpoint import ForeignCheckpoint
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.specimens.barcode import authors_token_ids
from workloads.models.clibd import Classifier, Clibd
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.tower_specs import DnaPooling

LABELS = [
    "Diptera Cecidomyiidae Lestremia Lestremia cinerea",
    "Diptera not_classified not_classified not_classified",
    "Hymenoptera Braconidae Aphidius Aphidius ervi",
    "Coleoptera",
]
BARCODES = ["AACATTATATTTTATCTTTGGTATTTGATCAGGAATAG" * 18, "ACGTN" * 60, "T" * 660, "GGATCC" * 40]
WIDTH, DEPTH, EMBEDDING, RANK = 128, 2, 48, 4
IMAGE_SIZE, PATCH = 32, 16
MAX_TOKENS = 20
NAMES = {
    "old": ("lora_vit", "lora_barcode_bert", "lora_bert"),
    "new": ("base_image_encoder", "base_dna_encoder", "base_language_encoder"),
}


def half(size_in: int, size_out: int) -> nn.Linear:
    """One half of an adapter, so large that leaving it out would show."""
    layer = nn.Linear(size_in, size_out, bias=False)
    nn.init.normal_(layer.weight, std=0.2)
    return layer


class FusedWithAdapters(nn.Module):
    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        width = fused.in_features
        self.qkv = fused
        self.linear_a_q, self.linear_b_q = half(width, RANK), half(RANK, width)
        self.linear_a_v, self.linear_b_v = half(width, RANK), half(RANK, width)

    def forward(self, states: Tensor) -> Tensor:
        query, key, value = self.qkv(states).chunk(3, dim=-1)
        query = query + self.linear_b_q(self.linear_a_q(states))
        value = value + self.linear_b_v(self.linear_a_v(states))
        return torch.cat([query, key, value], dim=-1)


class WithAdapter(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.w = layer
        self.w_a, self.w_b = half(layer.in_features, RANK), half(RANK, layer.out_features)

    def forward(self, states: Tensor) -> Tensor:
        adapted: Tensor = self.w(states) + self.w_b(self.w_a(states))
        return adapted


class Encoder(nn.Module):
    """A transformer under the name it has in a checkpoint."""

    def __init__(self, name: str, transformer: nn.Module) -> None:
        super().__init__()
        self.add_module(name, transformer)
        self.name = name

    @property
    def transformer(self) -> nn.Module:
        return self.get_submodule(self.name)


class ImageEncoder(Encoder):
    def forward(self, pixels: Tensor) -> Tensor:
        embedded: Tensor = self.transformer(pixels)
        return embedded


class DnaEncoder(Encoder):
    """With the output that was published, or one of those of the authors' later branch."""

    def __init__(self, name: str, transformer: nn.Module, pooling: DnaPooling) -> None:
        super().__init__(name, transformer)
        self.pooling = pooling

    def forward(self, ids: Tensor) -> Tensor:
        output = self.transformer(input_ids=ids, output_hidden_states=True)
        outputs: dict[DnaPooling, Tensor] = {
            "softmax_mean": output.logits.softmax(dim=-1).mean(dim=1),
            "logits_mean": output.logits.mean(dim=1),
            "hidden_mean": output.hidden_states[-1].mean(dim=1),
            "cls_token": output.hidden_states[-1][:, 0, :],
        }
        return outputs[self.pooling]


class TextEncoder(Encoder):
    def __init__(self, name: str, transformer: nn.Module, embedding: int) -> None:
        super().__init__(name, transformer)
        self.proj = nn.Linear(WIDTH, embedding)

    def forward(self, ids: Tensor, pad_id: int) -> Tensor:
        states = self.transformer(input_ids=ids, attention_mask=(ids != pad_id).long()).last_hidden_state
        embedded: Tensor = self.proj(states.mean(dim=1))
        return embedded


class AuthorsModel(nn.Module):
    def __init__(
        self,
        names: str,
        vocabulary_size: int,
        adapted: bool,
        fused_adapted: bool = True,
        embedding: int = EMBEDDING,
        pooling: DnaPooling = "softmax_mean",
    ) -> None:
        super().__init__()
        declare_missing_operators()
        image_name, dna_name, text_name = NAMES[names]
        self.image_encoder = ImageEncoder(image_name, vision_transformer(embedding, fused_adapted))
        dna, text = masked_language_model(), text_transformer(vocabulary_size)
        dna.get_submodule("cls.predictions").add_module("decoder", nn.Linear(WIDTH, embedding))
        if adapted:
            add_adapters(dna)
            add_adapters(text)
        self.dna_encoder = DnaEncoder(dna_name, dna, pooling)
        self.language_encoder = TextEncoder(text_name, text, embedding)
        self.logit_scale = nn.Parameter(torch.tensor(3.25))

    def state(self) -> dict[str, Tensor]:
        """As older versions of transformers stored it, with the numbers of the positions."""
        state = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        numbers = torch.arange(512).unsqueeze(0)
        state[f"dna_encoder.{self.dna_encoder.name}.bert.embeddings.position_ids"] = numbers
        state[f"language_encoder.{self.language_encoder.name}.embeddings.position_ids"] = numbers.clone()
        return state

    def embed(self, inputs: Mapping[str, Tensor], pad_id: int) -> Mapping[str, Tensor]:
        """Unit embeddings; pixels are bytes, fed in [0, 1]."""
        embedded = {
            "image": self.image_encoder(inputs["image"].float() / 255),
            "dna": self.dna_encoder(inputs["dna"]),
            "text": self.language_encoder(inputs["text"], pad_id),
        }
        return {name: F.normalize(values, dim=-1) for name, values in embedded.items()}


def vision_transformer(num_classes: int, adapted: bool) -> nn.Module:
    declare_missing_operators()
    import timm

    model: nn.Module = timm.create_model(
        "vit_base_patch16_224", img_size=IMAGE_SIZE, embed_dim=WIDTH, depth=DEPTH, num_heads=2, num_classes=num_classes
    )
    for number in range(DEPTH if adapted else 0):
        attention = model.get_submodule(f"blocks.{number}.attn")
        attention.add_module("qkv", FusedWithAdapters(linear(attention, "qkv")))
    return model


def masked_language_model() -> nn.Module:
    declare_missing_operators()
    from transformers import BertForMaskedLM

    model: nn.Module = BertForMaskedLM(bert_config(1027, EMBEDDING * 2))
    for name, parameter in model.named_parameters():  # transformers begins with biases of zero
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model


def text_transformer(vocabulary_size: int) -> nn.Module:
    declare_missing_operators()
    from transformers import BertModel

    model: nn.Module = BertModel(bert_config(vocabulary_size, EMBEDDING * 3))
    return model


def bert_config(vocabulary_size: int, hidden_width: int):  # type: ignore[no-untyped-def] # transformers is untyped
    from transformers import BertConfig

    return BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        intermediate_size=hidden_width,
        attn_implementation="eager",
    )


def add_adapters(bert: nn.Module) -> None:
    for name, module in list(bert.named_modules()):
        for part in ("query", "value") if name.endswith("attention.self") else ():
            module.add_module(part, WithAdapter(linear(module, part)))


def linear(module: nn.Module, name: str) -> nn.Linear:
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def images() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (len(LABELS), 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8, generator=generator)


def inputs(tokenizer: TextTokenizer) -> dict[str, Tensor]:
    labels = torch.from_numpy(tokenizer.ids(LABELS, max_tokens=MAX_TOKENS, whole_length=True))
    return {
        "image": images(),
        "dna": torch.from_numpy(authors_token_ids(BARCODES)).long(),
        "text": labels,
    }


@torch.no_grad()
def distance(model: Clibd | Classifier, theirs: AuthorsModel, tokenizer: TextTokenizer) -> float:
    """The largest difference between two models' embeddings of the same specimens."""
    fed = inputs(tokenizer)
    ours, _ = model.eval()({name: values for name, values in fed.items() if name in model.towers})
    expected = theirs.embed(fed, tokenizer.pad_id)
    assert min(float(values.std()) for values in ours.values()) > 1e-6
    return max(float((ours[name] - expected[name]).abs().max()) for name in ours)


def authors_model(names: str, tokenizer: TextTokenizer, *, adapted: bool, fused_adapted: bool = True) -> AuthorsModel:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return AuthorsModel(names, tokenizer.vocabulary_size, adapted, fused_adapted).eval()


RELEASED = Path("ckpt/bioscan_clip/ver_1_0/bioscan_1m/image_dna_text_4gpu/best.pth")
"""A published name, which says how DNA is pooled."""


def checkpoint(tensors: Mapping[str, Tensor], path: Path = RELEASED) -> ForeignCheckpoint:
    return ForeignCheckpoint(path, "0" * 64, tensors, {}, ())
