#!/usr/bin/env bash
# onnx-tool: the same GELU costs 34 MACs an element at opset 20 and 7 at opset 18, and a softmax costs 36
#
# Who meets it: anyone who compares onnx-tool's MACs of two exports of one ViT, or with a count of matrix products.
# Versions: onnx-tool 1.0.1, onnx 1.23.2.
# Guess: MACs are those of matrix products and convolutions, with a few per cent for the rest, at any opset.
# Seen: the operator Gelu (opset 20, torch 2.13's default export) counts 34 a number. The same function written out with
#   Erf, as opset 18 exports it, counts 7, of which Erf itself 0. A softmax counts 36 a score, so in a window of 14 x 14
#   with heads of 64 it is 22 % of the attention's figure, where a count of products has none of it.
# Why: onnx_tool/node.py gives elementwise operators MACs by the CPU instructions they stand for (EXP_MACS = 32,
#   DIV_MACS = 4), and gives Erf none.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile onnx-tool==1.0.1 onnx==1.23.2 numpy==2.4.6

venv/bin/python - >seen <<'PY'
import numpy as np
import onnx
import onnx_tool
from onnx import TensorProto, helper
from onnx.helper import make_node as node


def macs(opset: int, inputs: dict, nodes: list, scalars: dict) -> dict:
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    known = [helper.make_tensor(name, TensorProto.FLOAT, [], [number]) for name, number in scalars.items()]
    graph = helper.make_graph(nodes, "g", [value(*i) for i in inputs.items()], [value("y", ["a", "b", "c"])], known)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.checker.check_model(made)
    model = onnx_tool.Model(made)
    model.graph.shape_infer({name: np.zeros(shape, np.float32) for name, shape in inputs.items()})
    model.graph.profile()
    return {name: int(found.macs[0]) for name, found in model.graph.nodemap.items()}


tokens, dim = 196, 64
hidden = {"x": (1, tokens, dim)}
written_out = [
    node("Div", ["x", "root2"], ["a"], name="Div"),
    node("Erf", ["a"], ["b"], name="Erf"),
    node("Add", ["b", "one"], ["c"], name="Add"),
    node("Mul", ["x", "c"], ["d"], name="Mul"),
    node("Mul", ["d", "half"], ["y"], name="Mul half"),
]
forms = {
    20: ([node("Gelu", ["x"], ["y"], name="Gelu")], {}),
    18: (written_out, {"root2": 2**0.5, "one": 1.0, "half": 0.5}),
}
for opset, (nodes, scalars) in forms.items():
    each = {name: count / (tokens * dim) for name, count in macs(opset, hidden, nodes, scalars).items()}
    print(f"opset {opset}: {sum(each.values()):g} an element", {name: f"{count:g}" for name, count in each.items()})

attention = [
    node("MatMul", ["q", "kt"], ["s"], name="qk"),
    node("Softmax", ["s"], ["p"], name="softmax"),
    node("MatMul", ["p", "v"], ["y"], name="pv"),
]
shapes = {"q": (1, tokens, dim), "kt": (1, dim, tokens), "v": (1, tokens, dim)}
found = macs(20, shapes, attention, {})
print("attention a score:", {name: count / tokens**2 for name, count in found.items()})
print(f"softmax: {found['softmax'] / sum(found.values()):.1%}")
PY
diff seen - <<'SEEN'
opset 20: 34 an element {'Gelu': '34'}
opset 18: 7 an element {'Div': '4', 'Erf': '0', 'Add': '1', 'Mul': '1', 'Mul half': '1'}
attention a score: {'qk': 64.0, 'softmax': 36.0, 'pv': 64.0}
softmax: 22.0%
SEEN
