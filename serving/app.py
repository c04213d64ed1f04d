"""The prediction API, composed: `create_app(settings)`."""

import os
from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Tag

from mlops_assets.products.product import ModelProduct
from serving import routes
from serving.access import ANY_KEY, NEEDS, Access, open_paths
from serving.admission import Admission
from serving.approvals import approvals_route
from serving.labels import labels_route
from serving.metrics import Metrics
from serving.observation import Observation
from serving.openapi_page import OpenAPIPage
from serving.origins import Origins, own_hosts
from serving.protocols.catalog import problems_of, protocol_routes
from serving.reports import reports_route
from serving.services import Services
from serving.settings import Settings
from serving.telemetry import tracer_from
from serving.versions import list_versions


def create_app(settings: Settings, products: Sequence[ModelProduct] | None = None) -> Litestar:
    """Serve these products, or the one that the settings name. Raises DeclarationError: one of them cannot be served."""
    metrics, tracer = Metrics(), tracer_from(os.environ)
    services, problems = Services(settings, products, metrics), problems_of(settings.platform)
    observation = Observation(metrics, tracer, log_requests=settings.log_requests)
    is_open = settings.needs_no_key
    admission = Admission(
        Access(settings.keys, is_open=is_open),
        Origins(own_hosts(settings.hosts, settings.host, needs_no_key=is_open)),
        services.limits,
        services.load,
        problems,
        observation.count_refusal,
    )

    app = Litestar(
        [
            *(routes.predict_route(services, name) for name in services.products),
            *protocol_routes(services, settings.platform),
            *(labels_route(services, name) for name in services.products),
            *routes.COMMON,
            approvals_route(services, is_open=is_open),
            list_versions,
            reports_route(services.objects),
        ],
        dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
        exception_handlers=problems.handlers,
        middleware=[admission.middleware],
        lifespan=[services.running],
        on_shutdown=[tracer.close],
        openapi_config=OpenAPIConfig(
            title="Predictions",
            version="1",
            description="Predictions of the deployed champions.",
            tags=[Tag(product.name, product.description) for product in services.products.values()],
            openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, opt={NEEDS: ANY_KEY}),
            render_plugins=[OpenAPIPage(path="/")],
        ),
        logging_config=None,
        state=State({"leave": services.models.leave, "refused": observation.count_refusal}),
    )
    # around Litestar's own handler instead of as its middleware, so that requests without a matching route are observed too
    admission.app, admission.open_paths = app.asgi_handler, open_paths(app)
    observation.app, app.asgi_handler = admission, observation
    return app
