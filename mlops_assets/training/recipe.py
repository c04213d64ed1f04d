"""Recipe: the estimator and hyperparameters that left development, with who promoted them and why."""

from dataclasses import dataclass
from datetime import datetime

from mlops_assets.errors import DataError
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.training import Leaderboard, Recipe, Settings
from mlops_assets.state.workspace import ProductState

RECIPE_TAG = "mlops.recipe"  # tag of an MLflow run: the settings a recipe can be made of, as JSON


def promote_best(product: ModelProduct, board: Leaderboard, version: int, by: str, at: datetime, run_id: str) -> Recipe:
    """The leaderboard's best candidate, with those that cannot be told apart from it named in the reason."""
    tied = [trial for trial in board.trials if trial.is_tied_with_best]
    chosen = board.best
    reason = f"best {board.metric} {chosen.score:.4f} ({chosen.low:.4f} to {chosen.high:.4f}) of {len(board.trials)} candidates"
    if len(tied) > 1:
        reason += f"; not told apart from it: {', '.join(trial.candidate for trial in tied if trial is not chosen)}"
    return Recipe(
        product.name, version, chosen.candidate, chosen.estimator, chosen.hyperparameters, by, reason, at, run_id
    )


def promote_settings(
    state: ProductState, settings: Settings, by: str, reason: str, at: datetime, run_id: str
) -> Recipe:
    """The next recipe, from settings that a person chose. Raises DataError: nobody is named, or no reason given."""
    if not by.strip() or not reason.strip():
        raise DataError("a recipe leaves development on somebody's word and for a reason. Give both.")
    former = current_recipe(state)
    version = former.version + 1 if former else 1
    made = settings.candidate, settings.estimator, settings.hyperparameters
    return Recipe(state.product.name, version, *made, by, reason, at, run_id)


@dataclass(frozen=True)
class Left:
    """A recipe that left development. data_version: of its document. cleared: version whose flag for rework it cleared."""

    data_version: str
    cleared: int | None


def leave_development(state: ProductState, former: Recipe | None, made: Recipe) -> Left:
    """Keep the recipe, by which the next version is trained.

    One from another run than `former` answers a rework and clears its flag. The same experiment again is no answer, so that
    its flag stays."""
    version = state.records.save(recipe_key(made.version), made)
    return Left(version, _clear_flag(state, former, made))


def current_recipe(state: ProductState) -> Recipe | None:
    """The newest recipe, None before the first left development."""
    versions = state.records.keys(Recipe)
    return state.records.load(Recipe, versions[-1]) if versions else None


def recipe_to_train_by(state: ProductState, version: int) -> Recipe:
    """This version, or the newest where it is 0. Raises DataError: it does not exist, with the versions that do."""
    product, known = state.product, state.records.keys(Recipe)
    if not known:
        raise DataError(
            f"no recipe of {product.name} has left development. Materialise {product.name}/experiment and "
            f"{product.name}/recipe first."
        )
    key = recipe_key(version) if version else known[-1]
    if key not in known:
        raise DataError(
            f"{product.name} has no recipe {version}. Known: {', '.join(str(int(item)) for item in known)}."
        )
    return state.records.load(Recipe, key)


def recipe_key(version: int) -> str:
    """Sorts in the order of versions."""
    return f"{version:06d}"


def _clear_flag(state: ProductState, former: Recipe | None, made: Recipe) -> int | None:
    flag = state.ledger.open_flag()
    if flag is None or (former is not None and former.mlflow_run_id == made.mlflow_run_id):
        return None
    state.ledger.clear_rework(made.promoted_at)
    return flag.version
