"""`python -m tests.serving.product_server PORT HOME SERVING`: the API with one product and a Serving of JSON fields."""

import dataclasses
import socket
import sys
from pathlib import Path

import msgspec
import uvicorn

from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.products.policy import Serving
from serving.app import create_app
from serving.direct import DirectProtocol
from serving.settings import Settings


def main() -> None:
    port, home, declared = sys.argv[1:]
    product = dataclasses.replace(flight_delay, serving=msgspec.json.decode(declared, type=Serving))
    listener = socket.create_server(("127.0.0.1", int(port)))
    app = create_app(Settings(home=Path(home), poll_seconds=0.05), [product])
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, http=DirectProtocol)).run(sockets=[listener])


if __name__ == "__main__":
    main()
