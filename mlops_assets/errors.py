"""Every error this platform raises on purpose.

PlatformError
├── DeclarationError       a product, feature view or policy contradicts itself
│   ├── UnknownProduct     no product of that name is in the catalog
│   └── BrokenProduct      the file that declares a product cannot be used
├── DataError
│   ├── SourceError        the source cannot be read
│   ├── ContractBroken     a period's table has the wrong shape
│   ├── NotArrived         a period is not over, or its source has not delivered it
│   ├── PartitionMissing   a period that is needed was never stored
│   ├── FeatureNotFinite   a feature is infinite or NaN in some rows
│   ├── SchemaConflict     partitions of one table disagree on their columns
│   └── NothingToLearnFrom the training or test window holds too few labelled rows
├── StoreError             a store cannot be reached or is full
│   ├── StoreRefused       the bucket does not exist or denies access
│   └── RecordTooNew       a newer release wrote the record
├── BundleError            a bundle is missing, damaged or belongs to other features
│   └── NotConvertible     an estimator cannot become ONNX faithfully
├── NoChampion             no champion is deployed for this product, or none was at that time
├── LedgerBroken           an entry of the deployment ledger was changed or removed
├── ChampionChanged        another deployment was recorded first
├── StaleVersion           the version must not replace the champion
├── GateFailed             a gate of the version that was to be deployed failed
│   └── ApprovalRefused    an approval cannot be given or is not valid
├── StillRunning           another `mlops up` runs on this home
├── StagingFailed          the staging server did not start or did not answer
├── Inconclusive           the machine was too busy to judge a version; it is neither accepted nor refused
└── PortTaken              another process uses the address
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class PlatformError(Exception):
    """Root of the tree; its text is one sentence with the facts, the choices and the remedy.

    is_transient: the cause lies outside of the platform, so the same call may succeed a moment later."""

    is_transient: ClassVar[bool] = False


class DeclarationError(PlatformError):
    """A declaration contradicts itself."""


class UnknownProduct(DeclarationError):
    """No product of that name is in the catalog."""

    def __init__(self, name: str, known: Iterable[str], note: str = "") -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no product {name!r}. {choices(name, self.known)} {note}".rstrip())


class BrokenProduct(DeclarationError):
    """The file that declares a product cannot be used."""

    def __init__(self, name: str, place: str, sentence: str) -> None:
        self.name, self.place = name, place
        super().__init__(f"{place} cannot be used: {sentence}")


class DataError(PlatformError):
    """Something is wrong with the data."""


class SourceError(DataError):
    """The source cannot be read."""

    is_transient = True


class ContractBroken(DataError):
    """A period's table has the wrong shape: columns missing or of the wrong type."""


class NotArrived(DataError):
    """A period is not over, or its source has not delivered it."""


class PartitionMissing(DataError):
    """A period that is needed was never stored."""

    def __init__(self, table: str, keys: Iterable[str]) -> None:
        self.table = table
        self.keys = tuple(keys)
        super().__init__(
            f"{table} has no stored partition for {', '.join(self.keys)}. Materialise it for those partitions first."
        )


class FeatureNotFinite(DataError):
    """A feature is infinite or NaN in some rows."""

    def __init__(self, feature: str, rows: int, example: str) -> None:
        self.feature, self.rows = feature, rows
        super().__init__(
            f"feature {feature!r} is infinite or NaN in {rows:,} rows, such as {example}. Its source is finite, so the "
            f"expression divides by 0 or leaves the range of a function: give it a value or null there (`nw.when(…).then(…)`)."
        )


class SchemaConflict(DataError):
    """Partitions of one table disagree on their columns."""


class StoreError(PlatformError):
    """A store cannot be reached, or is full."""

    is_transient = True


class StoreRefused(StoreError):
    """The bucket does not exist, or denies access: waiting does not help."""

    is_transient = False


class RecordTooNew(StoreError):
    """A newer release wrote the record."""

    is_transient = False

    def __init__(self, record: str, schema: int, known: int) -> None:
        self.record, self.schema, self.known = record, schema, known
        super().__init__(
            f"{record} was written by a newer release of mlops-assets with schema {schema}, and this release reads schemas up to "
            f"{known}. It was not changed: install the newer release here too."
        )


class NothingToLearnFrom(DataError):
    """The training or test window holds too few labelled rows."""


class BundleError(PlatformError):
    """A bundle is missing, damaged or belongs to other feature definitions."""


class NotConvertible(BundleError):
    """An estimator cannot become ONNX faithfully."""


class NoChampion(PlatformError):
    """No champion is deployed for this product, or none was at that time. first: the first deployment, and when it was."""

    def __init__(self, product: str, first: str = "") -> None:
        self.product = product
        super().__init__(
            f"no champion of {product!r} served at that time: {first}, and rows from before are neither predicted nor monitored. "
            "Choose a later partition."
            if first
            else f"no champion of {product!r} is deployed yet. Materialise {product}/deployment to deploy one."
        )


class LedgerBroken(PlatformError):
    """An entry of the deployment ledger was changed or removed, or cannot be read. number: that of the first such entry."""

    def __init__(self, product: str, number: int, text: str) -> None:
        self.product, self.number = product, number
        super().__init__(text)


class ChampionChanged(PlatformError):
    """Another deployment was recorded after the one that the decision is based on."""

    is_transient = True


class StaleVersion(PlatformError):
    """The version that was to become champion is older than the champion, or was already rolled back or sent to rework."""


class StillRunning(PlatformError):
    """Another process already does this on the same home."""


class GateFailed(PlatformError):
    """A gate of the version that was to be deployed failed."""


class ApprovalRefused(GateFailed):
    """An approval cannot be given, or is not valid."""


class StagingFailed(PlatformError):
    """The staging server did not start or did not answer."""

    is_transient = True


class Inconclusive(PlatformError):
    """A version could not be judged because the machine was too busy. A later attempt may decide it."""

    is_transient = True


class PortTaken(PlatformError):
    """Another process uses the address."""


def choices(wrong: str, known: Iterable[str]) -> str:
    """A sentence with the names that exist and, where one of them is close, the one that was probably meant.

    >>> choices("roc_auk", ["log_loss", "roc_auc"])
    "Known: log_loss, roc_auc. Did you mean 'roc_auc'?"
    """
    names = sorted(known)
    close = close_names(wrong, names)
    return f"Known: {', '.join(names) or 'none'}." + (f" Did you mean {close[0]!r}?" if close else "")


def close_names(wrong: str, known: Iterable[str]) -> list[str]:
    """The name that was probably meant, or none."""
    return get_close_matches(wrong, list(known), n=1)
