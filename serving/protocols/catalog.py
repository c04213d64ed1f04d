"""Every protocol of this server: its routes, and the shape of its errors by path."""

from collections.abc import Sequence

from litestar import Router

from mlops_assets.errors import DeclarationError
from serving.access import NO_KEY, Role
from serving.error_shapes import Shapes
from serving.model_store import ModelStore
from serving.platforms import AZURE_LIVE, AZURE_READY, AZURE_SCORE, Platform
from serving.protocols import azure, mlflow, open_inference, sagemaker, vertex
from serving.protocols.scoring import Scoring, Scorings


def protocol_routes(scorings: Sequence[Scoring], models: ModelStore, platform: Platform | None) -> list[Router]:
    """Raises DeclarationError: a route that Vertex AI's variables name is taken by another."""
    named = Scorings(scorings)

    def needs(path: str) -> str:
        return NO_KEY if platform is not None and path in platform.open_paths else Role.PREDICT

    routers = [
        open_inference.routes(named, models),
        mlflow.routes(named, models, needs=needs(mlflow.INVOCATIONS)),
        sagemaker.routes(named),
        azure.routes(named, models, needs=needs(AZURE_SCORE)),
    ]
    if platform is not None and platform.predict_route:
        taken = {route.path for router in routers for route in router.routes}
        if platform.predict_route in taken:
            raise DeclarationError(
                f"AIP_PREDICT_ROUTE is {platform.predict_route}, which another protocol has here. Name one such as /predict."
            )
        # several protocols ask /health or /ping, and mean the same
        health = None if platform.health_route in taken else platform.health_route
        routers.append(vertex.routes(named, models, predict_route=platform.predict_route, health_route=health))
    return routers


def error_shapes(platform: Platform | None) -> Shapes:
    shapes = {
        open_inference.PATH: open_inference.error_shape,
        **dict.fromkeys(mlflow.PATHS, mlflow.error_shape),
        sagemaker.PATH: sagemaker.error_shape,
        **dict.fromkeys((AZURE_SCORE, AZURE_LIVE, AZURE_READY), azure.error_shape),
    }
    if platform is not None and platform.predict_route:
        shapes = {platform.predict_route: vertex.error_shape, **shapes}
    return Shapes(shapes)
