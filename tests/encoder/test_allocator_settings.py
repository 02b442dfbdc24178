"""Settings of the caching allocator in `run.allocator`: taken where they are modelled, else refused with the reason."""

import pytest

from samattn_cli.encoder.allocator_settings import AllocatorSettings, settings_of
from samattn_cli.errors import ConfigError
from samattn_cli.files.load import load_config
from samattn_cli.tape.replay import allocator_of
from tests.support.problems import problems_of


@pytest.mark.parametrize(
    ("text", "kept", "settings"),
    [
        ("max_split_size_mb:128", "max_split_size_mb:128", AllocatorSettings(0, 128)),
        (
            " max_split_size_mb : 20, roundup_power2_divisions:8 ",
            "max_split_size_mb:20,roundup_power2_divisions:8",
            AllocatorSettings(8, 20),
        ),
        ("garbage_collection_threshold:0.8", "garbage_collection_threshold:0.8", AllocatorSettings()),
        ("expandable_segments:False", "expandable_segments:False", AllocatorSettings()),
        ("expandable_segments:True", "expandable_segments:True", AllocatorSettings(is_expandable=True)),
        ("backend:native", "backend:native", AllocatorSettings()),
    ],
)
def test_settings_that_are_modelled(text, kept, settings):
    config = load_config({"extends": "vit_b", "run": {"allocator": text}})
    assert config.run.allocator == kept
    assert settings_of(kept) == settings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_split_size_mb:19", "[allocator-setting-out-of-range] max_split_size_mb:19 20"),  # as torch says
        ("max_split_size_mb:x", "[allocator-setting-out-of-range] max_split_size_mb:x"),
        ("roundup_power2_divisions:3", "[allocator-setting-out-of-range] roundup_power2_divisions:3 power"),
        ("roundup_power2_divisions:[256:1,>:4]", "[allocator-setting-out-of-range] all sizes"),
        ("garbage_collection_threshold:1", "[allocator-setting-out-of-range] 0.8"),
        (
            "expandable_segments:yes",
            "[allocator-setting-out-of-range] expandable_segments:yes must be True or False",
        ),
        ("backend:cudaMallocAsync", "[allocator-setting-not-modelled] backend native"),
        ("max_split_mb:64", "[unknown-allocator-setting] 'max_split_size_mb'"),
        ("max_split_size_mb:64,max_split_size_mb:32", "[given-twice] max_split_size_mb"),
    ],
)
def test_settings_that_are_not(text, problem):
    with pytest.raises(ConfigError) as caught:
        load_config("vit_b", [f"run.allocator={text}"])
    (said,) = problems_of(caught)
    assert said == f"override run.allocator={text}: {problem}"


def test_a_block_above_the_limit_is_not_split():
    """25 MiB are taken from 26; with a limit of 20 MiB, 3 MiB do not go into what another freed."""
    allocator = allocator_of("max_split_size_mb:20")
    allocator.free(allocator.allocate(25 << 20))
    allocator.allocate(3 << 20)
    assert allocator.reserved == (26 + 20) << 20
    plain = allocator_of("")
    plain.free(plain.allocate(25 << 20))
    plain.allocate(3 << 20)
    assert plain.reserved == 26 << 20
