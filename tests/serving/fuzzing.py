"""Requests made from the OpenAPI document, valid and invalid, sent to a running API; what it answered, and what was wrong.

A violation is a status of 500 or above (503 says no champion, and is not provoked here), a status or content type that
the document lacks, or a body that does not fit its schema.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@dataclass
class Fuzzed:
    """cases: requests sent. statuses: how often each was answered. violations: what was wrong, once per kind."""

    cases: int = 0
    operations: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    violations: dict[str, str] = field(default_factory=dict)


def fuzz(address: str, examples: int, until_cases: int = 0) -> Fuzzed:
    """`examples` valid and as many invalid requests for each operation of the document; fewer where fewer exist.

    until_cases: other requests to those that take a body, round after round, until as many were sent in all."""
    schema = schemathesis.openapi.from_url(f"{address}/schema/openapi.json")
    found = Fuzzed()
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]
    found.operations = len(operations)
    number = 0
    while number == 0 or found.cases < until_cases:
        before = found.cases
        for operation in operations:
            if number and not operation.body:
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _fuzz_operation(operation, mode, examples, found, number)
        if found.cases == before:
            break
        number += 1
    return found


def _fuzz_operation(operation: Any, mode: GenerationMode, examples: int, found: Fuzzed, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        response = case.call()
        found.cases += 1
        found.statuses[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except (FailureGroup, Failure) as failure:
            kind = f"{operation.label}: {response.status_code}"
            found.violations.setdefault(kind, f"{failure}\n{case.as_curl_command()[:1_000]}\n{response.text[:500]}")

    try:
        send()
    except Exception as error:
        # an operation without parameters has no invalid requests
        if type(error).__name__ not in ("Unsatisfiable", "SkipTest", "Skipped", "InvalidArgument"):
            raise
