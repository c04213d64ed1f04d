"""Opens a bundle for a product, if the code still computes the features that its model was trained on."""

from itertools import zip_longest

from mlops_assets.errors import BundleError
from mlops_assets.features.golden import Golden
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import GOLDEN
from mlops_assets.state.workspace import ProductState

REMEDY = "Retrain it, or restore the definitions that it was trained with."


def open_bundle(state: ProductState, version: int, threads: int = 1) -> Bundle:
    """Raises BundleError: it is damaged, or its model was trained on other features than the product has now."""
    bundle = state.bundles.open(version, threads=threads)
    refuse_another_declaration(bundle, state.product)
    golden = bundle.manifest.checksums[GOLDEN]
    # replaying is the slowest part of opening, and the code of a process does not change, so once is enough
    if golden not in state.replayed:
        refuse_other_values(bundle, state.product)
        state.replayed.add(golden)
    return bundle


def refuse_another_declaration(bundle: Bundle, product: ModelProduct) -> None:
    """Raises BundleError: the task, or the names or kinds of features, have changed, or their values cannot be compared."""
    manifest, trained = bundle.manifest, _trained(bundle, product)
    if product.task is not manifest.task:
        raise BundleError(
            f"{trained} for the task {manifest.task}, but the product now declares {product.task}. {REMEDY}"
        )
    if GOLDEN not in manifest.checksums:
        raise BundleError(
            f"{bundle.title} has no {GOLDEN}, so its features cannot be compared with those of the code. Retrain it."
        )
    was = [(item.name, item.kind) for item in manifest.inputs]
    now = [(feature.name, feature.kind) for feature in product.inputs]
    if was != now:
        first = next(pair for pair in zip_longest(was, now) if pair[0] != pair[1])
        raise BundleError(f"{trained} on other features than the product now declares: {_pair(*first)}. {REMEDY}")


def refuse_other_values(bundle: Bundle, product: ModelProduct) -> None:
    """Raises BundleError: the features of the golden rows differ from the recorded ones."""
    if difference := Golden.unpack(bundle.content(GOLDEN), bundle.title).first_difference(product):
        raise BundleError(
            f"{_trained(bundle, product)} on other feature values than the code now computes: {difference}. The definition changed, "
            f"or a library that computes it. {REMEDY}"
        )


def _trained(bundle: Bundle, product: ModelProduct) -> str:
    return f"version {bundle.manifest.version} of {product.name} was trained"


def _pair(was: tuple[str, str] | None, now: tuple[str, str] | None) -> str:
    before, after = (f"{each[0]} ({each[1]})" if each else "none" for each in (was, now))
    return f"{before} before, and {after} now"
