"""Tokenisers for taxonomic labels: the data set's own word pieces, or a published model's."""

import string
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from workloads.errors import WeightsError

VOCABULARY_SIZE = 2000
MAX_TOKENS = 48
"""Labels are never cut in practice: the longest of BIOSCAN-1M have some 30 pieces. The authors cut at 20."""

_SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


def learn_word_pieces(labels: Iterable[str]) -> str:
    """A word-piece vocabulary learned from labels, as JSON of the `tokenizers` library.

    Any other label is spelled with the single characters that are always part of the vocabulary.
    """
    distinct = sorted(set(labels))
    found = {character for label in distinct for character in BertNormalizer().normalize_str(label)}
    characters = sorted(found.union(string.ascii_lowercase) - {" "})
    # Without ids of their own from the start, characters are numbered, and equally common pairs joined, by chance.
    trainer = WordPieceTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[*_SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)],
        show_progress=False,
    )
    learner = _bert_like(WordPiece(unk_token="[UNK]"))
    learner.train_from_iterator(distinct, trainer)
    # A special token is cut out of any word it is in, so only the real ones may be special when labels are read.
    tokenizer = _bert_like(WordPiece(learner.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(_SPECIAL_TOKENS))
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return str(tokenizer.to_str())


def published_tokenizer(weights: str) -> str:
    """The tokeniser of a Hugging Face model or of a local folder, as JSON of the `tokenizers` library.

    The padding token, which `transformers` keeps elsewhere, is part of it.

    Raises:
        WeightsError: it cannot be had, or is none of the fast ones.
    """
    fast = _fast_tokenizer(weights)
    backend = fast.backend_tokenizer
    if fast.pad_token_id is None:
        backend.no_padding()
    else:
        backend.enable_padding(pad_id=fast.pad_token_id, pad_token=fast.pad_token)
    return str(backend.to_str())


def _fast_tokenizer(weights: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(weights, use_fast=True)
    except (OSError, ValueError) as error:
        raise WeightsError("text", weights, f"its tokeniser cannot be loaded ({_first_line(error)})") from error
    if not tokenizer.is_fast:
        raise WeightsError("text", weights, "its tokeniser has no fast form")
    return tokenizer


def _bert_like(model: WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


class TextTokenizer:
    """Turns labels into padded token ids; `pad_id` marks what the tower must not look at."""

    def __init__(self, tokenizer: Any, pad_id: int) -> None:
        self._tokenizer = tokenizer
        self.pad_id = pad_id
        self.vocabulary_size: int = tokenizer.get_vocab_size()

    @staticmethod
    def from_json(content: str) -> "TextTokenizer":
        """The tokeniser that a data set keeps."""
        tokenizer = Tokenizer.from_str(content)
        padding = tokenizer.padding  # None for learned word pieces, whose [PAD] is the first of the special tokens
        return TextTokenizer(tokenizer, pad_id=int(padding["pad_id"]) if padding else 0)

    @staticmethod
    def from_weights(weights: str) -> "TextTokenizer":
        """The tokeniser of a Hugging Face model or of a local folder.

        Raises:
            WeightsError: it cannot be had.
        """
        fast = _fast_tokenizer(weights)
        return TextTokenizer(fast.backend_tokenizer, pad_id=int(fast.pad_token_id or 0))

    def ids(self, labels: Sequence[str]) -> npt.NDArray[np.int64]:
        """Token ids, (len(labels), longest label), padded with `pad_id`."""
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(labels))]
        padded = np.full((len(encoded), max(map(len, encoded), default=1)), self.pad_id, dtype=np.int64)
        for row, ids in enumerate(encoded):
            padded[row, : len(ids)] = ids
        return padded


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
