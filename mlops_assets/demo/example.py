"""A real prediction over HTTP, as a command to copy and the answer it gave."""

import json
from typing import Any

import httpx

from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home
from mlops_assets.testing.staging import request_row


def last_row(product: ModelProduct, home: Home) -> dict[str, Any]:
    """The request of the newest row that is stored."""
    newest = home.offline.keys(f"{product.name}/raw")[-1]
    rows = (
        home.offline.scan(f"{product.name}/raw", [newest]).select(product.request).sort(product.event_timestamp).tail(1)
    )
    return {name: value for name, value in request_row(rows.collect().to_dicts()[0]).items() if value is not None}


def curl_of(product: ModelProduct, api: str, row: dict[str, Any]) -> tuple[str, str]:
    """The command and the answer. Raises httpx.HTTPStatusError: the API refused it."""
    url, body = f"{api}/v1/models/{product.name}/predict", {"rows": [row]}
    answer = httpx.post(url, json=body, timeout=30)
    answer.raise_for_status()
    command = f"curl -s {url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{json.dumps(body)}'"
    return command, json.dumps(answer.json(), indent=2)
