"""Tensors of the Open Inference Protocol v2: one per column, as JSON or, in Triton's extension, as bytes after the JSON.

The header `Inference-Header-Content-Length` says where the JSON ends. Binary tensors follow in the order of the inputs: numbers
are little-endian, and each string (BYTES) follows its length in four bytes.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from serving.errors import MalformedBody
from serving.protocols.tables import read_json
from serving.schemas import Answer, BinaryAnswer, MulticlassAnswer

HEADER_LENGTH = "inference-header-content-length"
_NUMPY = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{sign}INT{bits}": f"<{'u' if sign else 'i'}{bits // 8}" for sign in ("", "U") for bits in (8, 16, 32, 64)
}


class Tensor(msgspec.Struct, omit_defaults=True):
    """One column. shape: (n,) or (n, 1); the probabilities of a multiclass answer are (n, classes)."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestedOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(msgspec.Struct):
    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[RequestedOutput] = []


class InferenceAnswer(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str = ""


def read_request(body: bytes, header_length: str | None) -> tuple[InferenceRequest, dict[str, list[Any]]]:
    """The request and its columns. Raises MalformedBody: a tensor does not fit its description."""
    length = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > len(body):
            raise MalformedBody(f"{HEADER_LENGTH} is {header_length[:20]!r}, but the body has {len(body):,} bytes.")
        length = int(header_length)
    try:
        request = msgspec.convert(read_json(body[:length]), InferenceRequest)
    except msgspec.ValidationError as error:
        raise MalformedBody(f"the body is not an inference request: {error}.") from None
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if tensor.name in columns:
            raise MalformedBody(f"input {tensor.name!r} is given twice.")
        rows = _rows(tensor)
        if size is None:
            columns[tensor.name] = _flat(tensor)
        elif not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(body) - length:
            raise MalformedBody(f"input {tensor.name!r}: binary_data_size {size!r} is not within the body.")
        else:
            columns[tensor.name] = from_binary(tensor, body[length : length + size])
            length += size
        if len(columns[tensor.name]) != rows:
            raise MalformedBody(
                f"input {tensor.name!r} has {len(columns[tensor.name])} values for the shape {tensor.shape}."
            )
    if length != len(body):
        raise MalformedBody(f"{len(body) - length:,} bytes follow the last tensor.")
    return request, columns


def from_binary(tensor: Tensor, content: bytes) -> list[Any]:
    """Raises MalformedBody: the bytes are not a tensor of the declared datatype."""
    if tensor.datatype == "BYTES":
        return _texts(tensor.name, content)
    dtype = np.dtype(_NUMPY[tensor.datatype])
    if len(content) % dtype.itemsize:
        raise MalformedBody(
            f"input {tensor.name!r}: {len(content)} bytes are not a whole number of {tensor.datatype} values."
        )
    values: list[Any] = np.frombuffer(content, dtype).tolist()
    return values


def to_binary(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text)) + text for text in (str(value).encode() for value in values))
    return np.asarray(values, _NUMPY[datatype]).tobytes()


def write_answer(request: InferenceRequest, answer: Answer) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON if binary tensors follow. Raises MalformedBody: a requested output does not exist."""
    tensors = {tensor.name: tensor for tensor in _tensors(answer)}
    outputs = request.outputs or [RequestedOutput(name) for name in tensors]
    is_binary = request.parameters.get("binary_data_output") is True
    described, binary_parts = [], []
    for output in outputs:
        if output.name not in tensors:
            raise MalformedBody(f"there is no output {output.name[:100]!r}. Known: {', '.join(tensors)}.")
        if output.parameters.get("classification"):
            raise MalformedBody("classification is not supported. Request probabilities, which cover every class.")
        tensor = tensors[output.name]
        if output.parameters.get("binary_data", is_binary):
            content = to_binary(tensor.datatype, tensor.data or [])
            binary_parts.append(content)
            tensor = msgspec.structs.replace(tensor, data=None, parameters={"binary_data_size": len(content)})
        described.append(tensor)
    header = msgspec.json.encode(InferenceAnswer(answer.product, str(answer.version), described, request.id))
    return header + b"".join(binary_parts), len(header) if binary_parts else None


def _rows(tensor: Tensor) -> int:
    if tensor.datatype not in _NUMPY and tensor.datatype != "BYTES":
        raise MalformedBody(
            f"input {tensor.name[:100]!r}: there is no datatype {tensor.datatype[:20]!r}. Known: BYTES, {', '.join(_NUMPY)}."
        )
    if not tensor.shape or min(tensor.shape) < 0 or math.prod(tensor.shape[1:]) != 1:
        raise MalformedBody(
            f"input {tensor.name[:100]!r} has the shape {tensor.shape[:8]}. Send one tensor per column: [n] or [n, 1]."
        )
    return tensor.shape[0]


def _flat(tensor: Tensor) -> list[Any]:
    values = tensor.data
    if values is None:
        raise MalformedBody(f"input {tensor.name!r} has neither data nor binary_data_size.")
    # JSON may nest the data as the shape does: [n, 1] as n lists of one
    for _ in tensor.shape[1:]:
        if values and all(isinstance(item, list) and len(item) == 1 for item in values):
            values = [item[0] for item in values]
    return values


def _texts(name: str, content: bytes) -> list[str]:
    texts, place = [], 0
    while place < len(content):
        end = place + 4 + (int.from_bytes(content[place : place + 4], "little") if place + 4 <= len(content) else 0)
        if place + 4 > len(content) or end > len(content):
            raise MalformedBody(f"input {name!r}: a string is longer than the remaining bytes.")
        try:
            texts.append(content[place + 4 : end].decode())
        except UnicodeDecodeError as error:
            raise MalformedBody(f"input {name!r}: a string is not UTF-8: {error}.") from None
        place = end
    return texts


def _tensors(answer: Answer) -> list[Tensor]:
    count = len(answer.predictions)
    ids = Tensor("prediction_id", [count], "BYTES", data=[item.prediction_id for item in answer.predictions])
    if isinstance(answer, BinaryAnswer):
        labels = [item.label for item in answer.predictions]
        label_type = "BOOL" if all(isinstance(label, bool) for label in labels) else "BYTES"
        scores = [item.probability for item in answer.predictions]
        return [
            Tensor("probability", [count], "FP64", data=scores),
            Tensor("label", [count], label_type, data=labels),
            ids,
        ]
    if isinstance(answer, MulticlassAnswer):
        flat = [value for item in answer.predictions for value in item.probabilities.values()]
        shape = [count, len(flat) // count]
        names = [item.label for item in answer.predictions]
        return [Tensor("probabilities", shape, "FP64", data=flat), Tensor("label", [count], "BYTES", data=names), ids]
    return [Tensor("value", [count], "FP64", data=[item.value for item in answer.predictions]), ids]
