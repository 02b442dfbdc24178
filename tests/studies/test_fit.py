"""`samattn fit`: edges that are edges, by a pass over each candidate alone."""

import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from samattn_cli import from_json, load_config, load_device, to_json
from samattn_cli.cli.app import app
from samattn_cli.encoder.plan_rules import problems_of_plan
from samattn_cli.errors import UsageError
from samattn_cli.quantities import parse_bytes
from samattn_cli.studies.candidates import resolution
from samattn_cli.studies.fit import MOST_TRIED, Asked, Edge, Tried, candidate, fit, with_room
from samattn_cli.studies.on_device import in_memory
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements.strategies import placement
from samattn_cli.tape.script import script_of
from tests.support.sampling import sampled

MIB, GIB = 1 << 20, 1 << 30
SMALL = ["depth=4", "global_attn_indexes=[1,3]", "image_size=256", "embed_dim=96", "num_heads=3"]


def peak(config, answer, **keys):
    """The peak of the run's mode by a pass of its own, on plain numbers."""
    image_size = keys.pop("image_size", config.image_size)
    run = replace(config.run, mode=answer.mode, attention=answer.attention, **keys)
    return Passes(replace(config, image_size=image_size, run=run)).peak_bytes


def of(report, vary, mode, attention):
    return next(
        answer
        for answer in report.answers
        if (answer.vary, answer.mode, answer.attention) == (vary, mode, attention)
    )


@pytest.mark.parametrize(
    ("preset", "memory", "step"),
    sampled(
        [
            ("vit_b", 1 * GIB, 16),
            ("sam_vit_b", 2 * GIB, 16),
            ("vitdet_b", 3 * GIB, 16),
            ("mae_b_pretrain", 2 * GIB, 16),
            ("sam2_hiera_t", 1 * GIB, 32),
        ],
        3,
    ),
)
def test_the_largest_resolution_fits_and_the_next_does_not(preset, memory, step):
    config = load_config(preset)
    report = fit(config, memory, Asked(vary=["resolution"]))
    answers = [answer for answer in report.answers if answer.status == "edge"]
    assert answers
    for answer in answers:
        fits, following = answer.fits, answer.next
        assert following.image_size == (fits.image_size[0] + step,) * 2
        assert fits.peak_bytes == peak(config, answer, image_size=fits.image_size)
        assert following.peak_bytes == peak(config, answer, image_size=following.image_size)
        assert fits.peak_bytes <= memory < following.peak_bytes
        assert fits.spare_bytes == memory - fits.peak_bytes
        assert following.spare_bytes == memory - following.peak_bytes
        assert following.stopped_at.startswith(tuple(following.too_large))


def test_every_mode_and_kernel_is_answered_for_everything_that_may_grow():
    report = fit(load_config("sam_vit_b", SMALL), 64 * MIB)
    found = {(answer.vary, answer.mode, answer.attention) for answer in report.answers}
    assert len(report.answers) == len(found) == 3 * 2 * 3


def test_the_largest_batch_fits_and_the_next_does_not():
    config = load_config("swin_t")
    for answer in fit(config, 1 * GIB, Asked(vary=["batch_size"])).answers:
        largest = answer.fits.batch_size
        assert answer.next.batch_size == largest + 1
        assert peak(config, answer, batch_size=largest) <= GIB < peak(config, answer, batch_size=largest + 1)


def test_the_most_global_layers_are_placed_evenly_and_one_more_does_not_fit():
    config = load_config("sam_vit_b", ["run.attention=eager"])
    (answer,) = fit(
        config, 11 * GIB, Asked(vary=["global_layers"], modes=["training"], kernels=["eager"])
    ).answers
    number = len(answer.fits.global_layers)
    assert 0 < number < 11
    assert answer.label == f"{number} of 12"
    here, there = (placement(config, f"even:{count}") for count in (number, number + 1))
    assert (answer.fits.global_layers, answer.next.global_layers) == (here.layers, there.layers)
    assert peak(here.config, answer) == answer.fits.peak_bytes <= 11 * GIB
    assert peak(there.config, answer) == answer.next.peak_bytes > 11 * GIB


