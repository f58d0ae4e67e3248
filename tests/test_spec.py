"""What a run is called, and which experiments cannot be asked for."""

import hashlib
import json
import re
from dataclasses import FrozenInstanceError, field, fields, is_dataclass, make_dataclass, replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.barcode_views import BarcodeViews
from workloads.errors import SpecError
from workloads.spec import MODALITIES, ExperimentSpec, Modality, first_difference, spec_from_dict, spec_to_dict
from workloads.tower_specs import DnaTower, ImageTower, Lora, TextTower

PLAIN = ExperimentSpec(dataset="bioscan_1m", data_fingerprint="0123abcd-256")
CHANGED = ExperimentSpec(
    dataset="insects",
    data_fingerprint="89abcdef-64",
    synthetic=True,
    modalities=("image", "dna"),
    image=ImageTower(kind="features", width=2048, depth=2, dropout=0.7),
    dna=DnaTower(width=128, depth=2, num_heads=4, hidden_width=256, dropout=0.0, token_dropout=0.1),
    text=TextTower(fine_tuning="lora", lora=Lora(rank=8, alpha=8, layers=(0, 3))),
    batch_size=500,
    epochs=20,
    max_learning_rate=3e-3,
    initial_learning_rate=6e-5,
    seed=43,
)

specs = st.builds(
    ExperimentSpec,
    dataset=st.sampled_from(["insects", "bioscan_1m"]),
    data_fingerprint=st.text("0123456789abcdef", min_size=8, max_size=8),
    synthetic=st.booleans(),
    modalities=st.permutations(MODALITIES).flatmap(
        lambda names: st.integers(2, 3).map(lambda count: tuple(names[:count]))
    ),
    image=st.builds(ImageTower, weights=st.none() | st.just("timm"), width=st.none() | st.integers(1, 900)),
    dna=st.builds(DnaTower, dropout=st.floats(0, 1)),
    text=st.builds(
        TextTower,
        kind=st.sampled_from(["bert", "openclip"]),
        lora=st.builds(Lora, rank=st.integers(1, 8), layers=st.none() | st.tuples(st.integers(0, 3))),
    ),
    batch_size=st.integers(2, 4000),
    weight_decay=st.floats(0, 1) | st.integers(0, 1),
    initial_temperature=st.floats(0.01, 10),
    trainable_temperature=st.booleans(),
    precision=st.sampled_from(["bf16", "fp32"]),
    positives=st.just("ranks"),
    rank_weights=st.sampled_from([(1.0, 0.2, 0.05, 0.02), (1, 0.5, 0, 0), (0.5, 0.5, 0.5, 0.5)]),
)


def test_published_ids_stay_what_they_are() -> None:
    assert PLAIN.id == "bioscan_1m-image+dna+text-b2000-e15-s42-37b4010c"
    assert CHANGED.id == "insects-image+dna-b500-e20-s43-7384f24f"


def test_the_fingerprint_is_the_hash_of_what_differs_from_the_defaults() -> None:
    differing = {
        "dataset": "bioscan_1m",
        "data_fingerprint": "0123abcd-256",
        "dna": {"dropout": 0.0, "weights": "bert"},
        "modalities": ["dna", "image"],
    }
    canonical = json.dumps(differing, sort_keys=True, separators=(",", ":"))
    spec = replace(PLAIN, dna=DnaTower(dropout=0.0, weights="bert"), modalities=("dna", "image"))
    assert spec.id.rpartition("-")[2] == hashlib.sha256(canonical.encode()).hexdigest()[:8]


def test_a_new_field_with_a_default_changes_no_id() -> None:
    wider = make_dataclass(
        "Wider", [("novelty", float, field(default=0.5))], bases=(ExperimentSpec,), frozen=True, kw_only=True
    )
    known = {item.name: getattr(CHANGED, item.name) for item in fields(CHANGED)}
    assert wider(**known).id == CHANGED.id
    assert wider(**known, novelty=0.6).id != CHANGED.id


def test_defaults_that_are_spelled_out_change_no_id() -> None:
    spelled = ExperimentSpec(**{item.name: getattr(PLAIN, item.name) for item in fields(PLAIN)})
    assert spelled.id == PLAIN.id
    assert replace(PLAIN, text=TextTower(lora=Lora(rank=4)), epochs=15).id == PLAIN.id


