"""`python -m tests.serving.product_server SERVING`: the API with flight_delay alone and a Serving of JSON fields."""

import dataclasses
import sys

import msgspec

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.policy import Serving
from serving.app import create_app
from serving.server import http_server, listen
from serving.settings import from_environment


def main() -> None:
    (declared,) = sys.argv[1:]
    product = dataclasses.replace(flight_delay, serving=msgspec.json.decode(declared, type=Serving))
    settings = from_environment()
    listener = listen(settings)
    app = create_app(settings, [product])
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    http_server(app, settings).run(sockets=[listener])


if __name__ == "__main__":
    main()
