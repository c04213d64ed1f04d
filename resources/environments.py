"""Reads the environment: the one place on the Dagster side that does."""

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.stores.home import Home


class Engine(StrEnum):
    """What builds features."""

    POLARS = "polars"
    SPARK = "spark"


@dataclass(frozen=True)
class Environment:
    """What an installation may set; every value has a default that works on one machine.

    MLOPS_HOME              folder of everything that is kept (default: var/home)
    MLOPS_OFFLINE_STORE     tables: a folder or s3://bucket/folder, with the AWS_ variables (default: in the home)
    MLOPS_ONLINE_STORE      newest values: a file, redis://… or postgresql://… (default: SQLite in the home)
    MLOPS_API_URL           where people reach the prediction API (default: http://127.0.0.1:8000)
    MLOPS_MLFLOW_URL        where people reach the MLflow UI (default: http://127.0.0.1:5000)
    MLOPS_MLFLOW_TRACKING   tracking and registry store (default: SQLite in the home)
    MLOPS_WEBHOOK_URL       notifications are posted here as JSON (default: only logged)
    MLOPS_NOTIFY_URLS       and sent to these apprise addresses, by space (default: none), as in "slack://… mailto://…"
    MLOPS_SENSORS           products whose sensors run as soon as the daemon does, by comma, or "all" (default: none)
    MLOPS_APPROVAL_KEY      what approvals are signed with (default: approval.key in the home, made when first needed)
    DAGSTER_HOME            Dagster's instance (default for our commands: dagster/ in the home)
    MLOPS_ENGINE            what builds features: polars or spark (default: polars)
    MLOPS_SPARK_MASTER      address of a Spark master (default: local[2])
    """

    home: Home
    api_url: str
    mlflow_url: str
    mlflow_tracking: str
    webhook_url: str
    sensors: tuple[str, ...]
    spark_master: str
    engine: Engine = Engine.POLARS
    notify_urls: tuple[str, ...] = ()
    dagster_home: str = ""
    approval_key: str = field(default="", repr=False)

    def starts_sensors_of(self, product: str) -> bool:
        return "all" in self.sensors or product in self.sensors


def read_environment() -> Environment:
    """Raises DeclarationError: a value is none of its choices."""
    home = Home(
        Path(os.environ.get("MLOPS_HOME") or "var/home").absolute(),
        os.environ.get("MLOPS_OFFLINE_STORE", ""),
        os.environ.get("MLOPS_ONLINE_STORE", ""),
    )
    return Environment(
        home=home,
        api_url=os.environ.get("MLOPS_API_URL", "http://127.0.0.1:8000"),
        mlflow_url=os.environ.get("MLOPS_MLFLOW_URL", "http://127.0.0.1:5000"),
        mlflow_tracking=os.environ.get("MLOPS_MLFLOW_TRACKING", home.mlflow_store),
        webhook_url=os.environ.get("MLOPS_WEBHOOK_URL", ""),
        sensors=tuple(name.strip() for name in os.environ.get("MLOPS_SENSORS", "").split(",") if name.strip()),
        spark_master=os.environ.get("MLOPS_SPARK_MASTER", "local[2]"),
        dagster_home=os.environ.get("DAGSTER_HOME", ""),
        approval_key=os.environ.get("MLOPS_APPROVAL_KEY", ""),
        engine=_engine(os.environ.get("MLOPS_ENGINE", Engine.POLARS)),
        notify_urls=tuple(os.environ.get("MLOPS_NOTIFY_URLS", "").split()),
    )


def _engine(name: str) -> Engine:
    known = [engine.value for engine in Engine]
    if name not in known:
        raise DeclarationError(
            f"MLOPS_ENGINE is {name!r}, which is no feature engine. {choices(name, known)} Set it to one of them."
        )
    return Engine(name)
