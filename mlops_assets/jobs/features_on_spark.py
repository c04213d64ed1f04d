"""Features of one period as a program of its own, for `spark-submit`: where the driver cannot run in Dagster's process.

    spark-submit --master spark://host:7077 …/mlops_assets/jobs/features_on_spark.py --product … --partition …

Launched through Dagster Pipes it reports rows and data version as the asset's materialisation; launched by hand it logs
them. It lies in a folder of its own: Python looks for modules beside a script first, where a `profile.py` would stand in
for that of the standard library.
"""

import argparse
import sys
from collections.abc import Sequence

from dagster_pipes import PipesContext, open_dagster_pipes

from mlops_assets.data.stored_features import features_on_spark
from mlops_assets.products.catalog import product_named
from mlops_assets.state.workspace import Workspace


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    with open_dagster_pipes() as pipes:
        rows, version = build(options.product, options.state, options.partition)
        pipes.log.info(f"{options.product}/features {options.partition}: {rows} rows, version {version}")
        if PipesContext.is_initialized() and pipes.is_asset_step:
            pipes.report_asset_materialization(
                metadata={"dagster/row_count": rows, "engine": "spark"}, data_version=version
            )


def build(product_name: str, url: str, partition: str) -> tuple[int, str]:
    """Reads the period's tables from the state, writes its features back; rows and data version of what was stored.

    master, memory and the rest are what `spark-submit` was given."""
    from pyspark.sql import SparkSession

    state = Workspace(url).of(product_named(product_name))
    session = SparkSession.builder.appName(f"{product_name} features {partition}").getOrCreate()
    try:
        features = features_on_spark(session, state, partition)
    finally:
        session.stop()
    return features.height, state.tables.write("features", partition, features)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Build the features of one period on Spark.")
    parser.add_argument("--product", required=True)
    parser.add_argument("--state", required=True, help="the state: a folder, or s3://bucket/folder")
    parser.add_argument("--partition", required=True, help="key of the period")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
