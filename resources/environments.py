"""Reads the environment: the one place on the Dagster side that does."""

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

# what MLflow 3 keeps runs and registered models in; a plain folder it refuses
DATABASES = ("sqlite", "postgresql", "mysql")  # that Optuna searches with
TRACKING_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


class Engine(StrEnum):
    """What builds features."""

    POLARS = "polars"
    SPARK = "spark"


@dataclass(frozen=True)
class Environment:
    """What an installation may set; every value has a default that works on one machine.

    MLOPS_HOME              folder of this machine: spools, caches, SQLite files (default: var/home)
    MLOPS_STATE             everything that is kept: a folder, or s3://bucket/folder, gs://… or az://… where several machines
                            share it, with the variables of that cloud (default: the home)
    MLOPS_ONLINE_STORE      newest values: a file, redis://… or postgresql://… (default: SQLite in the home)
    MLOPS_API_URL           where people reach the prediction API (default: http://127.0.0.1:8000)
    MLOPS_MLFLOW_URL        where people reach the MLflow UI (default: http://127.0.0.1:5000)
    MLOPS_MLFLOW_TRACKING   tracking and registry store (default: SQLite in the home)
    MLOPS_OPTUNA_STORAGE    trials of searches: a database as SQLAlchemy names it (default: a journal in the home)
    MLOPS_WEBHOOK_URL       notifications are posted here as JSON (default: only logged)
    MLOPS_NOTIFY_URLS       and sent to these apprise addresses, by space (default: none), as in "slack://… mailto://…"
    MLOPS_SENSORS           products whose sensors run as soon as the daemon does, by comma, or "all" (default: none)
    MLOPS_PRODUCTS_DIR      folder of the product files (default: products in the working directory)
    MLOPS_PRODUCTS          further products, by comma, as in package.module:CATALOG (default: none)
    MLOPS_APPROVAL_KEY      what approvals and bundles are signed with (default: approvals by approval.key in the home,
                            made when first needed; bundles not)
    MLOPS_KEEP              how long what products leave behind is kept, in place of what they declare, as in
                            predictions:90d,reports:30d,shadow:none (default: as declared)
    DAGSTER_HOME            Dagster's instance (default for our commands: dagster/ in the home)
    MLOPS_ENGINE            what builds features: polars or spark (default: polars)
    MLOPS_SPARK_MASTER      address of a Spark master (default: local[2])
    """

    workspace: Workspace
    api_url: str
    mlflow_url: str
    mlflow_tracking: str = field(repr=False)  # this and what is below may hold passwords
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
    """Raises DeclarationError: a value cannot be used; the sentence names the variable and its choices."""
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
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise DeclarationError(
            f"{variable} is {str(folder)!r}, and {there} is no folder. Give a folder, one that exists or is to be made."
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
            f"MLOPS_ONLINE_STORE is {shown(address)!r}, which is no online store. Give a file for SQLite, "
            "redis://host:6379/0 or postgresql://user@host/database, or leave it out for a file in the home."
        )
    return address


def _mlflow_tracking(default: str) -> str:
    address = _value("MLOPS_MLFLOW_TRACKING", default)
    refuse_unclear(address, "MLOPS_MLFLOW_TRACKING")
    scheme, separator, _ = address.partition("://")
    if not separator or scheme.partition("+")[0] not in TRACKING_SCHEMES:
        raise DeclarationError(
            f"MLOPS_MLFLOW_TRACKING is {shown(address)!r}, which is no store that MLflow registers models in. Give one that "
            f"begins with {', '.join(f'{name}://' for name in TRACKING_SCHEMES)}, or leave it out for SQLite in the home."
        )
    return address


def _optuna_storage() -> str:
    address = _value("MLOPS_OPTUNA_STORAGE")
    refuse_unclear(address, "MLOPS_OPTUNA_STORAGE")
    scheme = address.partition("://")[0].partition("+")[0]
    if address and scheme not in DATABASES:
        raise DeclarationError(
            f"MLOPS_OPTUNA_STORAGE is {shown(address)!r}, which is no database. Give one that begins with "
            f"{', '.join(f'{name}://' for name in DATABASES)}, or leave it out for a journal in the home."
        )
    return address


def _web_address(variable: str, default: str) -> str:
    address = _value(variable, default)
    _refuse_what_is_no_web_address(variable, address, f"Give one such as {default}.")
    if holds_login(address):
        raise DeclarationError(
            f"{variable} is {shown(address)!r} with a login or a parameter in it, which would be shown wherever there is a "
            f"link. Give the address alone, such as {default}."
        )
    return address


def _webhook() -> str:
    address = _value("MLOPS_WEBHOOK_URL")
    if address:
        # the whole address may be a secret, so no part of it is shown
        _refuse_what_is_no_web_address("MLOPS_WEBHOOK_URL", address, "Give one such as https://host/path.", HIDDEN)
    return address


def _refuse_what_is_no_web_address(variable: str, address: str, remedy: str, instead: str = "") -> None:
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or a bracket
        is_one = False
    if not is_one:
        raise DeclarationError(
            f"{variable} is {instead or shown(address)!r}, which is no address of a web server. {remedy}"
        )


def _notify_urls() -> tuple[str, ...]:
    addresses = tuple(_value("MLOPS_NOTIFY_URLS").split())
    for number, address in enumerate(addresses, 1):
        if not re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://.", address):
            raise DeclarationError(
                f"MLOPS_NOTIFY_URLS: the {number}. of {len(addresses)} is no address. Give addresses of apprise by space, as in "
                '"slack://… mailto://…".'
            )
    return addresses


def _sensors() -> tuple[str, ...]:
    names = tuple(name.strip() for name in _value("MLOPS_SENSORS").split(",") if name.strip())
    known = ["all", *(product.name for product in catalog().products)]
    for name in names:
        # which products a broken file would declare is not known
        if name not in known and not catalog().broken:
            raise DeclarationError(
                f"MLOPS_SENSORS names {name!r}, which is no product. {choices(name, known)} Give names by comma, or all."
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
            f"MLOPS_SPARK_MASTER is {shown(address)!r}, which is no Spark master. Give local[2], spark://host:7077, "
            "k8s://https://host:port or yarn."
        )
    return address


def _dagster_home() -> str:
    folder = _value("DAGSTER_HOME")
    if folder and not (Path(folder).is_absolute() and Path(folder).is_dir()):
        raise DeclarationError(
            f"DAGSTER_HOME is {folder!r}, which is no absolute path of a folder. Give the folder with dagster.yaml, or leave "
            "it out for the instance in the home."
        )
    return folder


def _approval_key() -> str:
    key = _value("MLOPS_APPROVAL_KEY")
    if key and len(key.encode()) < SHORTEST_KEY:
        raise DeclarationError(
            f"MLOPS_APPROVAL_KEY has {len(key.encode())} bytes, {SHORTEST_KEY} are needed. Make one with: openssl rand -hex 32"
        )
    return key


def _engine() -> Engine:
    name, known = _value("MLOPS_ENGINE", Engine.POLARS), [engine.value for engine in Engine]
    if name not in known:
        raise DeclarationError(
            f"MLOPS_ENGINE is {name!r}, which is no feature engine. {choices(name, known)} Set it to one of them."
        )
    return Engine(name)