def test_a_smaller_resolution_that_does_not_fit_though_a_larger_does_is_found():
    # A mask whose rows are no multiple of 8 tokens is copied into padded ones: 64 pixels a step do without.
    config = load_config("sam_vit_b", SMALL)
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["sdpa"])
    (answer,) = fit(config, 256 * MIB, asked).answers
    assert answer.fits.image_size[0] % 64 == 0
    assert answer.gaps
    every = {side: peak(config, answer, image_size=(side, side)) for side in range(16, 1600, 16)}
    largest = max(side for side, taken in every.items() if taken <= 256 * MIB)
    assert answer.fits.image_size == (largest, largest)
    assert {int(gap.label.split("x")[0]): gap.peak_bytes for gap in answer.gaps} == {
        side: taken for side, taken in every.items() if side < largest and taken > 256 * MIB
    }


def test_a_smaller_resolution_at_which_only_the_allocator_finds_no_room_is_found(monkeypatch):
    """SAM ViT-B trains at 1040 pixels in 10 GiB, and not at 1024; sizes whose operations are the same are written together."""
    usable, config = 10 * GIB, load_config("sam_vit_b")
    a100 = load_device("a100_80")
    device = replace(a100, memory_bytes=usable + a100.reserved_bytes)
    written = Counter()

    def counted(step, cuda):
        written[step.config.run.mode] += 1
        return script_of(step, cuda)

    for module in ("tape.script", "studies.joint_runs"):
        monkeypatch.setattr(f"samattn_cli.{module}.script_of", counted)
    asked = Asked(vary=["resolution"], modes=["training"], kernels=["eager"])
    (answer,) = fit(config, device, asked).answers
    assert (answer.label, answer.next_label) == ("1040x1040", "1056x1056")
    assert [(gap.label, gap.peak_bytes) for gap in answer.gaps] == [("1024x1024", 9_125_630_976)]
    assert answer.gaps[0].peak_bytes < usable < answer.gaps[0].reserved_bytes
    assert answer.tried_from == "784x784"  # 16 sizes below 1040
    run = replace(config.run, mode="training")
    assert sum(written.values()) < 16  # those of the same operations together
    for side in range(784, 1056, 16):
        size = replace(config, image_size=(side, side), run=run)
        assert in_memory(Passes(size), device).fits == (side != 1024)


def test_without_padding_resolutions_are_multiples_of_patch_and_window():
    # SAM: patches of 16, windows of 14 tokens: 224 pixels a step
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["eager"], no_padding=True)
    (answer,) = fit(load_config("sam_vit_b"), 2 * GIB, asked).answers
    assert answer.fits.image_size == (896, 896)
    assert answer.next.image_size == (1120, 1120)


def test_without_padding_merged_tokens_have_pairs():
    # Swin: patches of 4, windows of 7 on grids of 1, 1/2, 1/4 and 1/8: 4 * 7 * 8 = 224 pixels a step
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["eager"], no_padding=True)
    (answer,) = fit(load_config("swin_t"), 2 * GIB, asked).answers
    height = answer.fits.image_size[0]
    assert height % 224 == 0
    assert answer.next.image_size == (height + 224, height + 224)


def test_an_aspect_is_width_to_height():
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["eager"], aspect=(3, 2))
    (answer,) = fit(load_config("sam_vit_b", SMALL), 256 * MIB, asked).answers
    height, width = answer.fits.image_size
    assert 2 * width == 3 * height
    assert answer.next.image_size == (height + 32, width + 48)


