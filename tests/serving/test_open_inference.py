"""Open Inference Protocol v2, spoken by Triton's own client to the API as a process."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from serving.protocols.tensors import Tensor, from_binary, to_binary
from tests.serving.conftest import a_row
from tests.serving.running_api import Json, RunningServer

TYPES = {"flight": np.int64, "distance": np.int32, "aircraft_year": np.float64, "seats": np.float32}


@pytest.fixture(scope="module")
def client(two_products: RunningServer) -> Iterator[Any]:
    client = triton.InferenceServerClient(two_products.address.removeprefix("http://"))
    yield client
    client.close()


def tensors(rows: list[Json], *, binary: bool, shape: tuple[int, ...] = (-1,)) -> list[Any]:
    """One input per column, as a client with a data frame would make them."""
    inputs = []
    for name in rows[0]:
        values = np.array([row[name] for row in rows], dtype=TYPES.get(name, object)).reshape(shape)
        tensor = triton.InferInput(name, list(values.shape), triton_type(values))
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    return inputs


def triton_type(values: Any) -> str:
    from tritonclient.utils import np_to_triton_dtype

    return str(np_to_triton_dtype(values.dtype))


def native(server: RunningServer, rows: list[Json], product: str = "flight_delay") -> list[Json]:
    answer = httpx.post(f"{server.address}/v1/models/{product}/predict", json={"rows": rows}).raise_for_status()
    found: list[Json] = answer.json()["predictions"]
    return found


DESTINATIONS = ("IAH", "LAX", "ÅÄÖ")
SOME_ROWS = [{**a_row(), "flight": n, "seats": 20 * n, "dest": dest} for n, dest in enumerate(DESTINATIONS, 1)]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=["n", "n by 1"])
def test_triton_s_client_gets_what_the_native_route_answers(
    client: Any, two_products: RunningServer, binary: bool, shape: tuple[int, ...]
) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probability", "label")]

    result = client.infer("flight_delay", tensors(SOME_ROWS, binary=binary, shape=shape), outputs=outputs)

    expected = native(two_products, SOME_ROWS)
    assert result.as_numpy("probability").tolist() == [item["probability"] for item in expected]
    assert result.as_numpy("label").tolist() == [item["label"] for item in expected]
    assert result.get_response()["model_version"] == "4"
    assert result.as_numpy("prediction_id") is None


def test_without_named_outputs_all_come_in_binary_and_texts_have_their_length_before_them(client: Any) -> None:
    ids = np.array(["mine", "ÄÖ"], dtype=object)
    named = triton.InferInput("prediction_id", [2], "BYTES").set_data_from_numpy(ids)

    result = client.infer("air_time", [*tensors(SOME_ROWS[:2], binary=True), named], request_id="abc")

    assert [text.decode() for text in result.as_numpy("prediction_id")] == ["mine", "ÄÖ"]
    assert result.as_numpy("value").dtype == np.float64
    assert result.get_response()["id"] == "abc"


def test_a_gap_is_nan_in_either_mode(client: Any, two_products: RunningServer) -> None:
    (expected,) = native(two_products, [{**a_row(), "seats": None, "aircraft_year": None}], "air_time")
    gap = [{**a_row(), "seats": np.nan, "aircraft_year": np.nan}]

    values = [client.infer("air_time", tensors(gap, binary=mode)).as_numpy("value")[0] for mode in (True, False)]

    assert values == [expected["value"]] * 2


def test_a_looked_up_feature_can_be_left_out_or_given(client: Any, two_products: RunningServer) -> None:
    (expected,) = native(two_products, [{**a_row(), "temperature": 81.5}])
    given = triton.InferInput("temperature", [1], "FP64").set_data_from_numpy(np.array([81.5]))

    result = client.infer("flight_delay", [*tensors([a_row()], binary=True), given])

    assert result.as_numpy("probability")[0] == expected["probability"]


def test_the_client_finds_server_models_versions_inputs_and_outputs(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flight_delay")
    assert client.is_model_ready("flight_delay", "4")
    assert not client.is_model_ready("flight_delay", "3")
    assert not client.is_model_ready("flight_dely")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("flight_delay")
    inputs = {item["name"]: item["datatype"] for item in metadata["inputs"]}
    assert (inputs["carrier"], inputs["flight"], inputs["temperature"]) == ("BYTES", "INT64", "FP64")
    assert [item["name"] for item in metadata["outputs"]] == ["probability", "label", "prediction_id"]


def test_errors_have_the_protocol_s_shape_and_the_native_words(client: Any) -> None:
    wrong = [{**a_row(), "carrier": "UAA"}]

    with pytest.raises(InferenceServerException, match=r"Did you mean 'UA'\?") as unfit:
        client.infer("flight_delay", tensors(wrong, binary=True))
    with pytest.raises(InferenceServerException, match="Known: air_time, flight_delay") as unknown:
        client.infer("flight_dely", tensors([a_row()], binary=True))
    with pytest.raises(InferenceServerException, match="Known: probability, label, prediction_id") as output:
        client.infer(
            "flight_delay", tensors([a_row()], binary=True), outputs=[triton.InferRequestedOutput("probabilty")]
        )

    assert [raised.value.status() for raised in (unfit, unknown, output)] == ["422", "404", "400"]


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"{}", {}, "inputs"),
        (b"[]", {}, "not an inference request"),
        (b'{"inputs": [{"name": "a", "shape": [1], "datatype": "TEXT", "data": [1]}]}', {}, "no datatype 'TEXT'"),
        (b'{"inputs": [{"name": "a", "shape": [2], "datatype": "FP32", "data": [1]}]}', {}, "1 values for the shape"),
        (b'{"inputs": [{"name": "a", "shape": [2, 3], "datatype": "FP32", "data": [1]}]}', {}, "one tensor per column"),
        (b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32"}]}', {}, "neither data nor"),
        (b'{"inputs": []}', {"Inference-Header-Content-Length": "99"}, "the body has 14 bytes"),
        (b'{"inputs": []}xx', {"Inference-Header-Content-Length": "14"}, "2 bytes follow the last tensor"),
        (
            b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}',
            {},
            "is not within the body",
        ),
    ],
)
def test_a_request_that_is_not_what_it_says_is_refused(
    two_products: RunningServer, body: bytes, headers: dict[str, str], says: str
) -> None:
    answer = httpx.post(f"{two_products.address}/v2/models/flight_delay/infer", content=body, headers=headers)

    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert says in answer.json()["error"]


def test_a_path_that_is_not_there_is_refused_in_the_same_shape(two_products: RunningServer) -> None:
    answer = httpx.get(f"{two_products.address}/v2/nothing")

    assert (answer.status_code, list(answer.json())) == (404, ["error"])


COLUMNS = st.one_of(
    st.tuples(st.just("BYTES"), st.lists(st.text(max_size=20), max_size=20)),
    st.tuples(st.just("INT64"), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)),
    st.tuples(st.just("FP64"), st.lists(st.floats(allow_nan=False), max_size=20)),
    st.tuples(st.just("BOOL"), st.lists(st.booleans(), max_size=20)),
)


@settings(max_examples=100, deadline=None)
@given(column=COLUMNS)
def test_a_column_comes_back_from_binary_as_it_went(column: tuple[str, list[Any]]) -> None:
    datatype, values = column

    content = to_binary(datatype, values)

    assert from_binary(Tensor("column", [len(values)], datatype), content) == values
