"""Recipe: the estimator and hyperparameters that left development, with who promoted them and why."""

from datetime import datetime

import msgspec

from mlops_assets.errors import DataError
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.documents import Documents
from mlops_assets.stores.home import Home
from mlops_assets.training.search import Leaderboard

RECIPE = "recipe"
RECIPE_TAG = "mlops.recipe"  # tag of an MLflow run: the settings a recipe can be made of, as JSON


class Settings(msgspec.Struct, frozen=True):
    """What makes an estimator: the part of a recipe that a run carries."""

    candidate: str
    estimator: str
    hyperparameters: dict[str, int | float | str | bool | None]


class Recipe(msgspec.Struct, frozen=True):
    product: str
    version: int
    candidate: str
    estimator: str
    hyperparameters: dict[str, int | float | str | bool | None]
    by: str
    reason: str
    promoted_at: datetime
    mlflow_run_id: str = ""

    def as_candidate(self) -> Candidate:
        return Candidate(self.candidate, self.estimator, self.hyperparameters)

    def as_settings(self) -> Settings:
        return Settings(self.candidate, self.estimator, self.hyperparameters)


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
    documents: Documents, product: ModelProduct, settings: Settings, by: str, reason: str, at: datetime, run_id: str
) -> Recipe:
    """The next recipe, from settings that a person chose. Raises DataError: nobody is named, or no reason given."""
    if not by.strip() or not reason.strip():
        raise DataError("a recipe leaves development with who lets it go and why. Name both.")
    former = current_recipe(documents, product)
    version = former.version + 1 if former else 1
    made = settings.candidate, settings.estimator, settings.hyperparameters
    return Recipe(product.name, version, *made, by, reason, at, run_id)


def clear_flag(home: Home, former: Recipe | None, made: Recipe) -> int | None:
    """A recipe from another run than the last answers a rework: clear its flag; returns the version that had it.

    The same experiment again is no answer, so that its flag stays."""
    flag = home.ledger.open_flag(made.product)
    if flag is None or (former is not None and former.mlflow_run_id == made.mlflow_run_id):
        return None
    home.ledger.clear_rework(made.product, made.promoted_at)
    return flag.version


def current_recipe(documents: Documents, product: ModelProduct) -> Recipe | None:
    """The newest recipe, None before the first left development."""
    versions = documents.keys(product.name, RECIPE)
    return documents.load(product.name, RECIPE, versions[-1], Recipe) if versions else None


def recipe_to_train_by(documents: Documents, product: ModelProduct, version: int) -> Recipe:
    """This version, or the newest where it is 0. Raises DataError: it does not exist, with the versions that do."""
    known = documents.keys(product.name, RECIPE)
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
    return documents.load(product.name, RECIPE, key, Recipe)


def recipe_key(version: int) -> str:
    """Sorts in the order of versions."""
    return f"{version:06d}"
