"""Environment variables on the Dagster side; only this file reads them."""

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from mlops_assets.addresses import HIDDEN, holds_login, is_of_postgres, refuse_unclear, shown
from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.catalog import catalog
from mlops_assets.products.keep import Keep
from mlops_assets.state.approvals import SHORTEST_KEY
from mlops_assets.state.objects import Folder, objects_at
from mlops_assets.state.workspace import Workspace

DATABASES = ("sqlite", "postgresql", "mysql")  # for Optuna's trials
# stores for MLflow's runs and registered models; MLflow 3 refuses a plain folder
TRACKING_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


class Engine(StrEnum):
    """The engine that builds features."""

    POLARS = "polars"
    SPARK = "spark"


@dataclass(frozen=True)
class Environment:
    """The settings of an installation; every default works on one machine.

    MLOPS_HOME              folder of this machine: spools, caches, SQLite files (default: var/home)
    MLOPS_STATE             the state: a folder, or s3://bucket/folder, gs://… or az://… where several machines share it, with
                            the variables of that cloud (default: the home)
    MLOPS_ONLINE_STORE      online store: a file, redis://… or postgresql://… (default: SQLite in the home)
    MLOPS_API_URL           address of the prediction API for people (default: http://127.0.0.1:8000)
    MLOPS_MLFLOW_URL        address of the MLflow UI for people (default: http://127.0.0.1:5000)
    MLOPS_MLFLOW_TRACKING   tracking and registry store (default: SQLite in the home)
    MLOPS_OPTUNA_STORAGE    trials of searches: a SQLAlchemy database URL (default: a journal in the home)
    MLOPS_WEBHOOK_URL       notifications are posted here as JSON (default: only logged)
    MLOPS_NOTIFY_URLS       and sent to these apprise addresses, separated by spaces (default: none), as in
                            "slack://… mailto://…"
    MLOPS_SENSORS           products whose sensors start with the daemon, separated by commas, or "all" (default: none)
    MLOPS_PRODUCTS_DIR      folder of the product files (default: products in the working directory)
    MLOPS_PRODUCTS          further products, separated by commas, as in package.module:CATALOG (default: none)
    MLOPS_APPROVAL_KEY      key that signs approvals and bundles (default: approvals are signed with approval.key in the home,
                            which is created when first needed; bundles are not signed)
    MLOPS_KEEP              retention times that replace those of the products, as in
                            predictions:90d,reports:30d,shadow:none (default: as declared)
    DAGSTER_HOME            Dagster's instance (default for our commands: dagster/ in the home)
    MLOPS_ENGINE            engine that builds features: polars or spark (default: polars)
    MLOPS_SPARK_MASTER      address of a Spark master (default: local[2])
    """

    workspace: Workspace
    api_url: str
    mlflow_url: str
    mlflow_tracking: str = field(repr=False)  # fields without repr may contain passwords
    webhook_url: str = field(repr=False)
    sensors: tuple[str, ...]
    spark_master: str
    engine: Engine = Engine.POLARS
    notify_urls: tuple[str, ...] = field(default=(), repr=False)
    dagster_home: str = ""
    keep: str = ""

    def starts_sensors_of(self, product: str) -> bool:
        return "all" in self.sensors or product in self.sensors


def read_environment() -> Environment:
    """Raises DeclarationError, with the variable and its choices: a value cannot be used."""
    workspace = Workspace(_state(), _home(), _online_store(), _approval_key(), _optuna_storage())
    return Environment(
        workspace=workspace,
        api_url=_web_address("MLOPS_API_URL", "http://127.0.0.1:8000"),
        mlflow_url=_web_address("MLOPS_MLFLOW_URL", "http://127.0.0.1:5000"),
        mlflow_tracking=_mlflow_tracking(workspace.mlflow_store),
        webhook_url=_webhook(),
        sensors=_sensors(),
        spark_master=_spark_master(),
        dagster_home=_dagster_home(),
        engine=_engine(),
        notify_urls=_notify_urls(),
        keep=_keep(),
    )


def _value(variable: str, default: str = "") -> str:
    """The value of a variable; an empty one counts as not set."""
    return os.environ.get(variable) or default


def _home() -> Path:
    home = Path(_value("MLOPS_HOME", "var/home")).absolute()
    _refuse_a_file("MLOPS_HOME", home)
    return home


