"""The sensors that `mlops up` starts, and the next steps that it prints."""

from collections.abc import Sequence

from mlops_assets.errors import PlatformError
from mlops_assets.products.catalog import catalog, product_named
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.clock import SystemClock
from mlops_assets.state.workspace import Workspace

ALL, NONE = "all", "none"


def sensors_to_run(workspace: Workspace, option: str, products: Sequence[ModelProduct] | None = None) -> str:
    """Products separated by commas, or "all", as in MLOPS_SENSORS. option: the value of --sensors; "": the products with data in
    this state, or the only product.

    Raises UnknownProduct."""
    if option == ALL:
        return ALL
    if option == NONE:
        return ""
    if option:
        return ",".join(product_named(name.strip()).name for name in option.split(",") if name)
    products = catalog().products if products is None else products
    if len(products) == 1:
        return products[0].name
    return ",".join(product.name for product in products if workspace.of(product).tables.keys("raw"))


def next_steps(workspace: Workspace, running: str, products: Sequence[ModelProduct] | None = None) -> list[str]:
    """The progress of each product, and the next step. running: products separated by commas, or "all"."""
    from mlops_assets.data.next_step import progress_of
    from mlops_assets.features.validation import validate_product

    products = catalog().products if products is None else products
    sentences: list[str] = []
    started = [product for product in products if running == ALL or product.name in running.split(",")]
    for product in started:
        try:
            validate_product(product)
            state = workspace.of(product)
            sentences += [progress_of(state), *product.notes(workspace.clock.now())]
            if not state.ledger.history():
                sentences.append(
                    f"  its sensors store new periods and train the first champion; `mlops replay {product.name}` is quicker"
                )
        except PlatformError as error:
            sentences.append(f"{product.name}: {error}")  # the servers start anyway
    if not started:
        names = ", ".join(product.name for product in products)
        sentences.append(f"no sensors run, so the loop is off: name products with --sensors ({names}), or all")
    if not isinstance(workspace.clock, SystemClock):
        sentences.append(
            f"the clock of this state stands at {workspace.clock.now():%Y-%m-%d %H:%M}, where a replay stopped: nothing newer "
            "arrives until it moves. End this with Ctrl-C and run `mlops replay` again to finish it, or move the clock meanwhile: "
            "`mlops clock MOMENT`"
        )
    return sentences
