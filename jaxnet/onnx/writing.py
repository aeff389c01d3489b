"""A network as one ONNX graph: a table's columns or encoded rows in, predictions or outputs out.

Shapes: N rows, I inputs, O outputs.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from jaxnet import network, tables
from jaxnet._guards import checks, versions
from jaxnet.errors import InputError
from jaxnet.storage import files
from jaxnet.tables.encoding import FARTHEST

# The first in which text is compared.
_OPSET = 19
_OWN, _PROBABILITIES = "jaxnet.", "probabilities"
_LARGEST = 2**31 - 2**20
_ONE = np.float32(1)


class _Graph:
    """A graph as it grows: its nodes and constants, under names that no column has."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(
        self, kind: str, *inputs: str | np.ndarray | np.generic, output: str = "", **options: Any
    ) -> str:
        """Add a node of names and constants; give the name of its output."""
        output = output or f"{_OWN}{len(self.nodes)}"
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self.nodes.append(helper.make_node(kind, names, [output], **options))
        return output

    def _constant(self, value: np.ndarray | np.generic) -> str:
        name = f"{_OWN}constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


_Activation = Callable[[_Graph, str], str]


def _operator(kind: str) -> _Activation:
    return lambda graph, x: graph.add(kind, x)


def _silu(graph: _Graph, x: str) -> str:
    return graph.add("Div", x, graph.add("Add", graph.add("Exp", graph.add("Neg", x)), _ONE))


def _gelu(graph: _Graph, x: str) -> str:
    """Write out `x / 2 * (1 + tanh(x * (a + b * x * x)))`: the operator is less exact."""
    a = math.sqrt(2 / math.pi)
    slope = graph.add("Mul", graph.add("Mul", x, x), np.float32(0.044715 * a))
    inner = graph.add("Mul", x, graph.add("Add", slope, np.float32(a)))
    share = graph.add("Add", graph.add("Tanh", inner), _ONE)
    return graph.add("Mul", graph.add("Mul", x, np.float32(0.5)), share)


# Each is that of `jax.nn` by the same name.
_ACTIVATIONS: dict[str, _Activation] = {
    "relu": _operator("Relu"),
    "tanh": _operator("Tanh"),
    "sigmoid": _operator("Sigmoid"),
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _operator("Softplus"),
    "softmax": _operator("Softmax"),
}


def write(
    path: str | Path,
    params: network.Params,
    activation: network.Activation | Sequence[network.Activation] = jax.nn.relu,
    output_activation: network.Activation | None = None,
    encoder: tables.Encoder | None = None,
) -> None:
    """Write a network as an ONNX file that takes any number of rows and computes in float32.

    It takes `x` [N, I] and gives `outputs` [N, O], both float32. With an encoder it takes each
    column of the table by its name, [N, 1]: numbers as float64, booleans as 0 and 1 among them,
    with NaN for what is missing; categories as text, with "" for what is missing. It gives the
    target by its name, [N, 1], a label or a float64 in the target's own units; of classes also
    `probabilities` [N, O], the softmax of the outputs. The metadata name their labels, as JSON.

    What the encoder refuses, such as infinite numbers, no ONNX file can; it computes with it.

    Args:
        path: of the file.
        params, activation, output_activation: as `jaxnet.forward` takes them; relu, tanh, sigmoid,
            gelu, silu, softplus and softmax, of `jax.nn`.
        encoder: of the table that the network was trained on.

    Raises:
        InputError: what is no such network, one of 2 GiB or more, an encoder of another network,
            or a column whose name the file needs for itself.
        OSError: a place that cannot be written to, or is full; an older file stays as it was.
    """
    _check(params)
    hidden = checks.activations(activation, output_activation, len(params) - 1)[:-1]
    activations = [*map(_written, hidden), output_activation and _written(output_activation)]
    graph, x = _Graph(), "x"
    if encoder:
        _check_encoder(encoder, params)
        x = _encoded(graph, encoder.columns)
    for layer, activate in zip(params, activations, strict=True):
        leaves = [np.asarray(leaf, np.float32) for leaf in layer if leaf is not None]
        x = graph.add("Gemm", x, *leaves, transB=1)
        x = activate(graph, x) if activate else x
    if encoder:
        model = _predicting(graph, x, encoder)
    else:
        graph.add("Identity", x, output="outputs")
        ends = [("x", params[0].weight.shape[1]), ("outputs", params[-1].weight.shape[0])]
        taken, given = (_array(name, TensorProto.FLOAT, width) for name, width in ends)
        model = _model(graph, [taken], [given])
    files.write(path, model.SerializeToString())


def _check(params: network.Params) -> None:
    """Refuse what are no layers, and more of them than one file holds."""
    if not isinstance(params, Sequence) or not all(
        isinstance(each, network.Layer) for each in params
    ):
        raise InputError(
            f"params: expected a sequence of jaxnet.Layer, got {type(params).__name__}; write "
            "another model by jaxnet.storage.programs"
        )
    checks.chain(params, np.empty(np.shape(params[0].weight)[-1:] if params else 0))
    size = 4 * sum(map(np.size, jax.tree.leaves(params)))
    if size > _LARGEST:
        raise InputError(
            f"params: expected less than 2 GiB in float32, which an ONNX file holds, got "
            f"{size / 2**30:.1f}; write them by jaxnet.storage.models"
        )


