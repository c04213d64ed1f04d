"""Every protocol of this server: its routes, and the shape of its errors by path."""

from litestar import Router

from mlops_assets.errors import DeclarationError
from serving.access import NO_KEY, Role
from serving.platforms import AZURE_LIVE, AZURE_READY, AZURE_SCORE, Platform
from serving.problems import Problems
from serving.protocols import azure, mlflow, open_inference, sagemaker, vertex
from serving.protocols.products import ServedProducts
from serving.services import Services


def protocol_routes(services: Services, platform: Platform | None) -> list[Router]:
    """Raises DeclarationError: another protocol has the route that Vertex AI's variables name."""
    products, models = ServedProducts(services), services.models

    def needs(path: str) -> str:
        return NO_KEY if platform is not None and path in platform.open_paths else Role.PREDICT

    routers = [
        open_inference.routes(products, models),
        mlflow.routes(products, models, needs=needs(mlflow.INVOCATIONS)),
        sagemaker.routes(products),
        azure.routes(products, models, needs=needs(AZURE_SCORE)),
    ]
    if platform is not None and platform.predict_route:
        taken = {route.path for router in routers for route in router.routes}
        if platform.predict_route in taken:
            raise DeclarationError(
                f"AIP_PREDICT_ROUTE is {platform.predict_route}, which another protocol uses. Name another one, such as /predict."
            )
        # several protocols use /health or /ping, with the same meaning
        health = None if platform.health_route in taken else platform.health_route
        routers.append(vertex.routes(products, models, predict_route=platform.predict_route, health_route=health))
    return routers


def problems_of(platform: Platform | None) -> Problems:
    """Every path answers errors in the shape of its protocol."""
    shapes = {
        open_inference.PATH: open_inference.error_shape,
        **dict.fromkeys(mlflow.PATHS, mlflow.error_shape),
        sagemaker.PATH: sagemaker.error_shape,
        **dict.fromkeys((AZURE_SCORE, AZURE_LIVE, AZURE_READY), azure.error_shape),
    }
    if platform is not None and platform.predict_route:
        shapes = {platform.predict_route: vertex.error_shape, **shapes}
    return Problems(shapes)
