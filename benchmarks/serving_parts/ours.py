"""Our server with one product: `python ours.py PORT HOME relaxed|strict|off WORKERS`.

relaxed is `python -m serving` as it is, with log, metrics, keys and limits; strict differs in the product's durability; off
neither logs nor counts anything, and is there to say what those cost.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.policy import Durability, Serving
from serving import app, server
from serving.metrics import Metrics
from serving.settings import Settings


class Nothing:
    """A metric that nobody reads."""

    def labels(self, *_: object) -> "Nothing":
        return self

    def inc(self, amount: float = 1) -> None: ...
    def observe(self, amount: float) -> None: ...
    def set(self, value: float) -> None: ...


class Uncounted(Metrics):
    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name) if name in ("registry", "exposition") else Nothing()


def prepare_app(log: str) -> None:
    declared = {"off": Serving(log_predictions=False), "strict": Serving(durability=Durability.STRICT)}.get(log)
    if declared is not None:
        products = (dataclasses.replace(flight_delay, serving=declared),)
        app.create_app.__defaults__ = (products,)
    if log == "off":
        app.Metrics = Uncounted


def main() -> None:
    port, home, log, workers = sys.argv[1:]
    if log != "relaxed" and workers != "1":
        sys.exit("workers are fresh interpreters, and would not hear of a product that is changed here")
    prepare_app(log)
    settings = Settings(home=Path(home), port=int(port), workers=int(workers), product="flight_delay")
    server.run(settings, server.listen(settings), lambda: None)


if __name__ == "__main__":
    main()