def _check_encoder(encoder: tables.Encoder, params: network.Params) -> None:
    """Refuse an encoder of another network, and names that the graph needs for itself."""
    inputs, outputs = params[0].weight.shape[1], params[-1].weight.shape[0]
    if (encoder.inputs, encoder.outputs) != (inputs, outputs):
        raise InputError(
            f"encoder: expected one of {inputs} inputs and {outputs} outputs, got "
            f"{encoder.inputs} and {encoder.outputs}; give that of the table trained on"
        )
    if dates := [each.name for each in encoder.columns if each.kind == "date"]:
        raise InputError(
            f"encoder: expected numbers and categories, which an ONNX file takes, got dates in "
            f"{', '.join(map(repr, dates))}; train anew with --drop, or predict by jaxnet"
        )
    for name in (encoder.target.name, *(column.name for column in encoder.columns)):
        if name == _PROBABILITIES or name.startswith(_OWN):
            raise InputError(
                f"encoder: expected columns of other names than {_PROBABILITIES} and {_OWN}..., "
                f"got {name!r}; rename it and train anew"
            )


def _written(activation: network.Activation) -> _Activation:
    """Give what writes an activation."""
    for name, written in _ACTIVATIONS.items():
        if activation is getattr(jax.nn, name):
            return written
    raise InputError(
        f"activation: expected {', '.join(_ACTIVATIONS)} of jax.nn, got {activation!r}; write the "
        "network by jaxnet.storage.programs"
    )


def _encoded(graph: _Graph, columns: Sequence[tables.Column]) -> str:
    """Encode a table's columns as `Encoder.features` does: in float64, and then float32."""
    parts = []
    for column in columns:
        if column.kind == "category":
            known = np.array([[*column.categories]], object)
            inputs = [graph.add("Equal", column.name, known)] if column.categories else []
            missing = graph.add("Equal", column.name, np.array([[""]], object))
            if column.other:
                seen = graph.add("Cast", *inputs, to=TensorProto.INT32)
                seen = graph.add("ReduceMax", seen, np.array([1]), keepdims=1)
                seen = graph.add("Or", graph.add("Cast", seen, to=TensorProto.BOOL), missing)
                inputs.append(graph.add("Not", seen))
            inputs += [missing] * column.missing
        else:
            missing = graph.add("IsNaN", column.name)
            centred = graph.add("Sub", column.name, np.float64(column.mean))
            # What does not vary is 0.
            scaled = graph.add("Div", centred, np.float64(column.deviation or np.inf))
            near = graph.add("Clip", scaled, *(np.float64(each) for each in (-FARTHEST, FARTHEST)))
            inputs = [graph.add("Where", missing, np.float64(0), near)]
            inputs += [missing] * column.missing
        parts += [graph.add("Cast", each, to=TensorProto.FLOAT) for each in inputs]
    return graph.add("Concat", *parts, axis=1)


def _predicting(graph: _Graph, outputs: str, encoder: tables.Encoder) -> ModelProto:
    """Turn outputs into predictions, as `Encoder.decode` does, and give the model."""
    target = encoder.target
    columns = [
        _array(each.name, TensorProto.STRING if each.kind == "category" else TensorProto.DOUBLE)
        for each in encoder.columns
    ]
    if target.kind == "regression":
        value = graph.add("Cast", outputs, to=TensorProto.DOUBLE)
        scaled = graph.add("Mul", value, np.float64(target.deviation))
        graph.add("Add", scaled, np.float64(target.mean), output=target.name)
        return _model(graph, columns, [_array(target.name, TensorProto.DOUBLE)])
    labels = np.array(target.labels, object if isinstance(target.labels[0], str) else None)
    graph.add("Gather", labels, graph.add("ArgMax", outputs, axis=1), output=target.name)
    graph.add("Softmax", outputs, output=_PROBABILITIES)
    label = _array(target.name, helper.np_dtype_to_tensor_dtype(labels.dtype))
    shares = _array(_PROBABILITIES, TensorProto.FLOAT, len(labels))
    model = _model(graph, columns, [label, shares])
    helper.set_model_props(model, {"labels": json.dumps(target.labels)})
    return model


def _array(name: str, dtype: int, width: int = 1) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, ["N", width])


def _model(
    graph: _Graph, taken: Sequence[ValueInfoProto], given: Sequence[ValueInfoProto]
) -> ModelProto:
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(
        helper.make_graph(graph.nodes, "network", taken, given, graph.constants),
        opset_imports=opsets,
        # The oldest format that has them, for programs that know no newer one.
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="jaxnet",
        producer_version=versions.own(),
    )
