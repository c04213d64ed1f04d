"""The engine that builds features, and its Spark session if it is Spark."""

from typing import TYPE_CHECKING

import dagster as dg

from resources.environments import Engine, Environment
from resources.spark import Spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class FeatureEngine(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Spark starts when its session is first used.

    The field is the address instead of the Spark resource: with nested resources Dagster 1.13 warns of its own deprecated
    call."""

    engine: Engine
    spark_master: str

    @classmethod
    def of(cls, environment: Environment) -> "FeatureEngine":
        return cls(engine=environment.engine, spark_master=environment.spark_master)

    @property
    def session(self) -> "SparkSession | None":
        """The Spark session, None where the engine is Polars."""
        return Spark(master=self.spark_master).session if self.engine is Engine.SPARK else None
