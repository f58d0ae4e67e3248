"""Synthetic insects: what is inherited, what is random, and what never changes for a seed."""

import io
import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from workloads.data.synthetic.drawings import draw, traits
from workloads.data.synthetic.insects import BARCODE_BASES, TreePlace, barcode, lineage, specimens
from workloads.spec import RANKS

ROWS = list(specimens(1500, seed=7))
PLACES = [TreePlace.parse(row["image"] or "") for row in ROWS]


def differences(one: str, other: str) -> list[int]:
    """Positions of the bases in which two barcodes differ, where both were read."""
    pairs = enumerate(zip(one, other, strict=False))
    return [position for position, (a, b) in pairs if a != b and "N" not in (a, b)]


def distance(one: str, other: str) -> float:
    return len(differences(one, other)) / min(len(one), len(other))


def test_a_seed_gives_the_same_specimens_every_time() -> None:
    assert list(specimens(40, seed=7)) == list(specimens(40, seed=7))


def test_another_seed_gives_other_specimens() -> None:
    one, other = list(specimens(40, seed=1)), list(specimens(40, seed=2))
    for name in ("specimen_id", "image", "barcode"):
        assert not {row[name] for row in one} & {row[name] for row in other}


def test_a_specimen_can_be_made_from_its_reference_alone() -> None:
    for row, place in zip(ROWS[:20], PLACES, strict=False):
        assert place.reference == row["image"]
        assert barcode(place) == row["barcode"]


def test_specimen_ids_are_unique() -> None:
    assert len({row["specimen_id"] for row in ROWS}) == len(ROWS)


def test_barcodes_differ_far_less_within_species_than_between_them() -> None:
    members = defaultdict(list)
    for row, place in zip(ROWS, PLACES, strict=True):
        members[place.taxa].append(row["barcode"] or "")
    within = [distance(codes[0], code) for codes in members.values() for code in codes[1:4]]
    first = [codes[0] for _, codes in sorted(members.items())]
    between = [distance(one, other) for one, other in itertools.pairwise(first)]
    assert np.mean(within) < 0.01  # the barcoding gap: below 1 % within, above 2 % between neighbours in the tree
    assert np.mean(between) > 5 * np.mean(within)
    # Some pairs of young species overlap on purpose, as in nature: barcodes alone do not tell all species apart.
    assert np.quantile(between, 0.1) > np.quantile(within, 0.95)


def test_divergence_grows_with_the_rank_that_separates() -> None:
    random = np.random.default_rng(0)
    by_rank = defaultdict(list)
    for one, other in random.integers(0, len(ROWS), (4000, 2)):
        taxa = list(zip(PLACES[one].taxa, PLACES[other].taxa, strict=True))
        depth = next((depth for depth, (a, b) in enumerate(taxa) if a != b), 4)
        by_rank[depth].append(distance(ROWS[one]["barcode"] or "", ROWS[other]["barcode"] or ""))
    means = [np.mean(by_rank[depth]) for depth in range(5)]
    assert means == sorted(means, reverse=True)
    assert means[0] < 0.3


def test_substitutions_are_mostly_at_third_codon_positions() -> None:
    positions: Counter[int] = Counter()
    for one, other in itertools.pairwise(ROWS[:200]):
        positions.update(p % 3 for p in differences(one["barcode"] or "", other["barcode"] or ""))
    assert positions[2] > 0.75 * positions.total()
    assert min(positions.values()) > 0


def test_no_reading_frame_is_broken_by_a_stop() -> None:
    for row in ROWS:
        letters = row["barcode"] or ""
        codons = {letters[start : start + 3] for start in range(0, len(letters) - 2, 3)}
        assert not codons & {"TAA", "TAG"}


def test_barcodes_are_nucleotides_of_the_folmer_length_and_some_end_early() -> None:
    lengths = Counter(len(row["barcode"] or "") for row in ROWS)
    assert max(lengths) == BARCODE_BASES == 658
    assert 0.05 < 1 - lengths[658] / len(ROWS) < 0.15
    assert set().union(*(row["barcode"] or "" for row in ROWS)) == set("ACGT")


def test_species_sizes_have_a_long_tail() -> None:
    sizes = sorted(Counter(place.taxa for place in PLACES).values(), reverse=True)
    tenth = len(sizes) // 10
    assert sum(sizes[:tenth]) > 0.25 * len(ROWS)
    assert np.median(sizes) < np.mean(sizes)
    assert sizes[-1] <= 5


def test_about_a_third_lack_the_species_and_half_of_these_the_genus() -> None:
    no_species = np.mean([row["species"] is None for row in ROWS])
    no_genus = np.mean([row["genus"] is None for row in ROWS])
    assert abs(no_species - 0.33) < 0.04  # three standard errors of 1,500 draws
    assert abs(no_genus - 0.16) < 0.03
    assert all(row["order"] and row["family"] for row in ROWS)
    assert not any(row["genus"] is None and row["species"] for row in ROWS)


def test_names_follow_the_tree_and_none_is_shared() -> None:
    taxa = sorted({place.taxa for place in PLACES})
    for depth, rank in enumerate(RANKS):
        paths = {path[: depth + 1] for path in taxa}
        names = {path[: depth + 1]: lineage(path)[depth] for path in taxa}
        assert len(set(names.values())) == len(paths), rank


def test_species_names_are_unique_over_a_large_tree() -> None:
    paths = [(0, 0, species // 4, species) for species in range(60_000)]
    names = [lineage(path)[3] for path in paths]
    assert len(set(names)) == len(names)
    assert all(name.startswith(lineage(path)[2] + " ") for name, path in zip(names[:100], paths, strict=False))


def test_every_known_name_is_that_of_its_place() -> None:
    for row, place in zip(ROWS, PLACES, strict=True):
        for rank, name in zip(RANKS, lineage(place.taxa), strict=True):
            assert row[rank] in (name, None)


@pytest.mark.parametrize("count", [1, 2, 3, 14])
def test_few_specimens_can_be_asked_for(count: int) -> None:
    assert len(list(specimens(count, seed=0))) == count


@pytest.mark.parametrize("count", [0, -3])
def test_no_specimens_cannot_be_asked_for(count: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        list(specimens(count, seed=0))


def test_drawings_are_jpegs_of_64_pixels_and_the_same_every_time() -> None:
    for place in PLACES[:12]:
        content = draw(place)
        image = Image.open(io.BytesIO(content))
        image.load()
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
        assert np.asarray(image).std() > 5
        assert draw(place) == content


def test_drawings_of_two_specimens_differ() -> None:
    assert len({draw(place) for place in PLACES[:12]}) == 12


def test_traits_differ_less_within_species_than_between_them() -> None:
    members = defaultdict(list)
    for place in PLACES:
        members[place.taxa].append(np.array(list(traits(place).values())))
    groups = [np.stack(group) for _, group in sorted(members.items()) if len(group) > 4]
    within = np.mean([group.std(axis=0).mean() for group in groups])
    between = np.stack([group.mean(axis=0) for group in groups]).std(axis=0).mean()
    assert between > 4 * within
    assert all(((group > 0) & (group < 1)).all() for group in groups)
