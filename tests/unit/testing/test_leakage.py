"""The leakage probe: an input that is the label in disguise is told, an honest one and noise are not."""

import numpy as np
import polars as pl
import pytest

from mlops_assets.data.labels import LABEL
from mlops_assets.testing.leakage import probe_leakage
from mlops_assets.training.split import FIT, SPLIT, TEST
from tests.unit.training.builders import a_multiclass, a_product, a_regression, a_training_set


def probed(product, rows, classes=("false", "true")):
    fit_rows, test_rows = (rows.filter(pl.col(SPLIT) == split) for split in (FIT, TEST))
    return probe_leakage(product, fit_rows, test_rows, classes)


def test_an_input_that_is_the_label_has_full_skill_and_comes_first():
    product = a_product()
    rows = a_training_set(product).with_columns(distance=pl.col(LABEL) * 3 + 1)

    leakage = probed(product, rows)

    assert leakage.most_predictive == ("distance", 1.0)
    assert leakage.shared_rows == 0


def test_a_disguise_that_only_turns_the_order_round_and_round_is_seen():
    product = a_product()
    draw = np.random.default_rng(1)
    rows = a_training_set(product)
    # late at both ends: a rank alone would see nothing
    far = pl.Series(
        np.where(draw.random(rows.height) < 0.5, -10.0, 10.0) * rows[LABEL].to_numpy() + draw.random(rows.height)
    )

    assert probed(product, rows.with_columns(distance=far)).skills["distance"] > 0.95


def test_an_honest_input_tells_something_and_noise_nothing():
    product = a_product()
    rows = a_training_set(product)
    noise = rows.with_columns(distance=pl.Series(np.random.default_rng(1).random(rows.height)))

    assert 0.3 < probed(product, rows).skills["distance"] < 0.9
    assert probed(product, noise).skills["distance"] < 0.25


def test_a_category_that_was_never_fitted_tells_as_much_as_nothing():
    product = a_product()
    unseen = pl.when(pl.col(SPLIT) == TEST).then(pl.lit("HPN")).otherwise("origin").alias("origin")

    assert probed(product, a_training_set(product).with_columns(unseen)).skills["origin"] == 0


def test_a_row_on_both_sides_of_the_split_is_counted():
    product = a_product()
    rows = a_training_set(product)
    twice = rows.head(3).with_columns(pl.lit(TEST).alias(SPLIT))

    assert probed(product, pl.concat([rows, twice])).shared_rows == 3


@pytest.mark.parametrize(
    ("product", "classes"),
    [(a_regression(), ()), (a_multiclass(), ("long", "short", "usual"))],
    ids=["numbers", "classes"],
)
def test_numbers_and_classes_are_probed_too(product, classes):
    rows = a_training_set(product)

    leakage = probed(product, rows, classes)

    assert 0.2 < leakage.skills["distance"] < 1
    assert leakage.skills["origin"] < leakage.skills["distance"]


def test_one_outcome_among_the_test_rows_tells_nothing():
    product = a_product()
    rows = a_training_set(product).with_columns(pl.lit(1.0).alias(LABEL))

    assert set(probed(product, rows).skills.values()) == {0.0}
