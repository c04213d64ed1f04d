"""`mlops recipe …`: what leaves development."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from mlops_assets.cli.workspaces import By, InHome, opened, tracking_of
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import product_named
from mlops_assets.records.training import Recipe

recipe = App(name="recipe", help="Recipes: what leaves development.")


@recipe.command
def promote(
    run_id: str,
    *,
    by: By,
    why: Annotated[str, Parameter(help="Why this one.")],
    product: Annotated[str, Parameter(help="Product (default: what the run's tag says).")] = "",
    home: InHome = "",
) -> None:
    """Let the settings of an MLflow run leave development as the product's next recipe, whoever logged the run."""
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
    facts = registry.run_facts(run_id)
    name = product or facts.tags.get("product", "")
    if not name:
        known = choices("", (item.name for item in catalog().products))
        raise DeclarationError(f"run {run_id} does not say whose it is. Name the product with --product. {known}")
    declared = product_named(name)
    settings = settings_of_run(declared, run_id, facts.params, facts.tags)
    state = workspace.of(declared)
    former = current_recipe(state)
    made = promote_settings(state, settings, by, why, state.clock.now(), run_id)
    left = leave_development(state, former, made)
    if left.cleared is not None:
        registry.untag_version(declared.name, left.cleared, NEEDS_REWORK)
    with opened_instance(workspace, environment.dagster_home) as instance:
        if instance is not None:
            said = {"recipe version": made.version, "estimator": made.estimator, "by": made.by, "reason": made.reason}
            EventLog(instance, declared).report(Recipe.asset, None, said, left.data_version)
    Console().print(
        f"recipe {made.version} of {declared.name}: {made.estimator} {made.hyperparameters}", soft_wrap=True
    )
