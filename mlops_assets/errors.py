"""Every error this platform raises on purpose.

PlatformError
├── DeclarationError       a product, feature view or policy contradicts itself
│   └── UnknownProduct     no product of that name is in the catalog
├── DataError
│   ├── SourceError        the source cannot be read
│   ├── ContractBroken     a period's table has the wrong shape
│   ├── NotArrived         a period is not over, or its source has not delivered it
│   ├── PartitionMissing   a period that is needed was never stored
│   ├── FeatureNotFinite   a feature is infinite or no number in some rows
│   ├── SchemaConflict     partitions of one table disagree on their columns
│   └── NothingToLearnFrom the training or test window holds too few labelled rows
├── StoreError             a store cannot be reached or takes no more
├── BundleError            a bundle is missing, damaged or belongs to other features
│   └── NotConvertible     an estimator cannot become ONNX faithfully
├── NoChampion             nothing is deployed for this product (yet)
├── GateFailed             a deployment was asked for against a failed gate
│   └── ApprovalRefused    an approval cannot be given or does not count
├── StagingFailed          the staging server did not start or did not answer
└── PortTaken              the address is in use by somebody else
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PlatformError(Exception):
    """Root of the tree; its text is one sentence with the facts, the choices and the remedy."""


class DeclarationError(PlatformError):
    """A declaration contradicts itself."""


class UnknownProduct(DeclarationError):
    """No product of that name is in the catalog."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no product {name!r}. {choices(name, self.known)}")


class DataError(PlatformError):
    """Something is wrong with the data."""


class SourceError(DataError):
    """The source cannot be read."""


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
    """A feature is infinite or no number in some rows."""

    def __init__(self, feature: str, rows: int, example: str) -> None:
        self.feature, self.rows = feature, rows
        super().__init__(
            f"feature {feature!r} is infinite or no number in {rows:,} rows, such as {example}. Its source is finite, so it "
            f"divides by 0 or leaves the range of its function: give it a value or null there (`nw.when(…).then(…)`)."
        )


class SchemaConflict(DataError):
    """Partitions of one table disagree on their columns."""


class StoreError(PlatformError):
    """A store cannot be reached, or takes no more."""


class NothingToLearnFrom(DataError):
    """The training or test window holds too few labelled rows."""


class BundleError(PlatformError):
    """A bundle is missing, damaged or belongs to other feature definitions."""


class NotConvertible(BundleError):
    """An estimator cannot become ONNX faithfully."""


class NoChampion(PlatformError):
    """Nothing is deployed for this product (yet)."""

    def __init__(self, product: str) -> None:
        self.product = product
        super().__init__(
            f"nothing is deployed for {product!r} yet. Materialise {product}/deployment to deploy a champion."
        )


class GateFailed(PlatformError):
    """A deployment was asked for against a failed gate."""


class ApprovalRefused(GateFailed):
    """An approval cannot be given, or does not count."""


class StagingFailed(PlatformError):
    """The staging server did not start or did not answer."""


class PortTaken(PlatformError):
    """The address is in use by somebody else."""


def choices(wrong: str, known: Iterable[str]) -> str:
    """Say what exists and, where a name is close, what was probably meant.

    >>> choices("roc_auk", ["log_loss", "roc_auc"])
    "Known: log_loss, roc_auc. Did you mean 'roc_auc'?"
    """
    names = sorted(known)
    close = get_close_matches(wrong, names, n=1)
    return f"Known: {', '.join(names) or 'none'}." + (f" Did you mean {close[0]!r}?" if close else "")
