"""Which engine builds features, and the Spark session that it needs if it is Spark."""

from typing import TYPE_CHECKING

import dagster as dg

from resources.environments import Environment
from resources.spark import Spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class FeatureEngine(dg.ConfigurableResource):  # type: ignore[type-arg]
    """`engine` is one of `resources.environments.ENGINES`; Spark starts when its session is first asked for."""

    engine: str
    spark: Spark

    @classmethod
    def of(cls, environment: Environment) -> "FeatureEngine":
        return cls(engine=environment.engine, spark=Spark(master=environment.spark_master))

    @property
    def session(self) -> "SparkSession | None":
        """The Spark session, None where the engine is Polars."""
        return self.spark.session if self.engine == "spark" else None
