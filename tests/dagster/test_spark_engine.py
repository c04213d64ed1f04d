"""The features asset on Spark, by configuration alone."""

import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.definitions import build_definitions
from mlops_assets.errors import DeclarationError
from resources.asset_parts import key_of, partitions_of
from resources.environments import read_environment
from resources.platform import Platform
from tests.dagster.builders import file_of
from tests.servers.spark_cluster import needs_java, spark_program

WEEK = "2012-12-31"  # the first: nothing lies before it


@pytest.fixture
def stops_spark() -> Iterator[None]:
    yield
    from pyspark.sql import SparkSession

    if running := SparkSession.getActiveSession():
        running.stop()


def materialize(*names: str) -> dg.ExecuteInProcessResult:
    """One run of these assets, configured by what the environment says now."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(read_environment()).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=instance, asset_selection=[key_of(flight_delay, name) for name in names], partition_key=WEEK
        )


def features_engine(result: dg.ExecuteInProcessResult) -> object:
    (event,) = [
        item for item in result.get_asset_materialization_events() if item.asset_key == key_of(flight_delay, "features")
    ]
    return event.materialization.metadata["engine"].value


@pytest.mark.slow
@needs_java
@pytest.mark.usefixtures("stops_spark")
def test_a_cluster_by_configuration_stores_the_very_partition_that_polars_stores(
    monkeypatch, tmp_path: Path, spark_cluster: str
):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv("MLOPS_ENGINE", raising=False)
    by_polars = materialize("raw", "weather", "features")
    state = read_environment().workspace.of(flight_delay)
    version, frame = state.tables.version("features", WEEK), state.tables.read("features", [WEEK])

    file_of(state, "features", WEEK).unlink()
    monkeypatch.setenv("MLOPS_ENGINE", "spark")
    monkeypatch.setenv("MLOPS_SPARK_MASTER", spark_cluster)
    by_spark = materialize("features")

    assert (features_engine(by_polars), features_engine(by_spark)) == ("polars", "spark")
    assert state.tables.read("features", [WEEK]).equals(frame)
    # nothing downstream becomes stale when the engine is changed
    assert state.tables.version("features", WEEK) == version


def features_by_spark_submit(master: str) -> dg.AssetsDefinition:
    """The replacement that docs/operations.md shows."""

    @dg.asset(
        key=key_of(flight_delay, "features"),
        partitions_def=partitions_of(flight_delay.period),
        deps=[key_of(flight_delay, name) for name in ("raw", "weather")],
    )
    def features(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient, platform: Platform):
        job = [str(files("mlops_assets.jobs") / "features_on_spark.py"), "--product", flight_delay.name]
        place = ["--state", platform.state_url, "--partition", context.partition_key]
        command = [spark_program("spark-submit"), "--master", master, "--executor-memory", "1g", *job, *place]
        return pipes.run(
            command=command,
            context=context,
            env={
                "PYSPARK_PYTHON": sys.executable,
                "PYSPARK_DRIVER_PYTHON": sys.executable,
                "SPARK_LOCAL_IP": "127.0.0.1",
            },
        ).get_materialize_result()

    return features


@pytest.mark.slow
@needs_java
@pytest.mark.filterwarnings("ignore:AssetExecutionContext.run_id is deprecated")  # Dagster 1.13's own Pipes client
def test_a_driver_outside_of_dagster_stores_the_same_partition_and_reports_it(
    monkeypatch, tmp_path: Path, spark_cluster: str
):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    materialize("raw", "weather", "features")
    state = read_environment().workspace.of(flight_delay)
    version = state.tables.version("features", WEEK)
    file_of(state, "features", WEEK).unlink()
    environment = read_environment()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [features_by_spark_submit(spark_cluster)],
            instance=instance,
            partition_key=WEEK,
            selection=[key_of(flight_delay, "features")],
            resources={"pipes": dg.PipesSubprocessClient(), "platform": Platform.of(environment)},
        )

    (event,) = result.get_asset_materialization_events()
    assert event.materialization.tags["dagster/data_version"] == version
    assert event.materialization.metadata["engine"].value == "spark"
    assert state.tables.version("features", WEEK) == version


def test_an_engine_that_does_not_exist_is_named_with_the_choices(monkeypatch):
    monkeypatch.setenv("MLOPS_ENGINE", "sparc")

    with pytest.raises(
        DeclarationError, match=r"MLOPS_ENGINE is 'sparc'.*Known: polars, spark. Did you mean 'spark'\?"
    ):
        read_environment()
