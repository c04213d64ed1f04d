"""The challenger of each product: the newest version that was never deployed, open and warm beside the champion.

A shadow only has to be registered, because nobody sees its answers: its bundle is in the home and newer than every
deployed one. A canary answers people, so its version must have been accepted as well.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from mlops_assets.errors import DataError, PlatformError
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.dtypes import microseconds
from mlops_assets.state.manifest import Manifest
from mlops_assets.state.workspace import ProductState
from serving.model_store import ServedModel
from serving.schemas import RowStruct

_log = logging.getLogger(__name__)


class Challengers:
    """Polls the home in a thread; only products that ask for a shadow or a canary have a challenger."""

    def __init__(
        self,
        states: Sequence[ProductState],
        warm_up: Callable[[ModelProduct, Bundle], object],
        *,
        poll_seconds: float,
    ) -> None:
        self._kept = [state for state in states if state.product.serving.shadow or state.product.serving.canary]
        self._warm_up = warm_up
        self._poll_seconds = poll_seconds
        self._models: dict[str, ServedModel] = {}
        self._failed: dict[str, int] = {}  # versions that cannot be opened, said once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_polling, name="challengers", daemon=True)

    def start(self) -> None:
        if self._kept:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def of(self, product: str) -> ServedModel | None:
        return self._models.get(product)

    def poll(self) -> None:
        for state in self._kept:
            product = state.product
            try:
                manifest = _newest(state)
            except PlatformError as error:
                _log.warning("%s: challengers cannot be looked for: %s", product.name, error)
                continue
            held = self._models.get(product.name)
            if manifest is None:
                self._models.pop(product.name, None)
            elif (held is None or held.bundle.manifest.version != manifest.version) and (
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
    except DataError:  # not judged yet, or it cannot be read
        return False
    return record.accepted and record.version == manifest.version


def place(product: ModelProduct, row: RowStruct) -> float:
    """Where the row's entity lies in [0, 1): the same for the same entity key, in every process and zone."""
    parts = [getattr(row, name) for name in product.entity_key]
    text = "\x1f".join(str(microseconds(part)) if isinstance(part, datetime) else str(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=7, key=product.name.encode()[:64]).digest()
    return int.from_bytes(digest) / 2**56
