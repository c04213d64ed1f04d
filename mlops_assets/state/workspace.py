"""Workspace: everything that one installation stores. A product's part of it is its `ProductState`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import DeclarationError
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.approvals import ApprovalBook
from mlops_assets.state.clock import Clock, ReplayClock, clock_of
from mlops_assets.state.ledger import Ledger
from mlops_assets.state.objects import Bucket, Folder, Objects, objects_at
from mlops_assets.state.records import Records
from mlops_assets.state.reports import Reports
from mlops_assets.state.run_records import RunRecords
from mlops_assets.state.skipped import SkippedPeriods
from mlops_assets.state.trials import Trials

# stores that hold rows need Polars, which a code location that only lists its assets does not
if TYPE_CHECKING:
    from mlops_assets.state.bundles import Bundles
    from mlops_assets.state.label_log import LabelLog
    from mlops_assets.state.online_store import OnlineStore
    from mlops_assets.state.prediction_log import PredictionLog
    from mlops_assets.state.tables import Tables


@dataclass(frozen=True)
class Workspace:
    """The state of one installation, and the folder of this machine that belongs to it.

    url: a folder or a bucket (s3://…, gs://…, az://…) that every machine of the installation reaches. local: a folder that only
    this machine uses, for spools, caches, and the SQLite files of Dagster, MLflow and the online store; defaults to the state's
    own folder. online_store: address of an online store elsewhere (redis://…, postgresql://…). approval_key: signs approvals
    and bundles; empty: approvals are signed with the key in the home, and bundles are not signed. optuna_storage: address of a
    database for the trials of searches; empty: a journal in the home."""

    url: str | Path
    local: Path | None = None
    # may contain a password, so it is not shown
    online_store: str = field(default="", repr=False)
    approval_key: str = field(default="", repr=False)
    optuna_storage: str = field(default="", repr=False)
    _states: "dict[str, ProductState]" = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def objects(self) -> Objects:
        """Raises DeclarationError: the address cannot be used, or an earlier release with another layout wrote the folder."""
        objects = objects_at(self.url)
        if isinstance(objects, Folder) and (objects.root / "deployments.sqlite").exists():
            raise DeclarationError(
                f"{objects.root} was written by an earlier release, which stored its history in deployments.sqlite. This release "
                "cannot read it: name another folder with --home or MLOPS_HOME, or use the earlier release there."
            )
        return objects

    @cached_property
    def home(self) -> Path:
        """The folder of this machine. Raises DeclarationError: the state is a bucket, and no folder is named."""
        if self.local is not None:
            return self.local.absolute()
        if isinstance(self.objects, Folder):
            return self.objects.root
        raise DeclarationError(
            f"the state {self.url} is a bucket, so this machine needs a folder of its own beside it. Name it with MLOPS_HOME."
        )

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use this state."""
        return not isinstance(self.objects, Folder)

    def refuse_if_unusable(self) -> None:
        """For servers, which wait for a state that is unreachable. Raises StoreRefused: waiting for this one does not help."""
        if isinstance(self.objects, Bucket):
            self.objects.refuse_if_unusable()

    def of(self, product: ModelProduct) -> "ProductState":
        """The state of a product. The same object is returned each time, so that its ledger reads only new entries."""
        state = self._states.get(product.name)
        if state is None or state.product is not product:
            state = self._states[product.name] = ProductState(self, product)
        return state

    @property
    def online(self) -> "OnlineStore":
        from mlops_assets.state.online_store import OnlineStore

        return OnlineStore(self.online_store or self.home / "online.sqlite")

    def predictions(self, kind: str = "predictions", flush_seconds: float = 0.1) -> "PredictionLog":
        """The API's answers. kind: also "shadow", the predictions of challengers, or "pinned", those of a pinned bundle."""
        from mlops_assets.state.prediction_log import PredictionLog

        return PredictionLog(self.objects, kind, self.home / "spool", flush_seconds=flush_seconds)

    def labels(self) -> "LabelLog":
        """Labels that clients reported to the API."""
        from mlops_assets.state.label_log import LabelLog

        return LabelLog(self.objects, self.home / "spool")

    @property
    def run_records(self) -> RunRecords:
        return RunRecords(self.objects)

    @property
    def clock(self) -> Clock:
        return clock_of(self.objects)

    @property
    def replay_clock(self) -> ReplayClock:
        return ReplayClock(self.objects)

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def mlflow_store(self) -> str:
        return f"sqlite:///{self.home / 'mlflow.sqlite'}"

    def mlflow_artifacts(self, tracking: str) -> str:
        """The address of a new experiment's files; "" where the tracking server at that address decides itself."""
        if tracking.startswith(("http", "databricks")):
            return ""
        return f"{self.objects.url}/mlflow" if self.is_shared else (self.home / "mlflow_artifacts").as_uri()


@dataclass(frozen=True)
class ProductState:
    """The part of a workspace that belongs to one product."""

    workspace: Workspace
    product: ModelProduct
    borrowed: Mapping[str, Objects] = field(default_factory=dict)  # tables that are read from another workspace

    @property
    def clock(self) -> Clock:
        return self.workspace.clock

    @cached_property
    def replayed(self) -> set[str]:
        """Checksums of the golden rows whose features this process computes as recorded."""
        return set()

    @cached_property
    def tables(self) -> "Tables":
        from mlops_assets.state.tables import Tables

        return Tables(self.workspace.objects, self.product.name, self.borrowed)

    @cached_property
    def records(self) -> Records:
        return Records(self.workspace.objects, self.product.name)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.workspace.objects, self.product.name)

    @cached_property
    def bundles(self) -> "Bundles":
        from mlops_assets.state.bundles import Bundles

        cache = self.workspace.home / "cache" if self.workspace.is_shared else None
        return Bundles(self.workspace.objects, self.product.name, cache, self.workspace.approval_key)

    @cached_property
    def predictions(self) -> "PredictionLog":
        return self.workspace.predictions()

    @cached_property
    def shadow(self) -> "PredictionLog":
        return self.workspace.predictions("shadow")

    @cached_property
    def labels(self) -> "LabelLog":
        return self.workspace.labels()

    @property
    def approvals(self) -> ApprovalBook:
        """Approvals and rejections that people signed."""
        key_file = None if self.workspace.is_shared else self.workspace.home / "approval.key"
        return ApprovalBook(self.records, key_file, self.workspace.approval_key)

    @property
    def skipped(self) -> SkippedPeriods:
        return SkippedPeriods(self.records)

    @property
    def reports(self) -> Reports:
        return Reports(self.workspace.objects, self.product.name)

    @property
    def online(self) -> "OnlineStore":
        return self.workspace.online

    @property
    def trials(self) -> Trials:
        """The trials of searches, so that a killed search can be resumed."""
        return Trials(self.product.name, self.workspace.home / "experiments", self.workspace.optuna_storage)
