"""The flights, for every process that is started in this repository; yours may lie beside this file."""

from examples.flights.catalog import CATALOG

__all__ = ["CATALOG"]
