"""`mlops recipe …`: recipes that leave development."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from mlops_assets.cli.workspaces import By, InHome, opened, tracking_of
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named
from mlops_assets.records.training import Recipe

recipe = App(name="recipe", help="Recipes that leave development.")


@recipe.command
def promote(
    run_id: str,
    *,
    by: By,
    why: Annotated[str, Parameter(help="The reason for this run.")],
    product: Annotated[str, Parameter(help="Product (default: that of the run's tag).")] = "",
    home: InHome = "",
) -> None:
    """Make the settings of an MLflow run the product's next recipe; any program may have logged the run."""
    from mlops_assets.errors import choices
    from mlops_assets.products.catalog import catalog
    from mlops_assets.state.model_registry import NEEDS_REWORK, ModelRegistry
    from mlops_assets.training.from_run import settings_of_run
    from mlops_assets.training.recipe import current_recipe, leave_development, promote_settings
    from resources.environments import read_environment
    from resources.event_log import EventLog, opened_instance

    workspace, environment = opened(home), read_environment()
    tracking = tracking_of(workspace, home)
    registry = ModelRegistry(tracking, workspace.mlflow_artifacts(tracking))
    run = registry.run_facts(run_id)
    name = product or run.tags.get("product", "")
    if not name:
        known = choices("", (item.name for item in catalog().products))
        raise DeclarationError(f"run {run_id} has no tag `product`. Name the product with --product. {known}")
    declared = product_named(name)
    settings = settings_of_run(declared, run_id, run.params, run.tags)
    state = workspace.of(declared)
    former = current_recipe(state)
    new = promote_settings(state, settings, by, why, state.clock.now(), run_id)
    departure = leave_development(state, former, new)
    if departure.cleared is not None:
        registry.untag_version(declared.name, departure.cleared, NEEDS_REWORK)
    with opened_instance(workspace, environment.dagster_home) as instance:
        if instance is not None:
            facts = {"recipe version": new.version, "estimator": new.estimator, "by": new.by, "reason": new.reason}
            EventLog(instance, declared).report(Recipe.asset, None, facts, departure.data_version)
    Console().print(f"recipe {new.version} of {declared.name}: {new.estimator} {new.hyperparameters}", soft_wrap=True)
