"""Recipe: the estimator and hyperparameters that left development, with who promoted them and why."""

from dataclasses import dataclass
from datetime import datetime

from mlops_assets.errors import DataError
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.training import Leaderboard, Recipe, Settings
from mlops_assets.state.workspace import ProductState

RECIPE_TAG = "mlops.recipe"  # tag of an MLflow run that holds its settings as JSON


def promote_best(product: ModelProduct, board: Leaderboard, version: int, by: str, at: datetime, run_id: str) -> Recipe:
    """A recipe of the leaderboard's best candidate; the reason names the candidates that are tied with it."""
    tied = [trial for trial in board.trials if trial.is_tied_with_best]
    chosen = board.best
    reason = f"best {board.metric} {chosen.score:.4f} ({chosen.low:.4f} to {chosen.high:.4f}) of {len(board.trials)} candidates"
    if len(tied) > 1:
        reason += f"; tied with it: {', '.join(trial.candidate for trial in tied if trial is not chosen)}"
    return Recipe(
        product.name, version, chosen.candidate, chosen.estimator, chosen.hyperparameters, by, reason, at, run_id
    )


def promote_settings(
    state: ProductState, settings: Settings, by: str, reason: str, at: datetime, run_id: str
) -> Recipe:
    """The next recipe, from settings that a person chose. Raises DataError without a name or a reason."""
    if not by.strip() or not reason.strip():
        raise DataError("a recipe needs the name of the person who promotes it, and a reason. Give both.")
    former = current_recipe(state)
    version = former.version + 1 if former else 1
    estimator = settings.candidate, settings.estimator, settings.hyperparameters
    return Recipe(state.product.name, version, *estimator, by, reason, at, run_id)


@dataclass(frozen=True)
class StoredRecipe:
    """data_version: of the stored recipe. cleared: version whose flag for rework the recipe cleared, if any."""

    data_version: str
    cleared: int | None


def leave_development(state: ProductState, former: Recipe | None, recipe: Recipe) -> StoredRecipe:
    """Store the recipe, with which the next version is trained.

    A recipe of another MLflow run than `former` answers a rework and clears its flag. One of the same run leaves the flag."""
    version = state.records.save(recipe_key(recipe.version), recipe)
    flag = state.ledger.open_flag()
    if flag is None or (former is not None and former.mlflow_run_id == recipe.mlflow_run_id):
        return StoredRecipe(version, None)
    state.ledger.clear_rework(recipe.promoted_at)
    return StoredRecipe(version, flag.version)


def current_recipe(state: ProductState) -> Recipe | None:
    """The newest recipe, None before the first one."""
    versions = state.records.keys(Recipe)
    return state.records.load(Recipe, versions[-1]) if versions else None


def recipe_to_train_by(state: ProductState, version: int) -> Recipe:
    """The recipe of this version, 0: the newest. Raises DataError, with the versions that exist, if there is none."""
    product, keys = state.product, state.records.keys(Recipe)
    if not keys:
        raise DataError(
            f"no recipe of {product.name} has left development. Materialise {product.name}/experiment and "
            f"{product.name}/recipe first."
        )
    key = recipe_key(version) if version else keys[-1]
    if key not in keys:
        raise DataError(f"{product.name} has no recipe {version}. Known: {', '.join(str(int(item)) for item in keys)}.")
    return state.records.load(Recipe, key)


def recipe_key(version: int) -> str:
    """The key of its record; keys sort in the order of versions."""
    return f"{version:06d}"
