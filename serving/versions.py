"""`GET /v1/models/<product>/versions`: every version of a product, and the times in which it served."""

from collections.abc import Iterator, Sequence

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from mlops_assets.errors import PlatformError
from mlops_assets.state.ledger import Deployment, terms
from mlops_assets.state.manifest import Manifest
from serving.access import NEEDS, Role
from serving.documentation import refusals
from serving.errors import NotServing
from serving.information import Serving, VersionEntry, VersionList
from serving.problems import PROBLEM_JSON, Problem
from serving.services import Services


@get(
    "/v1/models/{product:str}/versions",
    opt={NEEDS: Role.PREDICT},
    tags=["models"],
    summary="Every version of a product",
    sync_to_thread=True,
    responses=refusals(Problem, PROBLEM_JSON),
)
def list_versions(product: FromPath[str], services: NamedDependency[Services]) -> VersionList:
    state = services.state_of(product)
    try:
        history, manifests = state.ledger.history(), state.bundles.manifests()
    except PlatformError as error:
        raise NotServing(f"the versions cannot be read: {error}") from None
    return VersionList(product, list(version_entries(manifests, history)))


def version_entries(manifests: Sequence[Manifest], history: Sequence[Deployment]) -> Iterator[VersionEntry]:
    newest_deployed = max((deployment.version for deployment in history), default=0)
    for manifest in manifests:
        served = list(_served(manifest.version, history))
        if history and history[-1].version == manifest.version:
            state = "champion"
        elif served:
            state = "former"
        else:
            state = "challenger" if manifest.version > newest_deployed else "passed over"
        yield VersionEntry(
            manifest.version,
            state,
            manifest.partition,
            manifest.created_at,
            manifest.estimator,
            manifest.rows,
            manifest.metrics,
            served,
        )


def _served(version: int, history: Sequence[Deployment]) -> Iterator[Serving]:
    for deployment, end in terms(history):
        if deployment.version == version:
            yield Serving(deployment.deployed_at, end, deployment.reason, deployment.by)
