"""Opens a bundle for a product, if the code still computes the features that its model was trained on."""

from itertools import zip_longest

from mlops_assets.errors import BundleError
from mlops_assets.features.golden import Golden
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import GOLDEN
from mlops_assets.state.workspace import ProductState

REMEDY = "Retrain it, or restore what it was trained with."


def open_bundle(state: ProductState, version: int, threads: int = 1) -> Bundle:
    """Raises BundleError: it is damaged, or its model was trained on other features than the product gives now."""
    bundle = state.bundles.open(version, threads=threads)
    refuse_another_declaration(bundle, state.product)
    golden = bundle.manifest.checksums[GOLDEN]
    if (
        golden not in state.replayed
    ):  # once per process is enough, because its code does not change; replaying is the slowest part of opening
        refuse_other_values(bundle, state.product)
        state.replayed.add(golden)
    return bundle


def refuse_another_declaration(bundle: Bundle, product: ModelProduct) -> None:
    """Raises BundleError: `product` has another task now, its features other names or kinds, or nobody can compare their values."""
    manifest, trained = bundle.manifest, _trained(bundle, product)
    if product.task is not manifest.task:
        raise BundleError(
            f"{trained} for the task {manifest.task}, and the product declares {product.task} now. {REMEDY}"
        )
    if GOLDEN not in manifest.checksums:
        raise BundleError(
            f"{bundle.title} has no {GOLDEN}, so nobody can say whether its features are those of the code. Retrain it."
        )
    was = [(item.name, item.kind) for item in manifest.inputs]
    now = [(feature.name, feature.kind) for feature in product.inputs]
    if was != now:
        first = next(pair for pair in zip_longest(was, now) if pair[0] != pair[1])
        raise BundleError(f"{trained} on other features than the product declares now: {_pair(*first)}. {REMEDY}")


def refuse_other_values(bundle: Bundle, product: ModelProduct) -> None:
    """Raises BundleError: the golden rows have other features now than were recorded."""
    if difference := Golden.unpack(bundle.content(GOLDEN), bundle.title).first_difference(product):
        raise BundleError(
            f"{_trained(bundle, product)} on other feature values than the code gives now: {difference}. Its definition changed, or a "
            f"library that computes it. {REMEDY}"
        )


def _trained(bundle: Bundle, product: ModelProduct) -> str:
    return f"version {bundle.manifest.version} of {product.name} was trained"


def _pair(was: tuple[str, str] | None, now: tuple[str, str] | None) -> str:
    said = [f"{each[0]} ({each[1]})" if each else "none" for each in (was, now)]
    return f"{said[0]} was where {said[1]} is"