@pytest.mark.parametrize(
    ("size", "own"),
    [
        ([896, 1536], (12, 7)),
        ([1536, 896], (7, 12)),
        ([1024, 1024], (1, 1)),
        ([800, 1333], (5, 3)),  # 50 x 83 patches: 1.66, to which 5/3 is nearest of at most 16 to one
        ([1000, 1000], (1, 1)),
    ],
)
def test_the_aspect_is_the_configs_own_unless_another_is_asked_for(size, own):
    config = load_config("sam_vit_b", [*SMALL, f"image_size={size}"])
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["eager"])
    report = fit(config, 256 * MIB, asked)
    height, width = report.answers[0].fits.image_size
    assert (report.aspect, report.is_own_aspect, height * own[0]) == (own, True, width * own[1])


def first_lines_of_fit(*options):
    result = CliRunner().invoke(
        app, ["fit", "sam_vit_b", "--memory", "8GiB", "--vary", "resolution", *options]
    )
    assert result.exit_code == 0
    return result.stdout


def test_a_fit_says_whose_shape_its_resolutions_have_and_what_it_leaves_out():
    few = ("--image-size", "896x1536", "--mode", "inference", "--attention", "eager")
    own = first_lines_of_fit(*few)
    assert "for the encoder without decoder, head and loss" in " ".join(own.split("As it is")[0].split())
    assert "Images of 7 to 12, height to width, the shape of the config's 896x1536; " in " ".join(own.split())
    asked = " ".join(first_lines_of_fit(*few, "--aspect", "896x1536").split())
    assert "Images of 7 to 12, height to width; " in asked
    assert asked == " ".join(first_lines_of_fit(*few, "--aspect", "12:7").split())


def test_only_sizes_that_the_encoder_takes_are_looked_at():
    # SAM 2: windows of positions (8 tokens of 4 pixels) must cover the grid, and each stage halves it
    config = load_config("sam2_hiera_t")
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["sdpa"])
    (answer,) = fit(config, 1 * GIB, asked).answers
    for encoder in (answer.fits, answer.next):
        assert not list(problems_of_plan(replace(config, image_size=encoder.image_size)))
    between = range(answer.fits.image_size[0] + 4, answer.next.image_size[0], 4)
    assert all(list(problems_of_plan(replace(config, image_size=(side, side)))) for side in between)


def test_slices_of_a_volume_stay_together():
    config = load_config("med_sam_adapter_b_3d", ["depth=2", "global_attn_indexes=[1]"])
    asked = Asked(vary=["batch_size"], modes=["inference"], kernels=["fused"])
    (answer,) = fit(config, 24 * GIB, asked).answers
    assert answer.fits.batch_size % 96 == 0
    assert answer.next.batch_size == answer.fits.batch_size + 96


def test_windows_that_are_run_one_by_one_have_an_edge_found_by_halving():
    blocks = ["stages.0.depth=2", "stages.0.global_attn_indexes=[1]"]
    config = load_config("qwen2_5_vl_vision", blocks)
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["eager"])
    (answer,) = fit(config, 4 * GIB, asked).answers
    assert not answer.every_one
    assert answer.next.image_size[0] == answer.fits.image_size[0] + 28
    assert answer.fits.peak_bytes <= 4 * GIB < answer.next.peak_bytes
    assert answer.fits.peak_bytes == peak(config, answer, image_size=answer.fits.image_size)


def test_where_nothing_fits_the_smallest_says_what_it_lacks():
    report = fit(load_config("sam_vit_h"), GIB, Asked(modes=["inference"], kernels=["eager"]))
    for answer in report.answers:
        assert answer.status == "none fits"
        assert answer.fits is None
        assert answer.next.state_bytes > GIB
    assert of(report, "resolution", "inference", "eager").next.image_size == (16, 16)
    assert of(report, "batch_size", "inference", "eager").next.batch_size == 1
    assert of(report, "global_layers", "inference", "eager").next.global_layers == ()


