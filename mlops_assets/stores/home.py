"""Where everything the platform keeps lies, below one folder."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import BundleError
from mlops_assets.stores.approvals import ApprovalBook
from mlops_assets.stores.clock import Clock, clock_of
from mlops_assets.stores.deployment_ledger import DeploymentLedger
from mlops_assets.stores.documents import Documents

# the two stores that hold tables need Polars, which a code location that only lists its assets does not
if TYPE_CHECKING:
    from mlops_assets.stores.model_bundle import Manifest
    from mlops_assets.stores.offline_store import OfflineStore
    from mlops_assets.stores.online_store import OnlineStore


@dataclass(frozen=True)
class Home:
    """The data home: every store of one installation.

    offline_store, online_store: addresses of stores that lie elsewhere (s3://…, redis://…, postgresql://…)."""

    root: Path
    offline_store: str = ""
    # may hold a password, so it is no part of what is shown
    online_store: str = field(default="", repr=False)

    @property
    def offline(self) -> "OfflineStore":
        from mlops_assets.stores.offline_store import OfflineStore

        return OfflineStore(self.offline_store or self.root / "offline")

    @property
    def online(self) -> "OnlineStore":
        from mlops_assets.stores.online_store import OnlineStore

        return OnlineStore(self.online_store or self.root / "online.sqlite")

    @property
    def documents(self) -> Documents:
        return Documents(self.root / "documents")

    @property
    def ledger(self) -> DeploymentLedger:
        return DeploymentLedger(self.root / "deployments.sqlite")

    def approvals(self, given_key: str = "") -> ApprovalBook:
        """Signed answers of people. given_key: the key from the environment; empty: the one in the home."""
        return ApprovalBook(self.documents, self.root / "approval.key", given_key)

    @property
    def clock(self) -> Clock:
        return clock_of(self.clock_file)

    @property
    def clock_file(self) -> Path:
        return self.root / "clock.txt"

    @property
    def prediction_log(self) -> Path:
        return self.root / "prediction_log"

    @property
    def shadow_log(self) -> Path:
        return self.root / "prediction_log_shadow"

    @property
    def label_log(self) -> Path:
        return self.root / "label_log"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def experiments(self, product: str) -> Path:
        """Where a search keeps its trials, so that one that was killed goes on."""
        return self.root / "experiments" / product

    @property
    def mlflow_store(self) -> str:
        return f"sqlite:///{(self.root / 'mlflow.sqlite').absolute()}"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow_artifacts"

    def manifests(self, product: str) -> "list[Manifest]":
        """Of every bundle that can be read, newest version first; one that is being written or damaged is left out."""
        from mlops_assets.stores.model_bundle import read_manifest

        found = []
        folder = self.bundle(product, 0).parent
        for path in folder.iterdir() if folder.exists() else ():
            if path.name.isdecimal():
                with suppress(BundleError, OSError):
                    found.append(read_manifest(path))
        return sorted(found, key=lambda manifest: manifest.version, reverse=True)

    def bundle(self, product: str, version: int) -> Path:
        return self.root / "bundles" / product / str(version)
