"""The options of a run, which stand for one parameter of a command."""

from inspect import signature

from samattn_cli.cli.run_options import LaidOver, with_run_options

SHARED = [
    "set_",
    "image_size",
    "batch_size",
    "dtype",
    "autocast",
    "attention",
    "implementation",
    "checkpointing",
]


def test_options_of_a_run_replace_one_parameter_and_become_its_overrides() -> None:
    received = []

    @with_run_options("mode", "optimizer")
    def command(config: str, laid_over: LaidOver = (), last: int = 0) -> None:
        received.append((config, laid_over, last))

    assert list(signature(command).parameters) == ["config", *SHARED, "last"]
    command(config="a", set_=["depth=2"], dtype="fp16", checkpointing=False, last=3)  # type: ignore[call-arg]
    ((config, laid_over, last),) = received
    assert (config, last) == ("a", 3)
    assert [(each.key, each.where) for each in laid_over] == [
        ("depth", "--set depth=2"),
        ("run.dtype", "--dtype fp16"),
        ("run.checkpointing", "--checkpointing "),
    ]
