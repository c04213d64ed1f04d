"""The catalog: a product is found by its name, a misspelt one is met with what was probably meant."""

import doctest
import inspect
from pathlib import Path

import pytest

import mlops_assets.errors
from examples.flights import air_time, flight_delay
from mlops_assets.errors import UnknownProduct, choices
from mlops_assets.products.catalog import CATALOG, product_named


def test_a_product_is_found_by_its_name():
    assert [product_named(product.name) for product in CATALOG] == list(CATALOG)


def test_an_unknown_product_is_met_with_the_names_that_exist_and_the_closest():
    with pytest.raises(UnknownProduct) as caught:
        product_named("fligth_delay")

    assert str(caught.value) == (
        "no product 'fligth_delay'. Known: air_time, flight_delay. Did you mean 'flight_delay'?"
    )
    assert (caught.value.name, caught.value.known) == ("fligth_delay", ("air_time", "flight_delay"))


def test_nothing_is_suggested_where_nothing_is_close():
    assert choices("zzz", ["roc_auc"]) == "Known: roc_auc."
    assert choices("zzz", []) == "Known: none."


def test_the_examples_of_the_errors_hold():
    assert doctest.testmod(mlops_assets.errors).failed == 0


def test_product_names_are_distinct():
    assert len({product.name for product in CATALOG}) == len(CATALOG)


@pytest.mark.parametrize("module", [flight_delay, air_time])
def test_a_product_is_one_short_file(module):
    lines = Path(inspect.getfile(module)).read_text().splitlines()

    assert len(lines) <= 60