def test_whole_numbers_name_the_same_run_as_their_decimals() -> None:
    assert replace(PLAIN, weight_decay=0) == replace(PLAIN, weight_decay=0.0)
    assert replace(PLAIN, weight_decay=0).id == replace(PLAIN, weight_decay=0.0).id


CONSTRAINED = {"bind_to": "dna", "selection": "image_to_dna", "kmers": (4,), "share": 0.5, "shortest": 100}
"""Values that the rest of the spec allows."""


APART = ("objective", "rank_weights", "kept")
"""Fields that others have to go with."""


def changes(value: Any) -> list[tuple[str, Any]]:
    """Every field of a spec, each with another value than it has."""
    found: list[tuple[str, Any]] = []
    for item in fields(value):
        current = getattr(value, item.name)
        if item.name in APART:
            continue
        if is_dataclass(current):
            found += [(item.name, replace(current, **{name: new})) for name, new in changes(current)]  # type: ignore[type-var] # an instance
        elif item.name in CONSTRAINED:
            found.append((item.name, CONSTRAINED[item.name]))
        elif isinstance(current, bool):
            found.append((item.name, not current))
        elif isinstance(current, int | float):
            found.append((item.name, current + 1e-6 if isinstance(current, float) else current + 1))
        elif isinstance(current, tuple):
            found.append((item.name, current[::-1]))
        else:
            found.append((item.name, f"{current} else"))
    return found


def test_every_field_of_the_spec_and_of_its_towers_is_part_of_the_id() -> None:
    varied = [replace(PLAIN, **{name: value}) for name, value in changes(PLAIN)]
    counts = replace(PLAIN.dna, kind="kmers", counts="hellinger", hidden="residual")
    varied += [replace(PLAIN, dna=replace(counts, kept=share)) for share in (0, 0.25, 0.5)]
    varied += [replace(PLAIN, positives="ranks", rank_weights=weights) for weights in ((1, 0, 0, 0), (1, 1, 0.5, 0))]
    varied += [replace(PLAIN, objective=name, modalities=("image",)) for name in ("simclr", "classify")]
    assert len(varied) > 60
    assert len({spec.id for spec in [PLAIN, *varied]}) == len(varied) + 1


def test_an_id_names_the_run_and_ends_in_its_fingerprint() -> None:
    assert re.fullmatch(r"bioscan_1m-image\+dna\+text-b2000-e15-s42-[0-9a-f]{8}", PLAIN.id)


@settings(max_examples=50, deadline=None)
@given(specs)
def test_a_spec_survives_json(spec: ExperimentSpec) -> None:
    stored = json.loads(json.dumps(spec_to_dict(spec)))
    assert stored == spec_to_dict(spec)
    again = spec_from_dict(stored)
    assert again == spec
    assert again.id == spec.id
    assert hash(again) == hash(spec)
    assert first_difference(again, spec) is None


@settings(max_examples=50, deadline=None)
@given(specs, specs)
def test_two_specs_share_an_id_exactly_when_they_are_equal(one: ExperimentSpec, other: ExperimentSpec) -> None:
    assert (one.id == other.id) == (one == other) == (first_difference(one, other) is None)


def test_a_stored_spec_holds_its_defaults_too() -> None:
    stored = spec_to_dict(PLAIN)
    assert set(stored) == {item.name for item in fields(PLAIN)}
    assert stored["image"]["lora"] == {"rank": 4, "alpha": 4, "layers": None}
    assert stored["modalities"] == ["image", "dna", "text"]


def test_a_stored_spec_without_a_newer_field_gets_its_default() -> None:
    stored = spec_to_dict(CHANGED)
    del stored["precision"], stored["dna"]["token_dropout"], stored["text"]
    again = spec_from_dict(stored)
    assert (again.precision, again.dna.token_dropout, again.text) == ("bf16", 0.0, TextTower())


@pytest.mark.parametrize(
    "change",
    [
        {"novelty": 1},
        {"image": {"novelty": 1}},
        {"image": {"lora": {"ranks": 1}}},
        {"modalities": ...},
        {"dataset": ...},
    ],
)
def test_a_stored_spec_of_another_version_is_refused(change: dict[str, Any]) -> None:
    stored = {name: value for name, value in (spec_to_dict(PLAIN) | change).items() if value is not ...}
    with pytest.raises(SpecError, match="cannot be read"):
        spec_from_dict(stored)


