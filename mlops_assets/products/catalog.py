"""The products of this platform. Add yours here: one import, one entry."""

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import UnknownProduct
from mlops_assets.products.product import ModelProduct

CATALOG: tuple[ModelProduct, ...] = (flight_delay, air_time)


def product_named(name: str) -> ModelProduct:
    """Raises UnknownProduct, with the names that exist."""
    for product in CATALOG:
        if product.name == name:
            return product
    raise UnknownProduct(name, [product.name for product in CATALOG])