def test_where_everything_fits_it_says_why_there_is_no_more():
    config = load_config("sam_vit_b", SMALL)
    asked = Asked(vary=["batch_size", "global_layers"], modes=["inference"], kernels=["eager"])
    batch, layers = fit(config, 1 << 50, asked).answers
    assert batch.status == layers.status == "all fit"
    assert batch.fits.batch_size == 1 << 20
    assert batch.message == "samattn takes at most 1,048,576"
    assert layers.label == "4 of 4"


def test_memory_that_is_just_enough_is_enough():
    config = load_config("sam_vit_b", SMALL)
    asked = Asked(vary=["batch_size"], modes=["inference"], kernels=["eager"])
    exact = candidate(replace(config, run=replace(config.run, batch_size=3)), 0).peak_bytes
    assert [fit(config, exact - less, asked).answers[0].label for less in (0, 1)] == ["3", "2"]


def test_a_kernel_that_is_not_modelled_is_reported():
    report = fit(load_config("swin_t"), GIB, Asked(vary=["batch_size"], modes=["inference"]))
    assert [unmodelled.attention for unmodelled in report.unmodelled] == ["fused"]
    assert {answer.attention for answer in report.answers} == {"eager", "sdpa"}
    half = load_config("sam_vit_b", ["num_heads=192", "run.dtype=bfloat16"])  # heads of 4 channels, 8 bytes
    report = fit(half, GIB, Asked(vary=["batch_size"], modes=["inference"]))
    assert [unmodelled.attention for unmodelled in report.unmodelled] == ["sdpa", "fused"]


def test_what_cannot_grow_is_refused_where_nothing_else_is_asked():
    with pytest.raises(UsageError, match="has a window smaller than its grid"):
        fit(load_config("vit_b"), GIB, Asked(vary=["global_layers"]))
    report = fit(load_config("vit_b"), GIB, Asked(vary=["batch_size", "global_layers"], kernels=["eager"]))
    assert of(report, "global_layers", "inference", "eager").status == "no candidates"


def test_the_report_round_trips():
    report = fit(load_config("sam_vit_b", SMALL), 256 * MIB, Asked(vary=["batch_size"]))
    assert from_json(to_json(report)) == report


