"""The products of this example, for `MLOPS_PRODUCTS=examples.flights.catalog:CATALOG`."""

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.products.product import ModelProduct

CATALOG: tuple[ModelProduct, ...] = (flight_delay, air_time)
