"""Every setting at once gives what dense matrices and scipy's multivariate t give one by one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.bzsl_likelihoods import model_log_likelihoods
from workloads.bzsl import likelihoods
from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.settings import GRID, ScaleForm, Setting
from workloads.bzsl.task import Partition, ZeroShotTask
from workloads.errors import ZeroShotError

FORMS: tuple[ScaleForm, ...] = ("published", "corrected")
SOME = (
    *GRID[::13],
    Setting(0.003, 70.0, 1.4, 0.2, 1),
    Setting(50.0, 0.02, 3.3, 90.0, 5),
    Setting(2.0, 3.0, 8000.0, 0.5, 9),
)
Dense = Callable[..., tuple[np.ndarray, np.ndarray]]
TOLERANCE = 1e-8  # what the search promises; differences are around 1e-12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("seed", "num_components"), [(0, 7), (1, 11), (2, 3), (1, 0)])
def test_log_likelihoods_are_those_of_scipys_multivariate_t(
    problem: Callable[..., ZeroShotTask], dense: Dense, form: ScaleForm, seed: int, num_components: int
) -> None:
    features = problem(seed)  # a species of one image, and one of more images than components
    model = SurrogateModel(features, features.test, num_components, form)
    for setting in SOME:
        candidates, expected = dense(features, features.test, setting, form, num_components)
        assert model.candidates.tolist() == candidates.tolist()
        found = model_log_likelihoods(model, setting)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_predictions_of_all_settings_at_once_are_those_of_each_alone(
    problem: Callable[..., ZeroShotTask], dense: Dense, form: ScaleForm
) -> None:
    features = problem(3)
    model = SurrogateModel(features, features.test, 7, form)
    found = model.predict(GRID)
    assert found.shape == (144, len(features.test.seen) + len(features.test.unseen))
    for setting, row in zip(GRID, found, strict=True):
        candidates, expected = dense(features, features.test, setting, form, 7)
        assert row.tolist() == candidates[expected.argmax(axis=1)].tolist()
    assert len(np.unique(found, axis=0)) > 10  # the settings do matter here


def test_batches_and_blocks_change_nothing(
    problem: Callable[..., ZeroShotTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = problem(4, sizes=(3,) * 40, num_unseen=20)
    whole = SurrogateModel(features, features.test, 6, "published").predict(SOME)
    monkeypatch.setattr("workloads.bzsl.model._BYTES_AT_ONCE", 1)  # then 32 queries at a time
    monkeypatch.setattr(likelihoods, "_FORMS_AT_ONCE", 30)
    monkeypatch.setattr("workloads.bzsl.model._MATRIX_BYTES", 5000)  # then several passes
    told: list[tuple[int, int]] = []
    model = SurrogateModel(features, features.test, 6, "published", keep=True)
    for _ in range(2):
        np.testing.assert_array_equal(model.predict(SOME, lambda *done: told.append(done)), whole)
    total = told[0][1]
    assert total > 3 * 140
    assert told[:3] == [(32, total), (64, total), (96, total)]
    assert told[-1] == (total, total)
    each = model_log_likelihoods(model, SOME[0])
    assert whole[0].tolist() == model.candidates[each.argmax(axis=1)].tolist()


def test_the_two_forms_differ_and_only_the_published_one_depends_on_the_signs_of_components(
    problem: Callable[..., ZeroShotTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.bzsl import species

    features, setting = problem(5), GRID[40]
    found = {form: model_log_likelihoods(SurrogateModel(features, features.test, 7, form), setting) for form in FORMS}
    assert np.abs(found["published"] - found["corrected"]).max() > 0.1
    signs = np.array([1, -1, 1, 1, -1, 1, 1])
    axes = species.principal_axes
    monkeypatch.setattr(species, "principal_axes", lambda train, count: axes(train, count) * signs)
    turned = {form: model_log_likelihoods(SurrogateModel(features, features.test, 7, form), setting) for form in FORMS}
    np.testing.assert_allclose(turned["corrected"], found["corrected"], rtol=0, atol=TOLERANCE)
    assert np.abs(turned["published"] - found["published"]).max() > 0.1


def test_the_corrected_form_predicts_the_same_from_stretched_and_turned_features(
    problem: Callable[..., ZeroShotTask],
) -> None:
    features = problem(6)
    random = np.random.default_rng(6)
    images = features.images.astype(np.float64) @ (np.eye(11) + random.normal(size=(11, 11)) / 5) + 3
    moved = replace(features, images=images.astype(np.float32))
    predicted = [SurrogateModel(one, one.test, 11, "corrected").predict(GRID) for one in (features, moved)]
    assert (predicted[0] == predicted[1]).mean() > 0.999  # features are fp32, so a close call may turn


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_specimens_and_of_seen_species_changes_no_prediction(
    problem: Callable[..., ZeroShotTask], form: ScaleForm
) -> None:
    features = problem(7)
    random = np.random.default_rng(7)
    specimens, classes = random.permutation(len(features.labels)), np.arange(len(features.classes))
    classes[:9] = random.permutation(9)  # the rule of surrogates depends on the order of the unseen species
    place, number = np.argsort(specimens), np.argsort(classes)

    def moved(partition: Partition) -> Partition:
        return replace(
            partition, train=place[partition.train], seen=place[partition.seen], unseen=place[partition.unseen]
        )

    other = replace(
        features,
        ids=features.ids[specimens],
        images=features.images[specimens],
        labels=number[features.labels[specimens]],
        classes=tuple(features.classes[c] for c in classes),
        side=features.side[classes],
        tuning=moved(features.tuning),
        test=moved(features.test),
        names={},
    )
    names = []
    for one in (features, other):
        predicted = SurrogateModel(one, one.test, 7, form).predict(GRID)
        names.append(np.array(one.classes)[predicted])
    np.testing.assert_array_equal(names[0], names[1])


@pytest.mark.parametrize("forms_at_once", [1, 768])
def test_equal_likelihoods_go_to_the_first_species(
    problem: Callable[..., ZeroShotTask], forms_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihoods, "_FORMS_AT_ONCE", forms_at_once)  # 1: every species in a step of its own
    features = problem(8, sizes=(4, 4, 4), num_unseen=2, num_features=3)
    images = features.images.copy()
    for part in (features.test.train, features.test.seen, features.test.unseen):
        images[part[features.labels[part] == 2]] = images[part[features.labels[part] == 1]]
    twins = replace(features, images=images)  # species 1 and 2 are the same
    predicted = SurrogateModel(twins, twins.test, 3, "corrected").predict(GRID)
    assert 1 in predicted
    assert 2 not in predicted


def test_too_many_surrogates_and_too_few_degrees_of_freedom_are_refused(problem: Callable[..., ZeroShotTask]) -> None:
    features = problem(9)
    model = SurrogateModel(features, features.test, 5, "corrected")
    with pytest.raises(ZeroShotError, match=r"10 surrogates .* 9 "):
        model.predict([replace(GRID[0], num_surrogates=10)])
    with pytest.raises(ZeroShotError, match=r"m = 1\.2 x 5 .* above 1\.2"):
        model.predict([replace(GRID[0], m=1.2)])
    for name in ("kappa0", "kappa1", "m", "s", "num_surrogates"):
        with pytest.raises(ZeroShotError, match="not positive"):
            replace(GRID[0], **{name: 0})
