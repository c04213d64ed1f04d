"""The challenger of each product: the newest version that was never deployed, open and warm beside the champion.

A shadow only has to be registered, because nobody sees its answers: its bundle is in the home and newer than every
deployed one. A canary answers people, so its version must have been accepted as well.
"""

import hashlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from mlops_assets.errors import PartitionMissing
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.dtypes import microseconds
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Bundle, Manifest
from serving.model_store import ServedModel
from serving.schemas import RowStruct

_log = logging.getLogger(__name__)


class _Accepted(msgspec.Struct):
    """What of the acceptance record matters here."""

    version: int
    accepted: bool


class Challengers:
    """Polls the home in a thread; only products that ask for a shadow or a canary have a challenger."""

    def __init__(
        self,
        products: Sequence[ModelProduct],
        home: Home,
        warm_up: Callable[[ModelProduct, Bundle], object],
        *,
        poll_seconds: float,
    ) -> None:
        self._products = [product for product in products if product.serving.shadow or product.serving.canary]
        self._home = home
        self._warm_up = warm_up
        self._poll_seconds = poll_seconds
        self._models: dict[str, ServedModel] = {}
        self._failed: dict[str, int] = {}  # versions that cannot be opened, said once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_polling, name="challengers", daemon=True)

    def start(self) -> None:
        if self._products:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def of(self, product: str) -> ServedModel | None:
        return self._models.get(product)

    def poll(self) -> None:
        for product in self._products:
            try:
                manifest = self._newest(product)
            except (sqlite3.Error, OSError) as error:
                _log.warning("%s: challengers cannot be looked for: %s", product.name, error)
                continue
            held = self._models.get(product.name)
            if manifest is None:
                self._models.pop(product.name, None)
            elif (held is None or held.bundle.manifest.version != manifest.version) and (
                self._failed.get(product.name) != manifest.version
            ):
                self._open(product, manifest.version)

    def _newest(self, product: ModelProduct) -> Manifest | None:
        deployed = [deployment.version for deployment in self._home.ledger.history(product.name)]
        if not deployed:
            return None
        for manifest in self._home.manifests(product.name):  # newest first
            if manifest.version <= max(deployed):
                return None
            if not product.serving.canary or self._is_accepted(product, manifest):
                return manifest
        return None

    def _is_accepted(self, product: ModelProduct, manifest: Manifest) -> bool:
        try:
            record = self._home.documents.load(product.name, "acceptance", manifest.partition, _Accepted)
        except (PartitionMissing, msgspec.MsgspecError):
            return False
        return record.accepted and record.version == manifest.version

    def _open(self, product: ModelProduct, version: int) -> None:
        try:
            bundle = Bundle.open(self._home.bundle(product.name, version), product)
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


def place(product: ModelProduct, row: RowStruct) -> float:
    """Where the row's entity lies in [0, 1): the same for the same entity key, in every process and zone."""
    parts = [getattr(row, name) for name in product.entity_key]
    text = "\x1f".join(str(microseconds(part)) if isinstance(part, datetime) else str(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=7, key=product.name.encode()[:64]).digest()
    return int.from_bytes(digest) / 2**56
