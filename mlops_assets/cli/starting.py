"""What `mlops up` starts by itself, and what it says comes next."""

from collections.abc import Sequence

from mlops_assets.errors import PlatformError
from mlops_assets.products.catalog import catalog, product_named
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.clock import SystemClock
from mlops_assets.state.workspace import Workspace

EVERY, NOBODY = "all", "none"


def sensors_to_run(workspace: Workspace, asked: str, products: Sequence[ModelProduct] | None = None) -> str:
    """Products by comma, or "all", as MLOPS_SENSORS has them. asked: what a person said; "": those that this state holds
    something of, or the only product that there is.

    Raises UnknownProduct."""
    if asked == EVERY:
        return EVERY
    if asked == NOBODY:
        return ""
    if asked:
        return ",".join(product_named(name.strip()).name for name in asked.split(",") if name)
    known = catalog().products if products is None else products
    if len(known) == 1:
        return known[0].name
    return ",".join(product.name for product in known if _holds(workspace, product))


def next_steps(workspace: Workspace, running: str, products: Sequence[ModelProduct] | None = None) -> list[str]:
    """How far each product has come, and what a person can do. running: products by comma, or "all"."""
    from mlops_assets.data.next_step import progress_of
    from mlops_assets.features.validation import validate_product

    known, said = catalog().products if products is None else products, []
    started = [product for product in known if running == EVERY or product.name in running.split(",")]
    for product in started:
        try:
            validate_product(product)
            state = workspace.of(product)
            said += [progress_of(state), *product.notes(workspace.clock.now())]
            if not state.ledger.history():
                said.append(
                    f"  its sensors store what arrives and train the first champion; `mlops replay {product.name}` is quicker"
                )
        except PlatformError as error:
            said.append(f"{product.name}: {error}")  # the servers start all the same
    if not started:
        names = ", ".join(product.name for product in known)
        said.append(f"no sensors run, so nothing goes on by itself: name products with --sensors ({names}), or all")
    if not isinstance(workspace.clock, SystemClock):
        said.append(
            f"the clock of this state stands at {workspace.clock.now():%Y-%m-%d %H:%M}, where a replay left it: nothing newer "
            "arrives until `mlops replay` has come to the end"
        )
    return said


def _holds(workspace: Workspace, product: ModelProduct) -> bool:
    return bool(workspace.of(product).tables.keys("raw"))
