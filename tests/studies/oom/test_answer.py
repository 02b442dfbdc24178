"""From an out-of-memory error to the operation: the cases of the issue, and what must not be said."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from samattn_cli import load_config
from samattn_cli.reports.oom import Oom
from samattn_cli.studies.oom.answer import answer
from samattn_cli.studies.oom.code import LIBRARIES
from samattn_cli.studies.oom.message import message_of
from samattn_cli.studies.oom.rank import _with_layers
from samattn_cli.studies.oom.words import place_of, sentence_of
from samattn_cli.tape.inside import Cuda

GIB = 1 << 30
TRIED = "CUDA out of memory. Tried to allocate"
SAM_B = "1.50 GiB (GPU 0; 9.77 GiB total capacity; 7.76 GiB already allocated; 1.00 GiB free; 7.95 GiB reserved in total by PyTorch)"


def asked(message: str, preset: str, *settings: str, before: str = "") -> Oom:
    given = frozenset(setting.partition("=")[0].removeprefix("run.") for setting in settings)
    return answer(f"{before}{TRIED} {message}", load_config(preset, settings), given, Cuda())


def test_a_training_step_of_sam_on_a_card_of_10_gb():
    report = asked(
        SAM_B, "sam_vit_b", "run.batch_size=2", "run.mode=training", "run.step=first", "run.attention=eager"
    )
    first = report.candidates[0]
    assert report.verdict == "operation"
    assert (first.op, first.layers, first.phase, first.round) == (
        "attn.add_rel_w",
        ("blocks.5",),
        "forward",
        "first",
    )
    assert round(first.live_bytes / GIB, 2) == 7.73
    assert first.runs_out_here
    assert first.asks_bytes == 2 * 12 * 4096 * 4096 * 4
    assert "rel_w[:, :, :, None, :]" in first.code
    assert first.module == "segment_anything/modeling/image_encoder.py, add_decomposed_rel_pos"
    fitting = [fix.set for fix in report.fixes if fix.fits]
    assert ("run.checkpointing=true",) in fitting
    allocated = report.message.allocated
    assert allocated is not None
    assert all(each.live_bytes <= 1.01 * allocated.high_bytes for each in report.candidates)


def test_the_number_of_images_is_solved_for():
    report = asked("352.00 MiB", "deep_encoder", "image_size=640", "run.dtype=bfloat16", "run.attention=sdpa")
    first = report.candidates[0]
    assert (first.op, first.setting) == ("attn.add_rel", "6 images")
    assert sorted(first.layers) == ["blocks.11", "blocks.2", "blocks.5", "blocks.8"]
    assert place_of(first) == "attn.add_rel of blocks 2, 5, 8 or 11"
    assert first.asks_bytes / (1 << 20) == 351.5625
    assert report.verdict == "possible"
    assert report.by_chance > 0.1


@pytest.mark.exhaustive
def test_the_number_of_patches_is_solved_for():
    report = asked("124.68 GiB", "qwen2_5_vl_vision", "run.dtype=bfloat16", "run.attention=eager")
    first = report.candidates[0]
    assert first.op == "attn.scores"
    assert first.setting.startswith("64,680 patches")
    assert first.asks_bytes == -(-64_680 * 64_680 * 16 * 2 // 512) * 512
    whole = asked(
        "124.68 GiB (GPU 0; 44.53 GiB total capacity; 24.89 GiB already allocated; 19.05 GiB free)",
        "qwen2_5_vl_vision",
        "run.dtype=bfloat16",
        "run.attention=eager",
        "run.mode=inference",
    )
    assert "attn.scores (forward) asks for 124.7 GiB, with 64,680 patches" in whole.answer
    assert "Some number of patches fits nearly any size" in whole.answer


def test_no_operation_is_named_where_none_asks_for_the_size():
    report = asked("4.04 GiB", "sam_vit_h", "run.dtype=float32", "run.mode=inference", "run.attention=eager")
    assert (report.verdict, report.candidates, report.fixes) == ("none", (), ())
    assert "look at what runs after it" in report.answer


ONE = ("run.batch_size=1", "run.dtype=float32")


def traceback_at(code: str, function: str = "forward") -> str:
    return f'Traceback (most recent call last):\n  File "x.py", line 1, in {function}\n    {code}\nRuntimeError: '


def test_the_innermost_call_tells_operations_of_one_size_apart():
    softmax = traceback_at("attn = attn.softmax(dim=-1)")
    report = asked("768.00 MiB", "sam_vit_b", "run.batch_size=1", "run.dtype=float32", before=softmax)
    assert (report.candidates[0].op, report.candidates[0].in_traceback) == ("attn.softmax", True)
    assert report.candidates[1].in_traceback is False


def test_a_backward_in_the_traceback_is_a_backward():
    back = traceback_at("Variable._execution_engine.run_backward(", "backward")
    report = asked(
        "768.00 MiB",
        "sam_vit_b",
        *ONE,
        "run.mode=training",
        "depth=3",
        "global_attn_indexes=[2]",
        before=back,
    )
    assert report.candidates[0].phase == "backward"


def test_a_size_that_is_not_a_multiple_of_2_mib_is_compared_with_the_request():
    report = asked("73.50 MiB", "sam_vit_b", "run.batch_size=1", "run.dtype=float32")
    assert any("not a multiple of 2 MiB" in note for note in report.notes)


@pytest.mark.skipif(find_spec("segment_anything") is None, reason="segment-anything is not installed")
def test_the_lines_of_code_are_in_the_files_that_are_named():
    known = {line for lines in LIBRARIES.values() for line in lines.values()}
    assert len(known) > 30
    for line in known:
        package, _, rest = line.module.partition("/")
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        text = (Path(spec.origin).parent / rest).read_text("utf-8")
        assert "".join(line.code.split()) in "".join(text.split()), line
        assert f"def {line.function.rpartition('.')[2]}(" in text, line


def test_an_encoder_of_volumes_is_replayed_with_its_own_number_of_slices():
    report = asked("4.04 GiB", "med_sam_adapter_b_3d", "depth=1", "global_attn_indexes=[]", "image_size=64")
    assert report.verdict == "none"


def test_layers_that_are_as_likely_are_named_together():
    report = asked("768.00 MiB", "sam_vit_b", *ONE, "run.mode=inference", "run.attention=eager")
    first = replace(report.candidates[0], layers=("blocks.2",), beside_bytes=1 << 30)
    near = replace(first, layers=("blocks.5",), score=first.score + 0.01)
    far = replace(first, layers=("blocks.8",), score=first.score + 0.1)
    exact = replace(first, layers=("blocks.11",), beside_bytes=0)
    together = _with_layers([first, near, far, exact])
    assert [each.layers for each in together] == [("blocks.2", "blocks.5"), ("blocks.8",), ("blocks.11",)]
    assert place_of(together[0]) == "attn.scores of blocks 2 or 5"


@pytest.mark.exhaustive
def test_without_an_encoder_live_bytes_have_the_workspace_of_cublas():
    """As with one: the scores are the first matrix of which as much is live, after a product."""
    message = "768.00 MiB (GPU 0; 4.00 GiB total capacity; 434.20 MiB already allocated)"
    alone = answer(f"{TRIED} {message}", None, frozenset(), Cuda())
    mine = next(each for each in alone.candidates if each.preset == "sam_vit_b" and each.op == "attn.scores")
    given = asked(message, "sam_vit_b", "run.mode=inference", "run.attention=eager").candidates[0]
    assert (given.op, round(given.live_bytes / (1 << 20), 1)) == ("attn.scores", 434.2)
    assert mine.live_bytes <= given.live_bytes < mine.live_bytes + (1 << 20)


def test_no_preset_is_said_where_none_was_given():
    message = message_of(f"{TRIED} 999.98 GiB")
    assert "no operation of any preset asks" in sentence_of("none", (), message, None)
    assert "no operation of this encoder asks" in sentence_of("none", (), message, load_config("vit_b"))