def test_the_first_difference_names_the_field_and_both_values() -> None:
    assert first_difference(PLAIN, replace(PLAIN, epochs=20, seed=1)) == ("epochs", "15", "20")
    other = replace(PLAIN, text=TextTower(lora=Lora(rank=8)))
    name, stored, asked = first_difference(PLAIN, other) or ("", "", "")
    assert name == "text"
    assert "'rank': 4" in stored
    assert "'rank': 8" in asked


@pytest.mark.parametrize("modalities", [(), ("image",), ("image", "image"), ("image", "dna", "image")])
def test_aligning_takes_two_different_modalities(modalities: tuple[Modality, ...]) -> None:
    with pytest.raises(SpecError, match="two different"):
        replace(PLAIN, modalities=modalities)


@pytest.mark.parametrize("objective", ["simclr", "classify"])
def test_one_tower_alone_is_one_modality(objective: Literal["simclr", "classify"]) -> None:
    with pytest.raises(SpecError, match="trains one tower"):
        replace(PLAIN, objective=objective)
    assert f"-{objective}-image-" in replace(PLAIN, objective=objective, modalities=("image",)).id


def test_a_modality_that_does_not_exist_is_named() -> None:
    with pytest.raises(SpecError, match="modality: sound"):
        replace(PLAIN, modalities=("image", "sound"))  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "batch of 2"),
        ({"epochs": 0}, "1 epoch"),
        ({"initial_learning_rate": 0.0}, "learning rate"),
        ({"initial_learning_rate": 1e-3, "max_learning_rate": 1e-4}, "learning rate"),
        ({"initial_temperature": 0.0}, "temperature"),
        ({"initial_temperature": -1.0}, "temperature"),
        ({"bind_to": "text", "modalities": ("image", "dna")}, "bound to text"),
        ({"selection": "image_to_dna", "modalities": ("image", "text")}, "needs both"),
        ({"first_selected_epoch": 15}, "none is selected"),
        ({"positives": "ranks", "rank_weights": (1, 0.2, 0.05)}, "1,0.2,0.05; it has four numbers.*to 1,0.2,0.05,0.02"),
        ({"positives": "ranks", "rank_weights": (0, 0, 0, 0)}, "one at least above 0"),
        ({"positives": "ranks", "rank_weights": (2, 1, 0, 0)}, "from 0 to 1"),
        ({"positives": "ranks", "rank_weights": (1, 0, 0, -0.1)}, "from 0 to 1"),
        ({"positives": "ranks", "rank_weights": (float("nan"),) * 4}, "from 0 to 1"),
        ({"positives": "species", "rank_weights": (1, 0, 0, 0)}, "set positives to ranks"),
        ({"positives": "bin", "objective": "classify", "modalities": ("image",)}, "set positives to specimen"),
        ({"dna": DnaTower(tokens="authors")}, "no padding to mask"),
        ({"dna": DnaTower(kind="features", views=BarcodeViews(shift=1))}, "features of barcodes have no views"),
        ({"dna": DnaTower(kmers=())}, "dna.kmers is empty; it is sizes from 1 to 7"),
        ({"dna": DnaTower(kmers=(6, 5))}, "dna.kmers is 6, 5; it is sizes from 1 to 7, the smallest first"),
        ({"dna": DnaTower(kmers=(8,))}, "dna.kmers is 8"),
        ({"dna": DnaTower(pooling="cls_token", width=64)}, "set embedding_size to 64, not 768"),
        ({"dna": DnaTower(pooling="hidden_mean"), "embedding_size": 64}, "set embedding_size to 768, not 64"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(PLAIN, **change)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({"substituted": 1.5}, "dna.views.substituted is 1.5; it is a share, from 0 to 1"),
        ({"share": -0.1}, "dna.views.share is -0.1"),
        ({"shortest": 0}, "dna.views.shortest 1 or none"),
        ({"indels": -1}, "dna.views.indels are 0 bases at least"),
    ],
)
def test_views_that_cannot_be_are_refused(views: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        BarcodeViews(**views)


def test_a_stored_spec_gives_its_kmers_and_views_back() -> None:
    tower = DnaTower(kind="kmers", kmers=(4, 6), strand="both", views=BarcodeViews(shortest=100, turned=0.5))
    spec = replace(PLAIN, dna=tower)
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(spec)))) == spec


def test_a_spec_cannot_be_assigned_into() -> None:
    with pytest.raises(FrozenInstanceError):
        PLAIN.seed = 7  # type: ignore[misc] # that is the point
