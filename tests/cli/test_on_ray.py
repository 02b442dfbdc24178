"""Options of measuring on a cluster, and recordings of several machines, without Ray and without a cluster."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

from samattn_cli import load_config
from samattn_cli.encoder.hash import config_hash
from samattn_cli.errors import RecordingError, UsageError
from samattn_cli.reports.recording import Fingerprint, MeasuredCase, Recording, from_json, of_several
from samattn_cli.reports.text import to_json
from samattn_cli.studies.cluster.machines import gpu_type_of, machines_of, suitable
from tests.support.running import samattn

A100 = Fingerprint(
    device="NVIDIA A100-SXM4-80GB",
    kind="cuda",
    total_bytes=85_100_000_000,
    compute_capability="8.0",
    driver="550.54",
    cuda="13.0",
    cudnn="91500",
    torch="2.14.1+cu130",
    allocator="native",
    allocation_bytes=512,
    samattn="0.1.0",
    python="3.12.3",
    platform="Linux-5",
    settings=(),
    host="left",
)
RIGHT = replace(A100, host="right", driver="560.35", platform="Linux-6")
SMALL = replace(A100, device="NVIDIA A100-SXM4-40GB", total_bytes=42_400_000_000, host="small")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
@pytest.mark.parametrize(
    "words",
    [["measure", "sam_vit_b"], ["sweep", "sam_vit_b", "--resolutions", "512,1024", "--measure", "cuda"]],
)
def test_without_ray_one_message_names_the_extra(words):
    ended = samattn(*words, "--ray")
    assert ended.returncode == 2
    assert ended.stderr == "--ray needs Ray: pip install 'samattn[ray]' [not-installed]\n"


def test_help_has_the_options_and_an_example():
    text = samattn("measure", "--help", columns=140).stdout
    assert "samattn measure sam_vit_b sam_vit_l --ray --gpu-type A100 -o a100.json" in text
    assert "[ADDRESS]" in text


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--ray", "--device", "dry:h100"], "not-with-ray", "dry:h100"),
        (["--ray", "--device", "cuda:1"], "not-with-ray", "cuda:1"),
        (["--ray", "--snapshot", "a.pickle"], "not-with-ray", "a.pickle"),
        (["--ray", "--gpu-type", "A100", "--device", "cpu"], "cuda-only", "A100"),
        (["--gpu-type", "A100"], "missing-option", "--ray"),
    ],
)
def test_options_that_contradict_each_other(words, code, named):
    ended = samattn("measure", "sam_vit_b", *words)
    assert ended.returncode == 2
    assert ended.stderr.endswith(f"[{code}]\n")
    assert ended.stderr.count("\n") == 1
    assert named in ended.stderr


def test_a_word_after_ray_that_is_a_config_is_not_an_address():
    ended = samattn("measure", "--ray", "sam_vit_b", "--gpu-type", "A100", "--device", "cpu")
    assert "[cuda-only]" in ended.stderr  # and not that the config is missing


def test_machines_with_the_same_card_are_one_recording():
    assert A100.differences(RIGHT) == []
    both = of_several([RIGHT, A100])
    assert (both.host, both.driver, both.platform) == ("left, right", "550.54, 560.35", "Linux-5, Linux-6")
    assert both.differences(A100) == []


def test_a_machine_that_measured_for_itself_is_compared_in_full():
    alone, later = replace(A100, host=""), replace(RIGHT, host="")
    assert alone.differences(later) == [
        "driver '550.54' there, '560.35' here",
        "platform 'Linux-5' there, 'Linux-6' here",
    ]


def test_a_recording_that_mixes_cards_is_refused():
    config = load_config("sam_vit_b")
    case = MeasuredCase(
        status="out of memory",
        config=config,
        config_hash=config_hash(config),
        predicted_bytes=1,
        measured_at="",
    )
    good = Recording(fingerprint=A100, cases=(replace(case, fingerprint=RIGHT),))
    assert from_json(to_json(good), "good.json") == good
    bad = Recording(fingerprint=A100, cases=(replace(case, fingerprint=SMALL),))
    with pytest.raises(
        RecordingError, match=r"bad.json: mixes machines that differ.*40GB.*recordings-differ"
    ):
        from_json(to_json(bad), "bad.json")


class TwoNodes:
    """What `ray.nodes()` answers for two machines with GPUs and one that is lost."""

    @staticmethod
    def nodes():
        def node(name, alive=True, **resources):
            return {
                "NodeID": name,
                "Alive": alive,
                "NodeName": name,
                "NodeManagerAddress": "10.0.0.5",
                "NodeManagerHostname": "host",
                "Resources": resources,
            }

        return [
            node("one", CPU=8.0, GPU=2.0, **{"accelerator_type:A100": 1.0}),
            node("two", CPU=8.0, GPU=1.0, **{"accelerator_type:H100": 1.0}),
            node("lost", alive=False, CPU=8.0, GPU=1.0, **{"accelerator_type:L4": 1.0}),
        ]


def test_types_of_gpu_are_chosen_as_the_cluster_has_them():
    machines = machines_of(TwoNodes)
    assert gpu_type_of("h100", machines) == "H100"
    assert [one.name for one in suitable(machines, "cuda", "H100")] == ["two"]
    with pytest.raises(UsageError, match=r"did you mean 'A100'.; it has: A100, H100 .unknown-gpu-type."):
        gpu_type_of("A10", machines)
    with pytest.raises(UsageError, match=r"several types .A100, H100.*several-gpu-types"):
        gpu_type_of(None, machines)
