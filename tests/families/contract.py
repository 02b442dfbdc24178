"""What holds for every family, shown for each `Record`: see tests/public/record.py.

A test class that is derived from `Contract` names its records; `outside` is one for a family from outside the package:

    class TestMyFamily(Contract):
        records = (Record(name="mine", ...),)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from samattn_cli import EncoderConfig, load_config
from samattn_cli.errors import ConfigError
from samattn_cli.stack.encoder import build
from samattn_cli.studies.verify import verify
from samattn_cli.tape.encoder import forward
from samattn_cli.tape.other_sizes import other_sizes
from tests.public.record import Record, as_overrides
from tests.support.problems import Known
from tests.support.sampling import sampled
from tests.support.score_matrices import assert_scores_are_those_of_the_layers
from tests.support.weights import randomised

CASES: dict[str, Callable[[Record], Mapping[str, Any]]] = {
    "preset": lambda record: {preset: preset for preset in record.presets},
    "larger": lambda record: {preset: preset for preset in record.larger},
    "of_values": lambda record: record.values,
    "of_scores": lambda record: {"small": {}} | record.values | record.folded | record.in_full,
    "folded": lambda record: record.folded,
    "in_full": lambda record: record.in_full,
    "verified": lambda record: {preset: (preset, changes) for preset, changes in record.verified.items()},
    "bad": lambda record: record.bad,
}
"""What a test of the contract may ask for besides its record: a test for each."""
SAMPLED = {"preset": 3, "of_scores": 3}
"""One of how many is in the suite; the others run each week.

What was counted of each preset stands in tests/README.md, with which samattn is compared in each run.
"""


class Contract:
    """The tests of a family."""

    records: ClassVar[tuple[Record, ...]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each record, or for each record and case."""
        (what,) = [name for name in CASES if name in metafunc.fixturenames] or [None]
        found = list(_cases(self.records, what))
        names, ids = ("record", what) if what else ("record",), [name for name, *_ in found]
        cases = [tuple(values) for _, *values in found]
        metafunc.parametrize(names, sampled(cases, SAMPLED.get(what or "", 1)), ids=ids)

    def test_a_record_has_cases_of_each_kind(self, record: Record) -> None:
        assert all([record.presets or record.larger, record.values, record.bad, record.verified])
        assert record.folded or record.in_full

    def test_parameters_and_flops_equal_the_public_ones(self, record: Record, preset: str) -> None:
        passed = forward(load_config(preset))
        assert (passed.params, passed.flops) == record.count(preset)

    @pytest.mark.exhaustive
    def test_parameters_and_flops_of_larger_presets_equal_the_public_ones(
        self, record: Record, larger: str
    ) -> None:
        passed = forward(load_config(larger))
        assert (passed.params, passed.flops) == record.count(larger)

    def test_the_same_weights_give_the_same_output(
        self, record: Record, of_values: Mapping[str, object]
    ) -> None:
        config = record.config(of_values)
        theirs, ours = randomised(record.public(config), record.spread), build(config)
        ours.load_state_dict(record.weights(config, theirs.state_dict()), strict=True)
        image = torch.randn(config.input_shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.manual_seed(2)  # what MAE masks
            made = ours(image)
            torch.manual_seed(2)
            expected = record.outputs(theirs, config, image)
        for one, other in zip((made,) if isinstance(made, torch.Tensor) else made, expected, strict=True):
            assert other.std() > 0.01
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)

    def test_the_tape_is_the_real_stack_to_the_byte(
        self, record: Record, folded: Mapping[str, object]
    ) -> None:
        assert_exact(record.config(folded), every_layer=False)

    @pytest.mark.exhaustive
    def test_the_tape_is_the_real_stack_to_the_byte_with_every_layer_run(
        self, record: Record, in_full: Mapping[str, object]
    ) -> None:
        assert_exact(record.config(in_full), every_layer=True)

    @pytest.mark.exhaustive
    def test_a_preset_is_the_real_stack_to_the_byte(
        self, record: Record, verified: tuple[str, Mapping[str, object]]
    ) -> None:
        preset, changes = verified
        assert preset in (*record.presets, *record.larger)
        assert_exact(load_config(preset, as_overrides(changes)), every_layer=False)

    def test_the_weights_that_another_image_size_resizes_are_those_of_the_real_stack(
        self, record: Record
    ) -> None:
        config = record.config()
        found, ours = other_sizes(config), _shapes(config)
        sizes = [size.image_size for size in found.without_padding]
        assert sizes
        for size in found.without_padding:
            theirs = _shapes(replace(config, image_size=size.image_size))
            assert size.resized == tuple(name for name in ours if theirs[name] != ours[name])
            assert size.params == sum(map(prod, theirs.values()))
            assert size.params_change == size.params - sum(map(prod, ours.values()))
        if max(sizes) > config.image_size:
            assert found.resized == found.without_padding[-1].resized

    def test_score_matrices_are_as_large_as_their_layers_say(
        self, record: Record, of_scores: Mapping[str, object]
    ) -> None:
        assert_scores_are_those_of_the_layers(forward(record.config(of_scores)))

    def test_what_is_wrong_is_reported_where_it_is(
        self, record: Record, bad: tuple[Mapping[str, object], str | tuple[str, ...]], tmp_path: Path
    ) -> None:
        changes, said = bad
        path = tmp_path / "bad.yaml"
        lines = record.write(path, changes)
        with pytest.raises(ConfigError) as error:
            load_config(path)
        problems = error.value.problems
        parts = (said,) if isinstance(said, str) else said
        assert len(problems) == len(parts), problems
        for part, problem in zip(parts, problems, strict=True):
            place = problem.where.removeprefix(f"{path}:")
            assert Known("" if part.startswith("[") else place, problem.message) == part
            line, column = map(int, place.split(":"))
            assert lines[line - 1][column - 1].strip()


def _shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Name to shape of each weight of the real stack."""
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in build(config).named_parameters()}


def assert_exact(config: EncoderConfig, *, every_layer: bool) -> None:
    verdict = verify(config, every_layer=every_layer)
    assert {name: check.differences for name, check in verdict.checks.items() if check.differences} == {}
    assert {check.status for check in verdict.checks.values()} == {"exact"}
    assert verdict.status == "exact"


def _cases(records: tuple[Record, ...], what: str | None) -> Iterator[tuple[Any, ...]]:
    """The name of a test and what it is given."""
    for record in records:
        if what is None:
            yield record.name, record
        else:
            yield from (
                (f"{record.name}: {name}", record, case) for name, case in CASES[what](record).items()
            )
