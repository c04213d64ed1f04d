"""A real prediction over HTTP, as a command to copy and its answer."""

import json
from typing import Any

import httpx

from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import ProductState
from mlops_assets.testing.staging import request_row


def next_row(state: ProductState) -> dict[str, Any]:
    """A request with the first row after the stored periods; with the newest stored row where the source has no later one."""
    product = state.product
    newest = product.period.at(state.tables.keys("raw")[-1])
    clock = product.event_timestamp
    later = product.source.read(product.source.main.name, product.period.shift(newest, 1)).sort(clock).head(1).collect()
    stored = state.tables.scan("raw", [newest.key]).sort(clock).tail(1).collect()
    row = (later if later.height else stored).select(product.request).to_dicts()[0]
    return request_row(row)


def curl_of(product: ModelProduct, api: str, row: dict[str, Any]) -> tuple[str, str]:
    """The command and the answer. Raises httpx.HTTPStatusError: the API refused it."""
    url, body = f"{api}/v1/models/{product.name}/predict", {"rows": [row]}
    answer = httpx.post(url, json=body, timeout=30)
    answer.raise_for_status()
    command = f"curl -s {url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{json.dumps(body)}'"
    return command, json.dumps(answer.json(), indent=2)
