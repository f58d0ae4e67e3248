"""Pronounceable Latin-like names for synthetic taxa; no two taxa share one, and none is a real insect's by intent."""

_ONSETS = ("b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "x", "z", "br", "st")
_VOWELS = ("a", "e", "i", "o", "u")


def _stem(number: int, num_syllables: int) -> str:
    """A stem that tells every number apart: its digits in mixed base, as syllables."""
    syllables = []
    for _ in range(num_syllables):
        number, onset = divmod(number, len(_ONSETS))
        number, vowel = divmod(number, len(_VOWELS))
        syllables.append(_ONSETS[onset] + _VOWELS[vowel])
    while number:
        number, onset = divmod(number, len(_ONSETS))
        syllables.append(_ONSETS[onset] + "o")
    return "".join(syllables)


def lineage(taxa: tuple[int, int, int, int]) -> tuple[str, str, str, str]:
    """Order, family, genus and binomial of a place in the tree."""
    order, family, genus, species = taxa
    # The multipliers are coprime to the number of stems, so neighbours in the tree do not sound alike.
    genus_name = _stem(genus * 4111 % 614_125, 3).capitalize()
    return (
        f"{_stem(order * 37 % 85, 1)}noptera".capitalize(),
        f"{_stem(family * 1237 % 7225, 2)}lidae".capitalize(),
        genus_name,
        f"{genus_name} {_stem(species * 2311 % 614_125, 3)}us",
    )
