"""The challenger of each product: the newest version that was never deployed, open and warm beside the champion.

Nobody sees the answers of a shadow, so its version only has to be registered: its bundle is in the state and newer than every
deployed one. A canary answers requests, so its version must have been accepted as well.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from mlops_assets.errors import DataError, PlatformError
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import Manifest
from mlops_assets.state.workspace import ProductState
from serving.model_store import ServedModel

_log = logging.getLogger(__name__)


class Challengers:
    """Polls the state in a thread. Only products that declare a shadow or a canary have a challenger."""

    def __init__(
        self,
        states: Sequence[ProductState],
        warm_up: Callable[[ModelProduct, Bundle], object],
        *,
        poll_seconds: float,
    ) -> None:
        self._watched = [state for state in states if state.product.serving.shadow or state.product.serving.canary]
        self._warm_up = warm_up
        self._poll_seconds = poll_seconds
        self._models: dict[str, ServedModel] = {}
        self._failed: dict[str, int] = {}  # versions that cannot be opened; each is logged once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_polling, name="challengers", daemon=True)

    def start(self) -> None:
        if self._watched:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def of(self, product: str) -> ServedModel | None:
        return self._models.get(product)

    def poll(self) -> None:
        for state in self._watched:
            product = state.product
            try:
                manifest = _newest(state)
            except PlatformError as error:
                _log.warning("%s: the challenger cannot be determined: %s", product.name, error)
                continue
            open_model = self._models.get(product.name)
            if manifest is None:
                self._models.pop(product.name, None)
            elif (open_model is None or open_model.bundle.manifest.version != manifest.version) and (
                self._failed.get(product.name) != manifest.version
            ):
                self._open(state, manifest.version)

    def _open(self, state: ProductState, version: int) -> None:
        product = state.product
        try:
            bundle = open_bundle(state, version)
            self._warm_up(product, bundle)
        except Exception as error:  # noqa: BLE001 (as in model_store: no error may end the polling)
            self._failed[product.name] = version
            _log.error("%s: challenger %d cannot be opened: %s", product.name, version, error)
            return
        self._models[product.name] = ServedModel(bundle, None, "challenger")
        _log.info("%s: version %d is the challenger", product.name, version)

    def _keep_polling(self) -> None:
        self.poll()
        while not self._stop.wait(self._poll_seconds):
            self.poll()


def _newest(state: ProductState) -> Manifest | None:
    deployed = [deployment.version for deployment in state.ledger.history()]
    for manifest in state.bundles.manifests(after=max(deployed)) if deployed else ():
        if not state.product.serving.canary or _is_accepted(state, manifest):
            return manifest
    return None


def _is_accepted(state: ProductState, manifest: Manifest) -> bool:
    try:
        record = state.records.load(AcceptanceRecord, manifest.partition)
    except DataError:  # it was not judged yet, or the record cannot be read
        return False
    return record.accepted and record.version == manifest.version
