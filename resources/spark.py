"""A Spark session through dagster-pyspark, created on first use."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

if TYPE_CHECKING:
    from dagster_pyspark import LazyPySparkResource
    from pyspark.sql import SparkSession


class Spark(dg.ConfigurableResource):  # type: ignore[type-arg]
    """`master` is a typed field, because dagster-pyspark does not resolve variables inside its `spark_config`. The package, and
    with it pyspark, is imported on first use, so that the code location loads without them."""

    master: str = "local[2]"
    driver_memory: str = "2g"
    executor_memory: str = "1g"
    _wrapped: "LazyPySparkResource | None" = PrivateAttr(default=None)

    @property
    def session(self) -> "SparkSession":
        if self._wrapped is None:
            from dagster_pyspark import LazyPySparkResource

            self._wrapped = LazyPySparkResource(
                spark_config={
                    "spark.master": self.master,
                    "spark.app.name": "mlops-assets",
                    "spark.driver.memory": self.driver_memory,
                    "spark.executor.memory": self.executor_memory,
                    "spark.driver.bindAddress": "127.0.0.1",
                    "spark.driver.host": "127.0.0.1",
                    "spark.ui.enabled": "false",
                    "spark.ui.showConsoleProgress": "false",
                    "spark.sql.session.timeZone": "UTC",
                    "spark.sql.shuffle.partitions": "4",
                }
            )
        return self._wrapped.spark_session
