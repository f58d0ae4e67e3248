"""Fields of an experiment set as text: every one of them, by its type, and never silently."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from workloads.errors import SpecError, UsageError
from workloads.fields import with_fields
from workloads.spec import ExperimentSpec
from workloads.tower_specs import ImageTower, Lora, TextTower

PLAIN = ExperimentSpec(dataset="insects", data_fingerprint="0")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], PLAIN),
        (["image.fine_tuning=lora"], replace(PLAIN, image=ImageTower(fine_tuning="lora"))),
        (["max_learning_rate=1e-3", "epochs=3"], replace(PLAIN, max_learning_rate=1e-3, epochs=3)),
        (["modalities=image, dna"], replace(PLAIN, modalities=("image", "dna"))),
        (["image.depth=7", "image.depth=none"], PLAIN),
        (["image.weights=none"], PLAIN),
        (["text.weights=prajjwal1/bert-small"], replace(PLAIN, text=TextTower(weights="prajjwal1/bert-small"))),
        (["trainable_temperature=False"], replace(PLAIN, trainable_temperature=False)),
        (["text.lora.layers=0,3"], replace(PLAIN, text=TextTower(lora=Lora(layers=(0, 3))))),
        (["bind_to=dna", "seed=0"], replace(PLAIN, bind_to="dna", seed=0)),
        # Together, in whichever order: neither alone would be an experiment.
        (["modalities=image", "objective=simclr"], replace(PLAIN, modalities=("image",), objective="simclr")),
    ],
)
def test_a_field_gets_the_value_that_the_text_means(settings: list[str], expected: ExperimentSpec) -> None:
    found = with_fields(PLAIN, settings)
    assert found == expected
    assert found.id == expected.id


def leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for item in fields(value):
        inner = getattr(value, item.name)
        found += leaves(inner, f"{prefix}{item.name}.") if is_dataclass(inner) else [(f"{prefix}{item.name}", inner)]
    return found


def as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_every_field_can_be_set_to_what_it_is() -> None:
    """Defaults included: all of them, as text, give the same spec back."""
    found = leaves(PLAIN)
    with pytest.raises(UsageError, match="there are ") as refused:
        with_fields(PLAIN, ["qqqqqq=1"])
    assert str(refused.value).partition("there are ")[2].split(", ") == [name for name, _ in found]
    assert len(found) > 60
    decided = ("dataset", "data_fingerprint", "synthetic", "recipe")
    assert with_fields(PLAIN, [f"{name}={as_text(value)}" for name, value in found if name not in decided]) == PLAIN


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "no value; write NAME=VALUE"),
        ("max_lerning_rate=1", r"did you mean max_learning_rate"),
        ("fine_tuning=lora", r"did you mean image\.fine_tuning or dna\.fine_tuning or text\.fine_tuning\?"),
        ("image.fine_tunning=lora", r"did you mean image\.fine_tuning"),
        ("zzz=1", r"no such field; there are dataset, .*seed"),
        ("image=vit", r"fields of its own: image\.kind, .*image\.lora\.layers"),
        ("image.fine_tuning=lorra", r"did you mean lora\? The value is full or lora or full_and_lora or frozen"),
        ("image.fine_tuning=none", r"The value is full"),
        ("modalities=image,sound", r"=sound: The value is image or dna or text"),
        ("bind_to=img", r"did you mean image\? The value is image or dna or text, none"),
        ("epochs=3.5", "a whole number"),
        ("image.depth=many", "a whole number, none"),
        ("image.width=0", "at least 1"),
        ("seed=-1", "at least 0"),
        ("max_learning_rate=nan", "at least 0"),
        ("weight_decay=inf", "at least 0"),
        ("max_learning_rate=fast", "a number"),
        ("dna.token_dropout=1.5", r"in \[0, 1\]"),
        ("trainable_temperature=maybe", "true or false"),
        ("image.architecture=", "a name"),
        ("dataset=other", "--data decides it"),
        ("synthetic=false", "--data decides it"),
        ("recipe=paper", "--recipe sets the fields"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_fields(PLAIN, [setting])


def test_fields_that_contradict_each_other_are_refused_as_in_any_spec() -> None:
    with pytest.raises(SpecError, match="learning rate"):
        with_fields(PLAIN, ["max_learning_rate=1e-9"])
