"""A few hundred requests made from the OpenAPI document; `benchmarks/serving_fuzz.py` sends ten thousand."""

from tests.serving.fuzzing import fuzz
from tests.serving.running_api import RunningServer


def test_no_request_that_the_document_allows_or_forbids_fails_or_breaks_its_schema(two_products: RunningServer) -> None:
    found = fuzz(two_products.address, examples=4)

    assert found.violations == {}
    assert found.cases >= 100
    assert found.statuses[200] > 0
