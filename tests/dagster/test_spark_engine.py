"""The features asset on Spark, by configuration alone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.definitions import build_definitions
from mlops_assets.errors import DeclarationError
from mlops_assets.products.flight_delay import flight_delay
from resources.asset_parts import key_of
from resources.environments import read_environment

HAS_JAVA = shutil.which("java") is not None or "JAVA_HOME" in os.environ
WEEK = "2012-12-31"  # the first: nothing lies before it
FEATURES = f"{flight_delay.name}/features"


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
@pytest.mark.skipif(not HAS_JAVA, reason="Java is not on this machine: install a JRE 17 to run Spark")
@pytest.mark.usefixtures("stops_spark")
def test_spark_by_configuration_stores_the_very_partition_that_polars_stores(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv("MLOPS_ENGINE", raising=False)
    by_polars = materialize("raw", "weather", "features")
    store = read_environment().home.offline
    version, frame = store.version(FEATURES, WEEK), store.read(FEATURES, [WEEK])

    store.path(FEATURES, WEEK).unlink()
    monkeypatch.setenv("MLOPS_ENGINE", "spark")
    monkeypatch.setenv("MLOPS_SPARK_MASTER", "local[2]")
    by_spark = materialize("features")

    assert (features_engine(by_polars), features_engine(by_spark)) == ("polars", "spark")
    assert store.read(FEATURES, [WEEK]).equals(frame)
    # nothing downstream becomes stale when the engine is changed
    assert store.version(FEATURES, WEEK) == version


def test_an_engine_that_does_not_exist_is_named_with_the_choices(monkeypatch):
    monkeypatch.setenv("MLOPS_ENGINE", "sparc")

    with pytest.raises(
        DeclarationError, match=r"MLOPS_ENGINE is 'sparc'.*Known: polars, spark. Did you mean 'spark'\?"
    ):
        read_environment()