def _refuse_a_file(variable: str, folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise DeclarationError(
            f"{variable} is {str(folder)!r}, but {existing} is not a folder. Give an existing folder, or one that can be created."
        )


def _state() -> str:
    if _value("MLOPS_OFFLINE_STORE"):
        raise DeclarationError(
            "MLOPS_OFFLINE_STORE was removed: tables are part of the state now. Set MLOPS_STATE instead."
        )
    address = _value("MLOPS_STATE") or str(_home())
    try:
        objects = objects_at(address)
    except DeclarationError as error:
        raise DeclarationError(f"MLOPS_STATE: {error}") from None
    if isinstance(objects, Folder):
        _refuse_a_file("MLOPS_STATE", objects.root)
    return objects.url


def _online_store() -> str:
    address = _value("MLOPS_ONLINE_STORE")
    refuse_unclear(address, "MLOPS_ONLINE_STORE")
    scheme, separator, _ = address.partition("://")
    if separator and scheme not in ("redis", "rediss") and not is_of_postgres(address):
        raise DeclarationError(
            f"MLOPS_ONLINE_STORE is {shown(address)!r}, which is not an online store. Give a file for SQLite, "
            "redis://host:6379/0 or postgresql://user@host/database, or leave it out for a file in the home."
        )
    return address


def _mlflow_tracking(default: str) -> str:
    address = _value("MLOPS_MLFLOW_TRACKING", default)
    refuse_unclear(address, "MLOPS_MLFLOW_TRACKING")
    scheme, separator, _ = address.partition("://")
    if not separator or scheme.partition("+")[0] not in TRACKING_SCHEMES:
        raise DeclarationError(
            f"MLOPS_MLFLOW_TRACKING is {shown(address)!r}, in which MLflow cannot register models. Give an address that "
            f"begins with {', '.join(f'{name}://' for name in TRACKING_SCHEMES)}, or leave it out for SQLite in the home."
        )
    return address


def _optuna_storage() -> str:
    address = _value("MLOPS_OPTUNA_STORAGE")
    refuse_unclear(address, "MLOPS_OPTUNA_STORAGE")
    scheme = address.partition("://")[0].partition("+")[0]
    if address and scheme not in DATABASES:
        raise DeclarationError(
            f"MLOPS_OPTUNA_STORAGE is {shown(address)!r}, which is not a database. Give one that begins with "
            f"{', '.join(f'{name}://' for name in DATABASES)}, or leave it out for a journal in the home."
        )
    return address


def _web_address(variable: str, default: str) -> str:
    address = _value(variable, default)
    _require_web_address(variable, address, f"Give one such as {default}.")
    if holds_login(address):
        raise DeclarationError(
            f"{variable} is {shown(address)!r} with a login or a parameter, which every link would show. Give only the address, "
            f"such as {default}."
        )
    return address


def _webhook() -> str:
    address = _value("MLOPS_WEBHOOK_URL")
    if address:
        # the whole address may be a secret, so no part of it is shown
        _require_web_address("MLOPS_WEBHOOK_URL", address, "Give one such as https://host/path.", HIDDEN)
    return address


def _require_web_address(variable: str, address: str, remedy: str, shown_as: str = "") -> None:
    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a wrong port or bracket
        is_valid = False
    if not is_valid:
        raise DeclarationError(
            f"{variable} is {shown_as or shown(address)!r}, which is not the address of a web server. {remedy}"
        )


def _notify_urls() -> tuple[str, ...]:
    addresses = tuple(_value("MLOPS_NOTIFY_URLS").split())
    for number, address in enumerate(addresses, 1):
        if not re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://.", address):
            raise DeclarationError(
                f"MLOPS_NOTIFY_URLS: number {number} of {len(addresses)} is not an address. Give apprise addresses separated by "
                'spaces, as in "slack://… mailto://…".'
            )
    return addresses


def _sensors() -> tuple[str, ...]:
    names = tuple(name.strip() for name in _value("MLOPS_SENSORS").split(",") if name.strip())
    options = ["all", *(product.name for product in catalog().products)]
    for name in names:
        # a broken file may declare the product
        if name not in options and not catalog().broken:
            raise DeclarationError(
                f"MLOPS_SENSORS names {name!r}, which is not a product. {choices(name, options)} Separate names by commas."
            )
    return names


def _keep() -> str:
    text = _value("MLOPS_KEEP")
    try:
        Keep().changed_by(text)
    except DeclarationError as error:
        raise DeclarationError(f"MLOPS_KEEP: {error}") from None
    return text


def _spark_master() -> str:
    address = _value("MLOPS_SPARK_MASTER", "local[2]")
    if not re.fullmatch(r"local(\[(\d+|\*)(,\s*\d+)?\])?|yarn|k8s://\S+|spark://[^\s@]+:\d+(,[^\s@]+:\d+)*", address):
        raise DeclarationError(
            f"MLOPS_SPARK_MASTER is {shown(address)!r}, which is not a Spark master. Give local[2], spark://host:7077, "
            "k8s://https://host:port or yarn."
        )
    return address


def _dagster_home() -> str:
    folder = _value("DAGSTER_HOME")
    if folder and not (Path(folder).is_absolute() and Path(folder).is_dir()):
        raise DeclarationError(
            f"DAGSTER_HOME is {folder!r}, which is not the absolute path of a folder. Give the folder with dagster.yaml, or leave "
            "it out for the instance in the home."
        )
    return folder


def _approval_key() -> str:
    key = _value("MLOPS_APPROVAL_KEY")
    if key and len(key.encode()) < SHORTEST_KEY:
        raise DeclarationError(
            f"MLOPS_APPROVAL_KEY has {len(key.encode())} bytes; it needs {SHORTEST_KEY}. Create one with: openssl rand -hex 32"
        )
    return key


def _engine() -> Engine:
    name, engines = _value("MLOPS_ENGINE", Engine.POLARS), [engine.value for engine in Engine]
    if name not in engines:
        raise DeclarationError(
            f"MLOPS_ENGINE is {name!r}, which is not a feature engine. {choices(name, engines)} Set it to one of them."
        )
    return Engine(name)
