"""Tokenisers for taxonomic labels: the data set's own word pieces, or a published model's."""

import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from workloads.arrays import Indices
from workloads.errors import ClibdError, DamagedError, WeightsError, first_line
from workloads.weight_store import kept_at, kept_folder

NUM_WORD_PIECES = 2000

_ANY = "Diptera \u2603"
"""A word, and what is in no vocabulary, spelled once when a tokeniser is read: where its parts do not fit one another,
its library panics, or fails, only then."""
_SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


class LabelTokenizer(Protocol):
    """Turns labels into what a text tower takes."""

    pad_id: int
    """Marks the positions past the end of a label."""
    vocabulary_size: int
    """Ids are below it."""

    def ids(self, labels: Sequence[str], max_tokens: int, whole_length: bool) -> Indices:
        """Token ids, (len(labels), tokens), padded with `pad_id`.

        Args:
            labels: any number.
            max_tokens: longer labels are cut, their ends kept.
            whole_length: pad to `max_tokens`, and not only to the longest label.
        """


def learn_word_pieces(labels: Iterable[str]) -> str:
    """A word-piece vocabulary learned from labels, as JSON of the `tokenizers` library.

    Any other label is spelled with the single characters that are always part of the vocabulary.
    """
    distinct = sorted(set(labels))
    spelled = {character for label in distinct for character in BertNormalizer().normalize_str(label)}
    characters = sorted(spelled.union(string.ascii_lowercase) - {" "})
    # Without ids of their own from the start, characters are numbered, and equally common pairs joined, by chance.
    trainer = WordPieceTrainer(
        vocab_size=NUM_WORD_PIECES,
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


def _fast_tokenizer(weights: str) -> Any:
    from transformers import AutoTokenizer, BertTokenizerFast

    place = str(kept_folder(weights) or weights)
    remedy = f"Put its tokenizer.json, or vocab.txt, into {kept_at(weights)}"
    with _failing(lambda why: WeightsError("text", weights, f"its tokeniser cannot be loaded ({why}). {remedy}")):
        try:
            tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True)
        except ValueError:  # old configurations, such as those of the small BERTs, do not say that they are a BERT's
            tokenizer = BertTokenizerFast.from_pretrained(place)
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.encode(_ANY)
    if not tokenizer.is_fast:
        raise WeightsError("text", weights, "its tokeniser has no fast form")
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        # transformers takes a folder without a vocabulary for an empty one, and every word would be unknown.
        raise WeightsError("text", weights, f"its tokeniser has no words. {remedy}")
    return tokenizer


@contextmanager
def _failing(as_error: Callable[[str], ClibdError]) -> Iterator[None]:
    """Gives one error for whatever the library does with a damaged file; its panics are no Exception."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise as_error(first_line(error)) from error


def _bert_like(model: WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


class TextTokenizer:
    """Turns labels into padded token ids; `pad_id` marks what the tower must not look at."""

    def __init__(self, tokenizer: Tokenizer, pad_id: int) -> None:
        self._tokenizer = tokenizer
        self.pad_id = pad_id
        self.vocabulary_size: int = tokenizer.get_vocab_size()

    @staticmethod
    def from_json(content: str | bytes, path: str = "tokenizer.json") -> "TextTokenizer":
        """The tokeniser that a data set or a run keeps.

        Raises:
            DamagedError: the file at this path holds none.
        """
        with _failing(lambda why: DamagedError(path, f"no tokeniser ({why})")):
            tokenizer = Tokenizer.from_str(content if isinstance(content, str) else content.decode())
            tokenizer.encode(_ANY)
            padding = tokenizer.padding  # None for learned word pieces, whose [PAD] is the first of the special tokens
            return TextTokenizer(tokenizer, pad_id=int(padding["pad_id"]) if padding else 0)

    @staticmethod
    def from_weights(weights: str) -> "TextTokenizer":
        """The tokeniser of a Hugging Face model or of a local folder.

        Raises:
            WeightsError: it cannot be had, or is none of the fast ones.
        """
        fast = _fast_tokenizer(weights)
        return TextTokenizer(fast.backend_tokenizer, pad_id=int(fast.pad_token_id or 0))

    def to_json(self) -> str:
        """What `from_json` reads back, the padding token included, which `transformers` keeps elsewhere."""
        kept = Tokenizer.from_str(self._tokenizer.to_str())
        kept.no_truncation()
        kept.enable_padding(pad_id=self.pad_id, pad_token=kept.id_to_token(self.pad_id))
        return str(kept.to_str())

    def ids(self, labels: Sequence[str], max_tokens: int, whole_length: bool) -> Indices:
        """Token ids, (len(labels), tokens), padded with `pad_id`.

        Args:
            labels: any number.
            max_tokens: longer labels are cut before their end token, as the authors do at 20.
            whole_length: pad to `max_tokens`, and not only to the longest label.
        """
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.enable_padding(pad_id=self.pad_id, length=max_tokens if whole_length else None)
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(labels))]
        width = max_tokens if whole_length else max(map(len, encoded), default=1)
        return np.array(encoded, dtype=np.int64).reshape(len(encoded), width)
