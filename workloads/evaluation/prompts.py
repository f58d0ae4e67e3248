"""What is said of a specimen to a model that was trained on captions: its label, and the sentences around it."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from workloads.arrays import Labels, Names
from workloads.data.specimens.schema import lineage_text
from workloads.models.openclip_plan import open_clip_library
from workloads.spec import RANKS, Recipe

Prompts = Literal["openai", "plain", "photo"]
"""The 80 sentences that OpenAI made for ImageNet, as OpenCLIP ships them; the label as it is; or one sentence."""

Wording = Literal["species", "four_ranks"]
"""Which names a label is made of."""
WORDING: dict[Recipe, Wording] = {"paper": "four_ranks", "authors": "species", "corrected": "four_ranks"}
"""The paper puts "the four concatenated taxonomic levels" into OpenAI's sentences (section 5.2); of the authors' two
scripts the one that runs takes the species alone."""


def templates(prompts: Prompts) -> Sequence[str | Callable[[str], str]]:
    """The sentences that a label is put into; its embedding is the mean of theirs."""
    if prompts == "plain":
        return ["{}"]
    if prompts == "photo":
        return ["a photo of {}."]
    return list(open_clip_library().OPENAI_IMAGENET_TEMPLATES)


def label_texts(labels: Labels, wording: Wording) -> Names:
    """The label of each specimen, (specimens,).

    Four ranks are said as CLIBD's own text tower hears them: missing ones are left out, and the genus is not said
    twice. Where the species alone is asked for, a specimen without one is called by its lowest rank that has a name.
    One without any name has an empty label.

    Args:
        labels: names by rank, None where missing, (specimens,) each.
        wording: which of them are said.
    """
    texts = []
    for names in zip(*(labels[rank] for rank in RANKS), strict=True):
        lowest = next((name for name in reversed(names) if name is not None), "")
        texts.append(lowest if wording == "species" else lineage_text(dict(zip(RANKS, names, strict=True))))
    return np.array([*texts, None], dtype=object)[:-1]
