"""A spec made ready to train: its tokeniser and its model."""

from workloads.data.taxon_text import TextTokenizer
from workloads.models.clibd import Clibd, build_model
from workloads.spec import ExperimentSpec


def open_model(
    spec: ExperimentSpec, feature_size: int | None, tokenizer_json: str
) -> tuple[Clibd, TextTokenizer | None]:
    """The model of a spec with its first weights, and the tokeniser of its text tower.

    Args:
        spec: the experiment.
        feature_size: length of precomputed image features, None for pixels.
        tokenizer_json: the data set's own word pieces, for a text tower from scratch.

    Raises:
        WeightsError: published weights that the spec names cannot be had.
    """
    tokenizer = None
    if "text" in spec.modalities:
        if spec.text.weights:
            tokenizer = TextTokenizer.from_weights(spec.text.weights)
        else:
            tokenizer = TextTokenizer.from_json(tokenizer_json)
    vocabulary_size, pad_id = (tokenizer.vocabulary_size, tokenizer.pad_id) if tokenizer else (0, 0)
    return build_model(spec, feature_size, vocabulary_size, pad_id), tokenizer