def test_resolutions_are_bounded():
    assert resolution(load_config("vit_b"), (1, 1)).most == (1 << 20) // 16


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24GiB", 24 * 2**30),
        ("24 GB", 24 * 10**9),
        ("1.5gib", 3 * 2**29),
        ("25,769,803,776 B", 25_769_803_776),
        ("0.1 KiB", 102),
    ],
)
def test_bytes_are_read_with_their_unit(text, value):
    assert parse_bytes(text, "--memory") == value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("24", "missing-unit"),
        ("24G", "unknown-unit"),
        ("24 Gbit", "unknown-unit"),
        ("-1GiB", "not-a-number"),
        ("1e3 GB", "not-a-quantity"),
        ("2,5 GiB", "not-a-number"),
        ("0 GB", "out-of-range"),
        ("", "not-a-quantity"),
    ],
)
def test_bytes_that_are_none_are_refused(text, code):
    with pytest.raises(UsageError) as caught:
        parse_bytes(text, "--memory")
    assert caught.value.codes == (code,)
    assert caught.value.message.startswith("--memory: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "[missing-option]"),
        (["--memory", "8GiB", "--device", "h100"], "[conflicting-options]"),
        (["--memory", "24"], "[missing-unit]"),
        (["--memory", "2PiB"], "--memory 2PiB: must be at most 1 PiB [out-of-range]"),
        (["--device", "4090"], "did you mean 'rtx_4090'"),
        (
            ["--memory", "8GiB", "--vary", "size"],
            "'size'; choose from resolution, batch-size, global-layers",
        ),
        (["--memory", "8GiB", "--mode", "trainng"], "did you mean 'training'"),
        (["--memory", "8GiB", "--attention", "eager,"], "''; choose from eager, sdpa, fused"),
        (["--memory", "8GiB", "--aspect", "3by2"], "[not-an-aspect]"),
        (["--memory", "8GiB", "--aspect", "0x2"], "[not-an-aspect]"),
        (["--memory", "8GiB", "--aspect", "1:1000000"], "1,048,576 [out-of-range]"),
        (["--memory", "8GiB", "-o", "fit.pfd"], "[unknown-extension]"),
        (["--memory", "8GiB", "--vary", "batch-size", "--aspect", "3:2"], "[missing-option]"),
        (["--memory", "8GiB", "--vary", "batch-size", "--no-padding"], "[missing-option]"),
    ],
)
def test_bad_input_is_reported(options, said):
    result = CliRunner().invoke(app, ["fit", "sam_vit_b", *options])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_the_largest_is_one_after_which_none_of_the_next_fits():
    """Swin over volumes: sizes at which the allocator finds room alternate with those at which it finds none."""
    block = {"block": "swin", "num_heads": 1, "mlp_ratio": 1}
    first = block | {"embed_dim": 8, "depth": 1, "window_size": 2}
    second = block | {"embed_dim": 16, "depth": 2, "window_size": 1, "qkv_bias": False}
    around = {"image_size": [1, 96, 96], "patch_size": [1, 2, 3], "patch_embed": "patch_norm", "norm": True}
    stages = {"stages": [first, second | {"transition": "patch_merging"}]}
    run = {"dtype": "bfloat16", "torch": "2.6"}
    config = load_config(around | stages | {"pos_embed": "none", "run": run})
    t4 = load_device("t4")
    device = replace(t4, memory_bytes=48_234_495 + t4.reserved_bytes)
    asked = Asked(vary=["resolution"], modes=["inference"], kernels=["eager"])
    (answer,) = fit(config, device, asked).answers
    assert (answer.label, answer.fits.fits, answer.next.fits) == ("1x1224x816", True, False)
    for side in range(65, 71):
        size = replace(config, image_size=(1, 18 * side, 12 * side))
        assert in_memory(Passes(size), device).fits == (side in {65, 66, 68})


def test_an_inference_forward_is_not_in_the_type_in_which_weights_are_gathered():
    spread = ["run.mode=training", "run.parallel=fsdp2", "run.gpus=2", "run.param_dtype=bfloat16"]
    asked = Asked(vary=["batch_size"], modes=["inference", "training"], kernels=["eager"])
    answer, _ = fit(load_config("sam_vit_b", [*SMALL, *spread]), 24 * MIB, asked).answers
    (alone,) = fit(load_config("sam_vit_b", SMALL), 24 * MIB, replace(asked, modes=["inference"])).answers
    assert (answer.label, answer.fits.fits) == (alone.label, True)


class Runs(Tried):
    """Candidates for which it is known where there is room."""

    def __init__(self, rooms):
        super().__init__(range(len(rooms)), "inference", load_device("t4"), rooms=rooms)

    def is_near(self, _):
        return False


@pytest.mark.parametrize("seed", range(20))
def test_no_candidate_of_the_next_ones_has_room_wherever_there_is_some(seed):
    rng = random.Random(seed)
    rooms, has_room = {}, True
    while len(rooms) < 500:
        rooms |= {len(rooms) + n: has_room for n in range(rng.choice([1, 3, 15, 40]))}
        has_room = not has_room
    edge = with_room(Runs(rooms), Edge(450, {})).place
    assert rooms[edge]
    assert not any(rooms[place] for place in range(edge + 1, min(edge + 1 + MOST_TRIED, 451)))


def test_below_an_edge_that_cannot_be_launched_a_gap_does_not_fit(monkeypatch):
    monkeypatch.setattr("samattn_cli.studies.fit.refused", lambda passes: passes.is_refused)
    peaks = [5, 6, 7, 20, 10]
    known = {at: SimpleNamespace(peak_bytes=peak, is_refused=at == 4) for at, peak in enumerate(peaks)}
    tried = Tried(peaks, "inference", 10, known)
    assert with_room(tried, Edge(4, {3: 20})).place == 2
