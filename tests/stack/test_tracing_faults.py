"""Targets that cannot be traced: one message each, with the line of the user's own code where the fault is theirs."""

from __future__ import annotations

import json
import sys

import pytest

from samattn_cli.stack.tracing.autocast import NOTE
from samattn_cli.stack.tracing.child import answer
from tests.support.ampere import ON_AMPERE

SOURCE = """
import sys, torch
from torch import nn
class Plain(nn.Module):
    def __init__(self, out=2):
        super().__init__()
        self.fc = nn.Linear(4, out)
    def forward(self, x):
        return self.fc(x)
def raises():
    raise RuntimeError("no weights here")
class NoTensor(Plain):
    def forward(self, x):
        return "done"
class Branches(Plain):
    def forward(self, x):
        if x.sum() > 0:
            x = x + 1
        return self.fc(x)
class Exits(Plain):
    def forward(self, x):
        sys.exit(3)
class BranchesAndFails(Plain):
    def forward(self, x):
        if x.sum() > 0:
            x = x + 1
        return self.fc(x.view(3, 3))
class Nested(Plain):
    def forward(self, x):
        return {"a": [self.fc(x)], "b": None}
class Frozen(Plain):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)
class OfTorch(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True)
    def forward(self, x):
        return self.attn(x, x, x, need_weights=False)[0]
def on_gpu():
    return Plain().to("cuda:0")
def number():
    return 3
instance = Plain()
class KeywordOnly(Plain):
    def forward(self, *, image, mask=None):
        return self.fc(image)
class Same(nn.Module):
    def forward(self, x):
        return x
class NoGradient(Plain):
    @torch.no_grad()
    def forward(self, x):
        return self.fc(x)
class Autocast(Plain):
    def forward(self, x):
        with torch.autocast("cuda", dtype=torch.float16):
            return self.fc(x)
class AutocastByDecorator(Plain):
    @torch.autocast("cuda", dtype=torch.bfloat16)
    def forward(self, x):
        return self.fc(x)
class AutocastOff(Plain):
    def forward(self, x):
        with torch.autocast("cuda", enabled=False):
            return self.fc(x)
class InThread(Plain):
    def forward(self, x):
        import threading
        made = []
        thread = threading.Thread(target=lambda: made.append(self.fc(x)))
        thread.start()
        thread.join()
        return made[0]
constant = 5
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    (tmp_path / "theirs_to_trace.py").write_text(SOURCE)
    (tmp_path / "exits_at_import.py").write_text("import sys\nsys.exit('bye')\n")
    (tmp_path / "wrong_syntax.py").write_text("x = (\n")
    (tmp_path / "imports_missing.py").write_text("\nimport no_such_package_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def asked(target, *, inputs=(("0", [2, 4], ""),), **more):
        usual = {"arguments": {}, "dtype": "", "submodule": "", "mode": "inference", "dry": False}
        request = usual | {"target": target, "inputs": list(inputs)} | more
        return json.loads(answer(request, ON_AMPERE))

    yield asked
    for name in set(sys.modules) - before:
        if "trace" in name or name in {"exits_at_import", "imports_missing", "wrong_syntax"}:
            sys.modules.pop(name)


@pytest.mark.parametrize(
    ("target", "more", "code", "texts"),
    [
        (
            "theirs_to_trace:raises",
            {},
            "target-not-built",
            ("theirs_to_trace.py:11: ", "RuntimeError: no weights here"),
        ),
        ("theirs_to_trace:NoTensor", {}, "no-tensor-returned", ("returns str",)),
        ("theirs_to_trace:Exits", {}, "forward-fails", ("theirs_to_trace.py:22: ", "exit (3)")),
        (
            "theirs_to_trace:Plain",
            {"inputs": [("0", [2, 5], "")]},
            "forward-fails",
            ("theirs_to_trace.py:9: ",),
        ),
        ("theirs_to_trace:Plain", {"inputs": [("y", [2, 4], "")]}, "forward-fails", ("'y'",)),
        ("theirs_to_trace:Plain", {"inputs": []}, "input-needed", ("--input",)),
        (
            "theirs_to_trace:Plain",
            {"arguments": {"width": 3}},
            "target-not-built",
            ("no argument is named 'width'",),
        ),
        ("theirs_to_trace:Plain", {"submodule": "fv"}, "no-such-submodule", ("it has fc",)),
        ("theirs_to_trace:Frozen", {"mode": "training"}, "nothing-to-train", ("frozen",)),
        (
            "theirs_to_trace:BranchesAndFails",
            {},
            "forward-fails",
            ("theirs_to_trace.py:27: ", "RuntimeError"),
        ),
        ("theirs_to_trace:number", {}, "not-a-module", ("returns int;",)),
        ("theirs_to_trace:constant", {}, "not-callable", ("is int;",)),
        ("theirs_to_trace:Plian", {}, "no-such-attribute", ("did you mean 'Plain'",)),
        ("theirs_to_trace", {}, "not-a-target", ("package.module:callable",)),
        ("no_such_module_here:x", {}, "no-such-module", ("no_such_module_here",)),
        ("exits_at_import:x", {}, "target-not-imported", ("exits_at_import.py:2: ", "exit (bye)")),
        (
            "imports_missing:x",
            {},
            "target-not-imported",
            ("imports_missing.py:2: ", "no_such_package_at_all"),
        ),
        ("wrong_syntax:x", {}, "target-not-imported", ("wrong_syntax.py:1: ", "SyntaxError")),
        ("nowhere.json", {}, "file-not-found", ("there is no such file",)),
        (
            "theirs_to_trace:KeywordOnly",
            {},
            "forward-fails",
            ("it takes image, mask (optional): --input NAME=",),
        ),
        ("theirs_to_trace:Same", {}, "no-operation", ()),
        ("theirs_to_trace:InThread", {}, "no-operation", ("another thread",)),
        ("theirs_to_trace:NoGradient", {"mode": "training"}, "nothing-to-train", ("torch.no_grad",)),
        ("theirs_to_trace.py:Plain", {}, "no-such-module", ("write theirs_to_trace:Plain",)),
    ],
)
def test_one_message(ask, target, more, code, texts):
    found = ask(target, **more)
    assert found["code"] == code, found
    for text in texts:
        assert text in found["problem"]
    assert "\n" not in found["problem"]


def test_a_module_on_another_device(ask):
    found = ask("theirs_to_trace:on_gpu")
    assert found["code"] == "target-not-built"
    assert "theirs_to_trace.py:42: " in found["problem"]


def test_code_of_a_model_that_is_not_in_a_package_is_not_run(ask, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "vit", "auto_map": {"AutoModel": "evil.Model"}})
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('it was run')")
    found = ask(str(tmp_path))
    assert (found["code"], "auto_map" in found["problem"]) == ("remote-code", True)


@pytest.mark.parametrize(
    ("text", "code"),
    [("{", "not-json"), ("[]", "not-a-model-config"), ('{"model_type": "no-such-type"}', "unknown-model")],
)
def test_a_config_of_no_model(ask, tmp_path, text, code):
    (tmp_path / "config.json").write_text(text)
    assert ask(str(tmp_path / "config.json"))["code"] == code


def test_what_can_be_traced(ask):
    assert ask("theirs_to_trace:instance")["trace"]["route"] == "meta"
    assert ask("theirs_to_trace:Nested")["trace"]["output"] == [[2, 2]]
    assert ask("theirs_to_trace:Plain", arguments={"out": 7})["trace"]["output"] == [[2, 7]]
    of_torch = ask("theirs_to_trace:OfTorch", inputs=[("0", [2, 3, 4], "")])["trace"]
    assert "fast path" in of_torch["notes"][0]
    names = {op["name"] for op in of_torch["forward"]}
    assert {"_softmax", "masked_fill_"} <= names  # heads of 2 are not aligned for a fused kernel
    numbers = ask("theirs_to_trace:Branches")["trace"]
    assert numbers["route"] == "cpu"
    assert "theirs_to_trace.py:17: it needs numbers" in numbers["notes"][0]


@pytest.mark.parametrize(
    ("target", "is_noted"),
    [("Autocast", True), ("AutocastByDecorator", True), ("AutocastOff", False), ("Plain", False)],
)
def test_autocast_of_cuda_inside_a_module_is_not_passed_over(ask, target, is_noted):
    trace = ask(f"theirs_to_trace:{target}")["trace"]
    assert trace["notes"] == ([NOTE] if is_noted else [])
    assert trace["forward"][0]["allocates"][0]["nbytes"] == 2 * 2 * 4  # float32, as the note says
