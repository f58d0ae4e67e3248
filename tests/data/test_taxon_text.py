"""Word pieces of labels: learned the same every time, and whole names where names repeat."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from workloads.data.prepared.taxon_text import (
    NUM_WORD_PIECES,
    TextTokenizer,
    learn_word_pieces,
)
from workloads.data.specimens.schema import lineage_text
from workloads.data.synthetic.insects import specimens
from workloads.errors import DamagedError, WeightsError
from workloads.tower_specs import TextTower

MAX_TOKENS = TextTower().max_tokens
LABELS = [lineage_text(row) for row in specimens(400, seed=1)]
LABELS += ["Lepidoptera Gelechiidae geleBioLep01 BioLep1169", "Diptera Sciaridae Zoro cf. b-us"]
LEARNED = learn_word_pieces(LABELS)

LEARN_AGAIN = """
import sys
from workloads.data.prepared.taxon_text import learn_word_pieces
sys.stdout.write(learn_word_pieces(sys.stdin.read().splitlines()))
"""


def ids_of(tokenizer: TextTokenizer, labels: Sequence[str]) -> np.ndarray:
    return tokenizer.ids(labels, MAX_TOKENS, whole_length=False)


def pieces(label: str) -> list[str]:
    return Tokenizer.from_str(LEARNED).encode(label).tokens


def test_the_same_labels_in_any_order_give_the_same_word_pieces() -> None:
    assert learn_word_pieces(LABELS[::-1]) == learn_word_pieces(LABELS * 2) == LEARNED


def test_another_process_learns_the_same_word_pieces() -> None:
    again = subprocess.run(
        [sys.executable, "-c", LEARN_AGAIN],
        input="\n".join(LABELS),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert again.stdout == LEARNED


def test_names_that_repeat_are_whole_pieces_and_not_letters() -> None:
    order, family = LABELS[0].split()[:2]
    assert pieces(f"{order} {family}") == ["[CLS]", order.lower(), family.lower(), "[SEP]"]


def test_a_new_label_is_spelled_with_pieces_that_join_to_it() -> None:
    spelled = pieces("Quokkawx")
    assert "[UNK]" not in spelled
    assert "".join(piece.removeprefix("##") for piece in spelled[1:-1]) == "quokkawx"


def test_no_label_of_the_data_set_is_unknown_or_cut() -> None:
    tokenizer = TextTokenizer.from_json(LEARNED)
    unknown = Tokenizer.from_str(LEARNED).token_to_id("[UNK]")
    ids = ids_of(tokenizer, LABELS)
    assert not (ids == unknown).any()
    assert ids.shape[1] < MAX_TOKENS


def test_the_vocabulary_is_bounded_and_numbered_without_gaps() -> None:
    vocabulary = Tokenizer.from_str(LEARNED).get_vocab()
    assert len(vocabulary) <= NUM_WORD_PIECES
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert TextTokenizer.from_json(LEARNED).vocabulary_size == len(vocabulary)
    assert vocabulary["[PAD]"] == 0


def test_ids_are_padded_to_the_longest_label_and_the_padding_is_marked() -> None:
    tokenizer = TextTokenizer.from_json(LEARNED)
    long, short = ids_of(tokenizer, [LABELS[0]])[0].tolist(), ids_of(tokenizer, ["Diptera"])[0].tolist()
    width = max(len(long), len(short))
    rows = [row + [tokenizer.pad_id] * (width - len(row)) for row in (long, short)]
    assert ids_of(tokenizer, [LABELS[0], "Diptera"]).tolist() == rows
    assert tokenizer.pad_id not in [*long, *short]


def test_a_label_that_is_too_long_is_cut_and_still_ends() -> None:
    tokenizer = TextTokenizer.from_json(LEARNED)
    ids = ids_of(tokenizer, ["q x z w " * 40])
    assert ids.shape == (1, MAX_TOKENS)
    assert ids[0, -1] == Tokenizer.from_str(LEARNED).token_to_id("[SEP]")


def test_no_labels_and_an_empty_label_give_ids() -> None:
    tokenizer = TextTokenizer.from_json(LEARNED)
    assert ids_of(tokenizer, []).shape == (0, 1)
    assert ids_of(tokenizer, [""]).shape == (1, 2)
    assert ids_of(tokenizer, [""]).dtype == np.int64


def test_no_labels_still_give_an_alphabet() -> None:
    assert Tokenizer.from_str(learn_word_pieces([])).encode("ab").tokens == ["[CLS]", "a", "##b", "[SEP]"]


def test_a_tokenizer_in_a_local_folder_is_used_with_its_own_padding(tmp_path: Path) -> None:
    published = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(LEARNED), pad_token="[SEP]")
    published.save_pretrained(tmp_path)
    tokenizer = TextTokenizer.from_weights(str(tmp_path))
    assert tokenizer.pad_id == published.convert_tokens_to_ids("[SEP]") != 0
    assert (
        ids_of(tokenizer, ["Diptera", LABELS[0]]).shape
        == ids_of(TextTokenizer.from_json(LEARNED), ["Diptera", LABELS[0]]).shape
    )


def words_with_pad_1(folder: Path, pad: str | None) -> str:
    """A published tokeniser of whole words in which `<pad>` is 1, as in RoBERTa, and 0 is a token of its own."""
    words = ("Insecta", "<pad>", "[UNK]", "Diptera", "Musca", "domestica")
    vocabulary = {word: number for number, word in enumerate(words)}
    plain = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    plain.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]", pad_token=pad).save_pretrained(folder)
    return str(folder)


def test_a_kept_tokenizer_pads_with_the_token_of_the_published_one(tmp_path: Path) -> None:
    place = words_with_pad_1(tmp_path, "<pad>")
    published = TextTokenizer.from_weights(place)
    kept = TextTokenizer.from_json(published.to_json())
    assert kept.pad_id == published.pad_id == 1
    for tokenizer in (kept, published):
        for _ in range(2):
            ids = ids_of(tokenizer, ["Diptera Musca domestica", "Diptera", "Insecta Musca"])
            assert ids.tolist() == [[3, 4, 5], [3, 1, 1], [0, 4, 1]]
            assert (ids != tokenizer.pad_id).sum(axis=1).tolist() == [3, 1, 2]


def test_without_a_padding_token_the_first_id_pads(tmp_path: Path) -> None:
    place = words_with_pad_1(tmp_path, None)
    published = TextTokenizer.from_weights(place)
    kept = TextTokenizer.from_json(published.to_json())
    labels = ["Diptera Musca", "Diptera"]
    assert ids_of(kept, labels).tolist() == ids_of(published, labels).tolist() == [[3, 4], [3, 0]]
    assert kept.pad_id == published.pad_id == 0


def test_learned_word_pieces_pad_with_their_first_token() -> None:
    assert TextTokenizer.from_json(LEARNED).pad_id == Tokenizer.from_str(LEARNED).token_to_id("[PAD]") == 0


def test_a_tokenizer_that_cannot_be_had_is_a_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="text tower") as caught:
        TextTokenizer.from_weights(str(tmp_path / "none"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [None, "{}", '{"vocab_size": 6}'])
def test_a_vocabulary_is_read_as_a_berts_where_the_configuration_does_not_say_so(
    config: str | None, tmp_path: Path
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "diptera")))
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    tokenizer = TextTokenizer.from_weights(str(tmp_path))
    assert tokenizer.pad_id == 0
    assert tokenizer.ids(["Diptera", "Musca diptera"], 20, whole_length=False).tolist() == [[2, 5, 3, 0], [2, 1, 5, 3]]


def test_a_folder_without_a_vocabulary_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    folder = tmp_path / "weights" / "some" / "bert"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match=r"no words\. .*tokenizer\.json.*weights/some/bert"):
        TextTokenizer.from_weights("some/bert")


@pytest.mark.parametrize("max_tokens", [5, 20, 48])
def test_labels_can_all_be_padded_to_the_whole_length(max_tokens: int) -> None:
    tokenizer = TextTokenizer.from_json(LEARNED)
    whole = tokenizer.ids(LABELS, max_tokens, whole_length=True)
    longest = tokenizer.ids(LABELS, max_tokens, whole_length=False)
    assert whole.shape == (len(LABELS), max_tokens)
    assert np.array_equal(whole[:, : longest.shape[1]], longest)
    assert (whole[:, longest.shape[1] :] == tokenizer.pad_id).all()
    assert tokenizer.ids([], max_tokens, whole_length=True).shape == (0, max_tokens)


def test_a_tokenizer_that_a_run_keeps_is_read_back_as_it_was(tmp_path: Path) -> None:
    published = TextTokenizer.from_weights(words_with_pad_1(tmp_path, "<pad>"))
    labels = ["Diptera Musca domestica", "Diptera"]
    for tokenizer in (TextTokenizer.from_json(LEARNED), published):
        before = tokenizer.ids(labels, 3, whole_length=False)
        kept = TextTokenizer.from_json(tokenizer.to_json())
        assert kept.to_json() == tokenizer.to_json()
        assert (kept.pad_id, kept.vocabulary_size) == (tokenizer.pad_id, tokenizer.vocabulary_size)
        assert np.array_equal(kept.ids(labels, 3, whole_length=False), before)
        assert np.array_equal(kept.ids(labels, 9, whole_length=True), tokenizer.ids(labels, 9, whole_length=True))


@pytest.mark.parametrize(
    ("part", "value"),
    [("added_tokens", 5), ("model", None), ("post_processor", {"type": "TemplateProcessing", "single": 0})],
)
def test_a_damaged_tokenizer_is_named(part: str, value: object, tmp_path: Path) -> None:
    content = json.loads(LEARNED)
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, part: value}))
    with pytest.raises(WeightsError, match=str(tmp_path)):
        TextTokenizer.from_weights(str(tmp_path))


def test_a_tokenizer_that_panics_at_its_first_word_is_named(tmp_path: Path) -> None:
    content = json.loads(LEARNED)
    content["post_processor"]["special_tokens"] = {}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=str(tmp_path)):
        TextTokenizer.from_weights(str(tmp_path))
    with pytest.raises(DamagedError, match=r"run/tokenizer\.json: no tokeniser"):
        TextTokenizer.from_json(json.dumps(content), "run/tokenizer.json")
