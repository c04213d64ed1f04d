"""Which model answers: opens a new champion in the background, warms it up, and puts it in place in one step."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from litestar.concurrency import sync_to_thread

from mlops_assets.errors import BundleError, NoChampion
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.deployment_ledger import Deployment, DeploymentLedger
from mlops_assets.stores.model_bundle import Bundle
from serving.errors import NotServing, UnknownVersion
from serving.settings import PinnedBundle

FORMER_KEPT = 8  # earlier versions that stay open
RETRY_POLLS = 10  # a bundle that cannot be opened is tried again every so many polls
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """A bundle that is open and warm. deployed_at: None for a pinned bundle."""

    bundle: Bundle
    deployed_at: datetime | None
    reason: str


@dataclass(frozen=True)
class ModelState:
    """What the store knows of one product. `name`: serving, no champion, loading or failed.

    swap_error: why the newest deployment does not serve; the model before it, if any, does."""

    name: str
    model: ServedModel | None = None
    swap_error: str | None = None


class ModelStore:
    """Champions of the deployment ledger, or one pinned bundle. Requests keep the model they began with."""

    def __init__(
        self,
        products: Sequence[ModelProduct],
        ledger: DeploymentLedger,
        warm_up: Callable[[ModelProduct, Bundle], object],
        *,
        pinned: PinnedBundle | None = None,
        poll_seconds: float = 0.5,
    ) -> None:
        self._products = tuple(products)
        self._ledger = ledger
        self._warm_up = warm_up
        self._pinned = pinned
        self._poll_seconds = poll_seconds
        self._states = {product.name: ModelState("loading") for product in products}
        self._position: int | None = None
        self._polls_until_retry = 0
        self._is_leaving = False
        self._poll_error: str | None = None
        self._former: dict[tuple[str, int], ServedModel] = {}
        self._stop = threading.Event()
        self._has_polled = threading.Event()
        self._thread = threading.Thread(target=self._keep_polling, name="model-store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_until_polled(self, seconds: float) -> None:
        """Until the champions of the first look at the ledger are open, or cannot be opened; no longer than so long."""
        self._has_polled.wait(seconds)

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def model(self, product: str) -> ServedModel:
        """What serves now. Raises NoChampion: nothing is deployed. Raises NotServing: what is deployed is not open."""
        state = self._states[product]
        if state.model is not None:
            return state.model
        if state.name == "no champion":
            raise NoChampion(product)
        if state.swap_error is not None:
            raise NotServing(f"the champion of {product} cannot be taken up: {state.swap_error}")
        raise NotServing(f"{product} is being loaded. Try again in a moment; /health/ready tells when.")

    async def version(self, product: str, version: int) -> ServedModel:
        """A version that was deployed once, opened when it is first asked for. The newest asked for are kept open.

        Raises UnknownVersion. Raises NotServing: its bundle cannot be opened."""
        serving = self._states[product].model
        if serving is not None and serving.bundle.manifest.version == version:
            return serving
        kept = self._former.get((product, version))
        if kept is None:
            kept = await sync_to_thread(self._open_former, product, version)
        self._former.pop((product, version), None)
        self._former[product, version] = kept
        while len(self._former) > FORMER_KEPT:
            self._former.pop(next(iter(self._former)))
        return kept

    def _open_former(self, name: str, version: int) -> ServedModel:
        try:
            history = [] if self._pinned is not None else self._ledger.history(name)
        except (sqlite3.Error, OSError) as error:
            raise NotServing(f"the deployment ledger cannot be read: {error}") from error
        found = [deployment for deployment in history if deployment.version == version]
        if not found:
            known = ", ".join(str(number) for number in sorted({deployment.version for deployment in history}))
            raise UnknownVersion(f"version {version} of {name} was never deployed here. Known: {known or 'none'}.")
        product = next(product for product in self._products if product.name == name)
        try:
            return self._open(product, Path(found[-1].bundle), found[-1])
        except Exception as error:  # (ONNX Runtime errors share no public base)
            raise NotServing(f"version {version} of {name} cannot be opened: {error}") from error

    def state(self, product: str) -> ModelState:
        return self._states[product]

    @property
    def poll_error(self) -> str | None:
        """Why the deployment ledger could not be read at the last poll, None when it could."""
        return self._poll_error

    @property
    def is_ready(self) -> bool:
        """Every product that has a champion can answer, and the process is not about to end."""
        return not self._is_leaving and all(
            state.model is not None or state.name == "no champion" for state in self._states.values()
        )

    def leave(self) -> None:
        """Say from now on that this process is not ready; it goes on answering."""
        self._is_leaving = True

    def poll(self) -> None:
        """Take up what the ledger says now."""
        if self._pinned is not None:
            if self._position is None or self._is_time_to_retry():
                self._position = 0
                self._take_up(self._products[0], self._pinned.folder, None)
            return
        try:
            position = self._ledger.position()
            if position == self._position and not self._is_time_to_retry():
                return
            if self._position is not None and position < self._position:
                raise OSError(f"it holds {position} deployments, after {self._position}: was it removed?")
            histories = {product.name: self._ledger.history(product.name) for product in self._products}
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            # whoever serves goes on serving; the model information shows why nothing new comes
            if self._poll_error is None:
                _log.error("the deployment ledger cannot be read: %s", error)
            self._poll_error = f"the deployment ledger cannot be read: {error}"
            return
        self._poll_error = None
        self._position = position
        for product in self._products:
            history = histories[product.name]
            if history:
                self._take_up(product, Path(history[-1].bundle), history[-1])
            else:
                self._states[product.name] = ModelState("no champion")

    def _keep_polling(self) -> None:
        self.poll()
        self._has_polled.set()
        while not self._stop.wait(self._poll_seconds):
            self.poll()

    def _is_time_to_retry(self) -> bool:
        if all(state.swap_error is None for state in self._states.values()):
            return False
        self._polls_until_retry -= 1
        return self._polls_until_retry <= 0

    def _take_up(self, product: ModelProduct, folder: Path, deployment: Deployment | None) -> None:
        before = self._states[product.name]
        deployed_at = deployment.deployed_at if deployment else None
        if (
            before.model is not None
            and before.model.deployed_at == deployed_at
            and before.model.bundle.folder == folder
        ):
            self._states[product.name] = ModelState("serving", before.model)
            return
        try:
            model = self._open(product, folder, deployment)
        except Exception as error:  # noqa: BLE001 (ONNX Runtime errors share no public base, none may end the polling)
            self._polls_until_retry = RETRY_POLLS
            text = f"{folder}: {type(error).__name__}: {error}"
            if text != before.swap_error:
                _log.error("%s: the new champion cannot be taken up: %s", product.name, text)
            self._states[product.name] = ModelState("serving" if before.model else "failed", before.model, text)
            return
        self._states[product.name] = ModelState("serving", model)
        _log.info("%s: version %d serves", product.name, model.bundle.manifest.version)

    def _open(self, product: ModelProduct, folder: Path, deployment: Deployment | None) -> ServedModel:
        """Open and warm. Raises BundleError, or whatever ONNX Runtime has to say."""
        bundle = Bundle.open(folder, product)
        _refuse_another_model(bundle, product, deployment)
        self._warm_up(product, bundle)
        if deployment is None:
            return ServedModel(bundle, None, "pinned")
        return ServedModel(bundle, deployment.deployed_at, deployment.reason)


def _refuse_another_model(bundle: Bundle, product: ModelProduct, deployment: Deployment | None) -> None:
    manifest = bundle.manifest
    wanted = deployment.version if deployment else manifest.version
    if (manifest.product, manifest.version) != (product.name, wanted):
        raise BundleError(
            f"{bundle.folder} holds version {manifest.version} of {manifest.product}, not version {wanted} of "
            f"{product.name}. Materialise {product.name}/deployment again."
        )
