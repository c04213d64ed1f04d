"""The models that serve. A new champion is opened and warmed up in the background, and takes over in one step."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from litestar.concurrency import sync_to_thread

from mlops_assets.errors import BundleError, LedgerBroken, NoChampion, PlatformError, StoreError
from mlops_assets.features.opening import open_bundle, refuse_another_declaration, refuse_other_values
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.ledger import Deployment, deployments_of, standing
from mlops_assets.state.workspace import ProductState
from serving.errors import NotServing, UnknownVersion
from serving.settings import PinnedBundle

FORMER_KEPT = 8  # earlier versions that stay open
FORMER_TRIED = 8  # earlier deployments, where the champion cannot be opened
RETRY_POLLS = 10  # polls after which a bundle that cannot be opened is tried again
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """A bundle that is open and warm. deployed_at: None for a pinned bundle. number: its entry in the ledger, 0 for a pinned
    bundle or a challenger."""

    bundle: Bundle
    deployed_at: datetime | None
    reason: str
    number: int = 0


@dataclass(frozen=True)
class ModelState:
    """The state of one product. name: serving, no champion, loading or failed.

    swap_error: why the newest deployment does not serve. The former one serves, if it can be opened."""

    name: str
    model: ServedModel | None = None
    swap_error: str | None = None


class ModelStore:
    """Follows the deployment ledger, or serves one pinned bundle. A request keeps the model that it started with."""

    def __init__(
        self,
        states: Sequence[ProductState],
        warm_up: Callable[[ModelProduct, Bundle], object],
        *,
        pinned: PinnedBundle | None = None,
        poll_seconds: float = 0.5,
    ) -> None:
        self._followed = {state.product.name: state for state in states}
        self._warm_up = warm_up
        self._pinned = pinned
        self._poll_seconds = poll_seconds
        self._states = {name: ModelState("loading") for name in self._followed}
        self._positions: dict[str, int] = {}
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
        """Wait until the champions that the first poll found are open or have failed, for at most these seconds."""
        self._has_polled.wait(seconds)

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def model(self, product: str) -> ServedModel:
        """The champion. Raises NoChampion: nothing is deployed. Raises NotServing: the deployed version is not open."""
        state = self._states[product]
        if state.model is not None:
            return state.model
        if state.name == "no champion":
            raise NoChampion(product)
        if state.swap_error is not None:
            raise NotServing(f"the champion of {product} cannot be opened: {state.swap_error}")
        raise NotServing(f"{product} is being loaded. Try again in a moment; /health/ready shows when.")

    async def version(self, product: str, version: int) -> ServedModel:
        """A version that was deployed before. It is opened when it is first requested; the most recently requested stay open.

        Raises UnknownVersion. Raises NotServing: its bundle cannot be opened."""
        serving = self._states[product].model
        if serving is not None and serving.bundle.manifest.version == version:
            return serving
        former = self._former.get((product, version))
        if former is None:
            former = await sync_to_thread(self._open_former, product, version)
        self._former.pop((product, version), None)
        self._former[product, version] = former
        while len(self._former) > FORMER_KEPT:
            self._former.pop(next(iter(self._former)))
        return former

    def _open_former(self, name: str, version: int) -> ServedModel:
        try:
            history = [] if self._pinned is not None else self._followed[name].ledger.history()
        except PlatformError as error:
            raise NotServing(f"the deployment ledger cannot be read: {error}") from error
        deployments = [deployment for deployment in history if deployment.version == version]
        if not deployments:
            deployed = ", ".join(str(number) for number in sorted({deployment.version for deployment in history}))
            raise UnknownVersion(f"version {version} of {name} was never deployed here. Known: {deployed or 'none'}.")
        try:
            return self._open(self._followed[name], deployments[-1])
        except Exception as error:  # (ONNX Runtime errors share no public base)
            raise NotServing(f"version {version} of {name} cannot be opened: {error}") from error

    def state(self, product: str) -> ModelState:
        return self._states[product]

    @property
    def poll_error(self) -> str | None:
        """Why the last poll could not read the deployment ledger, None if it could."""
        return self._poll_error

    @property
    def is_ready(self) -> bool:
        """Whether every product that has a champion can answer, and the process is not about to end."""
        return not self._is_leaving and all(
            state.model is not None or state.name == "no champion" for state in self._states.values()
        )

    def leave(self) -> None:
        """Report from now on that this process is not ready. It still answers."""
        self._is_leaving = True

    def poll(self) -> None:
        """Follow the ledger."""
        if self._pinned is not None:
            if not self._positions or self._is_time_to_retry():
                self._positions = {self._pinned.product: 0}
                self._open_champion(self._followed[self._pinned.product], None)
            return
        is_retry, errors = self._is_time_to_retry(), []
        for state in self._followed.values():
            try:
                self._follow(state, is_retry=is_retry)
            except StoreError as error:
                errors.append(str(error))
                break  # the other ledgers are in the same state
            except PlatformError as error:
                errors.append(str(error))
        self._report(errors)

    def _follow(self, state: ProductState, *, is_retry: bool) -> None:
        """Raises StoreError: the state cannot be read. LedgerBroken: this product's ledger cannot."""
        name = state.product.name
        entries = state.ledger.entries()
        before, position = self._positions.get(name), len(entries)
        if before is not None and position < before:
            raise LedgerBroken(
                name,
                position + 1,
                f"the ledger of {name} has {position} entries, and had {before} before. Restore it from a copy of the state.",
            )
        if position == before and not is_retry:
            return
        self._positions[name] = position
        if history := deployments_of(entries):
            self._open_champion(state, history[-1], standing(history)[:-1])
        else:
            self._states[name] = ModelState("no champion")

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

    def _report(self, errors: Sequence[str]) -> None:
        """Models continue to serve. The model information shows why new deployments are not followed."""
        before = self._poll_error
        self._poll_error = f"the deployment ledger cannot be read: {'; '.join(errors)}" if errors else None
        if before is None and self._poll_error is not None:
            _log.error("%s", self._poll_error)
        elif before is not None and self._poll_error is None:
            _log.warning("the deployment ledger can be read again")

    def _open_champion(
        self, state: ProductState, deployment: Deployment | None, former: Sequence[Deployment] = ()
    ) -> None:
        """Let this deployment serve. If it cannot be opened, the current model continues to serve; if there is none, the newest
        of `former` that can be opened serves."""
        product = state.product
        before = self._states[product.name]
        if before.model is not None and before.model.number == (deployment.number if deployment else 0):
            self._states[product.name] = ModelState("serving", before.model)
            return
        try:
            opened = self._open(state, deployment)
        except Exception as error:  # noqa: BLE001 (ONNX Runtime errors share no public base, none may end the polling)
            is_unreachable = isinstance(error, StoreError)  # then the former ones cannot be read either
            self._polls_until_retry = 1 if is_unreachable else RETRY_POLLS
            text = f"{type(error).__name__}: {error}"
            model = before.model
            if text != before.swap_error:
                _log.error("%s: the new champion cannot be opened: %s", product.name, text)
                model = model or (None if is_unreachable else self._open_newest(state, former))
                if model is not None:
                    _log.error("%s: version %d serves instead", product.name, model.bundle.manifest.version)
            self._states[product.name] = ModelState("serving" if model else "failed", model, text)
            return
        self._states[product.name] = ModelState("serving", opened)
        _log.info("%s: version %d serves", product.name, opened.bundle.manifest.version)

    def _open_newest(self, state: ProductState, former: Sequence[Deployment]) -> ServedModel | None:
        """The newest of these that can be opened. A version is trusted until it is rolled back."""
        for deployment in reversed(former[-FORMER_TRIED:]):
            try:
                return self._open(state, deployment)
            except Exception as error:  # noqa: BLE001 (as above)
                _log.error("%s: version %d cannot be opened either: %s", state.product.name, deployment.version, error)
        return None

    def _open(self, state: ProductState, deployment: Deployment | None) -> ServedModel:
        """Open the bundle and warm it up. Raises BundleError, or an error of ONNX Runtime."""
        product = state.product
        if deployment is not None:
            bundle = open_bundle(state, deployment.version)
        elif self._pinned is not None:
            bundle = Bundle.open(self._pinned.folder, approval_key=state.workspace.approval_key)
            refuse_another_declaration(bundle, product)
            refuse_other_values(bundle, product)
        else:
            raise NoChampion(product.name)
        _refuse_another_model(bundle, product, deployment)
        self._warm_up(product, bundle)
        if deployment is None:
            return ServedModel(bundle, None, "pinned")
        return ServedModel(bundle, deployment.deployed_at, deployment.reason, deployment.number)


def _refuse_another_model(bundle: Bundle, product: ModelProduct, deployment: Deployment | None) -> None:
    manifest = bundle.manifest
    expected = deployment.version if deployment else manifest.version
    if (manifest.product, manifest.version) != (product.name, expected):
        raise BundleError(
            f"the bundle has version {manifest.version} of {manifest.product}, not version {expected} of "
            f"{product.name}. Materialise {product.name}/deployment again."
        )
