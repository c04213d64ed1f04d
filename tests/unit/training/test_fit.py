"""Fitting: the signature, the codes of labels, and the estimator that a candidate stands for."""

import math

import numpy as np
import polars as pl
import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.products.candidates import Candidate, forest, gradient_boosting, lightgbm, linear
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import Task
from mlops_assets.state.manifest import Input
from mlops_assets.training.candidates import make_estimator
from mlops_assets.training.fit import class_names, estimator_scores, fit, label_codes, learn_inputs
from tests.unit.training.builders import AlwaysTheSame, a_multiclass, a_product, a_regression, a_training_set

BUILDERS = "tests.unit.training.builders"
INPUTS = (Input("distance", FeatureKind.NUMERIC),)


def test_the_signature_names_the_categories_the_rows_hold_in_alphabetical_order():
    rows = pl.DataFrame({"origin": ["LGA", None, "EWR", "LGA"], "distance": [1.0, 2.0, None, 4.0]})

    assert learn_inputs(a_product(), rows) == (
        Input("origin", FeatureKind.CATEGORICAL, "", ("EWR", "LGA")),
        Input("distance", FeatureKind.NUMERIC, "", ()),
    )


def test_classes_are_named_by_the_task():
    words = pl.Series(["usual", None, "long", "usual"])

    assert class_names(Task.MULTICLASS, words) == ("long", "usual")
    assert class_names(Task.BINARY, pl.Series([1.0])) == ("false", "true")
    assert class_names(Task.REGRESSION, pl.Series([7.5])) == ()


def test_labels_are_numbers_or_positions_of_classes_and_what_is_unknown_is_nan():
    words = pl.Series(["usual", "long", "never seen", None])

    assert label_codes(Task.MULTICLASS, words, ("long", "usual")).tolist()[:2] == [1, 0]
    assert all(math.isnan(code) for code in label_codes(Task.MULTICLASS, words, ("long", "usual"))[2:])
    assert label_codes(Task.BINARY, pl.Series([1.0, 0.0]), ("false", "true")).tolist() == [1, 0]
    assert label_codes(Task.REGRESSION, pl.Series([7, 8]), ()).tolist() == [7, 8]


@pytest.mark.parametrize(
    ("product", "shape"), [(a_product(), (60,)), (a_regression(), (60,)), (a_multiclass(), (60, 3))]
)
def test_scores_are_a_number_a_row_or_a_probability_a_class(product, shape):
    rows = a_training_set(product)

    scores = fit(product, linear(), rows).scores(rows.tail(60))

    assert scores.shape == shape
    if product.task is not Task.REGRESSION:
        assert ((scores >= 0) & (scores <= 1)).all()
    if product.task is Task.MULTICLASS:
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)  # of float32


@pytest.mark.parametrize("candidate", [linear(), gradient_boosting(max_iter=5), lightgbm(n_estimators=5)])
def test_the_same_rows_give_the_same_scores(candidate):
    product = a_product()
    rows = a_training_set(product)

    first, again = (fit(product, candidate, rows).scores(rows) for _ in range(2))

    assert first.tolist() == again.tolist()


def test_hyperparameters_reach_the_estimator():
    made = make_estimator(gradient_boosting(max_iter=3), Task.BINARY, INPUTS, seed=7)

    assert made.get_params()["max_iter"] == 3
    assert made.get_params()["random_state"] == 7


def test_an_estimator_of_ones_own_is_made_by_its_factory():
    rows = a_training_set(a_regression())
    own = Candidate("tree", f"{BUILDERS}:shallow_tree", {"depth": 2})

    fitted = fit(a_regression(candidates=(own,)), own, rows)

    tree = fitted.estimator[-1]
    assert type(tree).__name__ == "DecisionTreeRegressor"
    assert tree.get_depth() == 2
    assert len(set(fitted.scores(rows))) == 4  # a tree of depth 2 has four leaves


def test_an_unknown_family_is_met_with_those_that_exist_and_the_way_to_bring_ones_own():
    with pytest.raises(DeclarationError) as caught:
        make_estimator(Candidate("best", "lightgmb"), Task.BINARY, INPUTS, seed=7)

    assert str(caught.value) == (
        "candidate 'best': no estimator family 'lightgmb'. Known: dummy, forest, gradient_boosting, lightgbm, linear. "
        "Did you mean 'lightgbm'? For an estimator of your own, write 'package.module:name'."
    )


@pytest.mark.parametrize("factory", ["no_such_package:make", f"{BUILDERS}:no_such_factory"])
def test_a_factory_that_cannot_be_imported_is_named(factory):
    with pytest.raises(DeclarationError, match=f"candidate 'mine': {factory} cannot be imported"):
        make_estimator(Candidate("mine", factory), Task.BINARY, INPUTS, 7, [factory])


def test_scores_of_an_estimator_do_not_depend_on_its_shape():
    class Column(AlwaysTheSame):
        def predict(self, X):  # noqa: N803
            return np.ones((len(X), 1), dtype=np.float32)

    scores = estimator_scores(Column(), Task.REGRESSION, np.zeros((4, 1), np.float32))

    assert scores.shape == (4,)
    assert scores.dtype == np.float64


@pytest.mark.parametrize("candidate", [linear(), forest(), gradient_boosting(), lightgbm()], ids=lambda item: item.name)
def test_a_feature_without_a_value_in_the_training_rows_is_fitted_and_says_nothing_later(candidate):
    rows = a_training_set(a_product()).with_columns(distance=pl.lit(None, pl.Float64))
    fitted = fit(a_product(), candidate, rows)

    without = fitted.scores(rows.tail(60))
    later = fitted.scores(rows.tail(60).with_columns(distance=pl.lit(3.0)))

    np.testing.assert_allclose(later, without)
