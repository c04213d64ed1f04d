"""A component for projects created with Dagster's `dg`: a product file with its assets, sensors, schedule and resources."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from mlops_assets.definitions import definitions_of, resources_of
from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import FOLDER, USUAL_FOLDER, products_of_file
from resources.environments import Environment, read_environment


class ProductFile(BaseModel):
    """The parameters of `dg scaffold`."""

    file: str | None = Field(
        None, description="The product file, from the root of the project (default: products/<name of the folder>.py)."
    )


class ModelProductScaffolder(dg.Scaffolder[ProductFile]):
    """Writes the `defs.yaml` that points to a product file."""

    @classmethod
    def get_scaffold_params(cls) -> type[ProductFile]:
        return ProductFile

    def scaffold(self, request: dg.ScaffoldRequest[ProductFile]) -> None:
        file = request.params.file or f"{USUAL_FOLDER}/{request.target_path.name}.py"
        dg.scaffold_component(request, {"file": file})


@dg.scaffold_with(ModelProductScaffolder)
class ModelProductComponent(dg.Component, dg.Model, dg.Resolvable):
    """The five pipelines of a ModelProduct: data, training, testing, inference, monitoring.

    The file is an ordinary product file: `mlops products`, the prediction API and this component read the same one."""

    file: str = Field(description="The product file, from the root of the project, as in products/churn.py.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """A file that cannot be used becomes an asset with the reason, and the rest of the project still loads."""
        file = (context.project_root / self.file).absolute()
        _set_products_folder(file.parent)
        environment, resources = _installation()
        return definitions_of(products_of_file(file), environment, resources, prefix=f"{file.stem}_")


def _set_products_folder(folder: Path) -> None:
    """For processes that this one starts: staging starts the prediction API, which needs the product too.

    Raises DeclarationError: the variable names another folder."""
    declared = os.environ.setdefault(FOLDER, str(folder))
    if Path(declared).absolute() != folder:
        raise DeclarationError(
            f"the product files of this project are in {folder}, but {FOLDER} is {declared}. Keep them in one folder, and set "
            f"{FOLDER} to it or leave it out."
        )


@cache
def _installation() -> tuple[Environment, dict[str, dg.ConfigurableResource[Any]]]:
    """Cached, as Dagster merges the definitions of several components and requires one object per resource name."""
    environment = read_environment()
    return environment, resources_of(environment)
