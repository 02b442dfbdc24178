"""`samattn init`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..encoder.presets import devices
from ..errors import GitError, Message, OutputError, UsageError, with_code
from ..files.load import Override
from ..gate.load_thresholds import FILE
from ..gate.thresholds import MOST
from ..units import format_things
from . import complete
from .output import emit, guarded, say, working, write_files
from .parameters import (
    config_names,
    device_of,
    device_option,
    overrides,
    refuse_stdin,
)
from .run_options import Attention, BatchSize, DTypeOption, ImageSize, Mode

if TYPE_CHECKING:
    from ..gate.init.origin import Origin

WORKFLOW = Path(".github", "workflows", "samattn.yml")
PRE_COMMIT = Path(".pre-commit-config.yaml")
HOOK_ID = "- id: samattn-check"


@guarded
def init(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="YAML files or presets; by default every encoder config below DIR.",
            callback=config_names,
            autocompletion=complete.configs,
        ),
    ] = None,
    directory: Annotated[
        Path, typer.Option(metavar="DIR", help="The directory of samattn.yaml; by default this one.")
    ] = Path(),
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    dtype: DTypeOption = None,
    attention: Attention = None,
    mode: Mode = None,
    device: Annotated[
        str | None, device_option("The device they run on, for limits of times: see `samattn devices`.")
    ] = None,
    workflow: Annotated[
        bool, typer.Option("--workflow/--no-workflow", help="Write .github/workflows/samattn.yml.")
    ] = True,
    pre_commit: Annotated[
        bool, typer.Option("--pre-commit/--no-pre-commit", help="Write .pre-commit-config.yaml.")
    ] = True,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add limits to an existing samattn.yaml; nothing else in it changes."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Set the limits in an existing samattn.yaml to today's figures, add missing ones, and overwrite an existing "
            "workflow. Other rules stay.",
        ),
    ] = False,
) -> None:
    """Start checking: thresholds with today's figures as limits, a GitHub workflow, a pre-commit hook.

    The workflow and the hook go to the root of the git repository. Either all files are written or none. An existing
    .pre-commit-config.yaml is not changed; what to add to it is printed.

    Examples:

      samattn init

      samattn init --add encoders/new.yaml

      samattn init encoders/vit_h.yaml sam_vit_b --dtype bfloat16 --attention sdpa --device a100_80
    """
    from ..gate.init import files as texts
    from ..gate.init.origin import installed_from

    if not directory.is_dir():
        raise UsageError("no-such-directory", f"--directory {directory}: no such directory")
    refuse_stdin(configs)
    run = overrides(
        None, image_size=image_size, batch_size=batch_size, dtype=dtype, attention=attention, mode=mode
    )
    root = _root(directory)
    path = PurePosixPath(Path(os.path.relpath(directory.resolve(), root), FILE).as_posix())
    main, flow = directory / FILE, Path(os.path.relpath(root / WORKFLOW))
    extends_file = (add or force) and _is_there(main)
    if extends_file and not force:
        workflow = False
    _check_free([*([] if extends_file else [main]), *([flow] if workflow else [])], force=force)
    with working("counting"):
        if extends_file:
            _refuse_run(run, device)
            thresholds, number = _more(directory, configs or [], renew=force)
        else:
            thresholds, number = _thresholds(directory, configs or [], run, device)
    origin, families = installed_from(root), _families(root)
    written = {main: thresholds} | ({flow: texts.workflow(path, origin, families)} if workflow else {})
    hooks = Path(os.path.relpath(root / PRE_COMMIT))
    if pre_commit and not _is_there(hooks) and not (extends_file and not force):
        written[hooks] = texts.pre_commit() + texts.hook(path, origin, families)
    write_files(written)
    if pre_commit and hooks not in written and not extends_file:
        _advise(hooks, texts.hook(path, origin, families))
    if {flow, hooks} & written.keys():
        _say_origin(origin)
    say(f"{number}. Next: {texts.check_with(_families_from(Path()))}, then commit what was written")


def _refuse_run(run: list[Override], device: str | None) -> None:
    """Refuse options that say how encoders are run, because the file says it.

    Raises:
        UsageError: for such an option.
    """
    if run or device:
        option = run[0].where if run else f"--device {device}"
        text = f"{option}: the profiles of {FILE} set how encoders are run: change the profile instead"
        raise UsageError("option-in-profile", text)


def _more(folder: Path, names: list[str], *, renew: bool) -> tuple[str, str]:
    """The text of an existing thresholds file with more limits, and a few words about what is new."""
    from ..gate.init.add import more_limits
    from ..gate.load_thresholds import load_thresholds

    file = load_thresholds(folder / FILE)
    new = more_limits(file, names or _discovered(folder, []), renew=renew)
    changed = f", {format_things(new.changed, 'limit')} set to today's figure" if renew else ""
    return new.text, f"{format_things(new.added, 'limit')} added{changed}"


def _say_origin(origin: Origin) -> None:
    """Say what the workflow and the hook install."""
    if origin.is_reachable:
        say(f"the workflow and the hook install samattn from the same place as this one: {origin.place}")
    else:
        text = (
            f"this samattn was installed from {origin.place}, which other machines cannot reach. The workflow "
            f"and the hook install {origin.requirement}: replace that with the address where samattn is published"
        )
        say(with_code(Message("unreachable-origin", text)), style="yellow")


def _thresholds(folder: Path, names: list[str], run: list[Override], device: str | None) -> tuple[str, str]:
    """The text of a new thresholds file, and a few words about it."""
    from ..gate.init.files import thresholds
    from ..gate.init.limits import limits_of

    on = device_of(device)
    encoders = limits_of(names or _discovered(folder, run), folder, run, on)
    limits = sum(len(encoder.limits) for encoder in encoders)
    if limits > MOST:
        text = f"{len(encoders)} encoders need {limits} rules, but a file has at most {MOST}: name fewer"
        raise UsageError("too-many-rules", text)
    text = thresholds(encoders, folder, _profile(run, device, folder), _families_from(folder))
    return text, f"{format_things(len(encoders), 'encoder')}, {format_things(limits, 'limit')}"


def _discovered(folder: Path, run: list[Override]) -> tuple[str, ...]:
    """The configs below a folder. Files that look like a config but cannot be loaded are reported.

    Raises:
        UsageError: if there is none, with what to do.
    """
    from ..gate.init.discovery import configs_below

    below = configs_below(folder, run)
    for problem in below.refused:
        say(f"skipped {problem}", style="yellow")
    if not below.configs:
        raise UsageError(
            "no-configs",
            f"no encoder config in {folder.resolve()}: name one, or a preset (samattn init sam_vit_b), or write "
            "one (samattn configs --show sam_vit_b > encoder.yaml; samattn import SOURCE -o encoder.yaml)",
        )
    return below.configs


def _families_from(folder: Path) -> list[str]:
    """The paths of the families from outside that a command in a folder has to name."""
    from ..encoder.registry import homes

    named = (home.files for home in homes() if home.files is not None and home.origin[:1] == ("path",))
    return [Path(os.path.relpath(files, folder.resolve())).as_posix() for files in named]


def _families(root: Path) -> list[str]:
    """The paths of the families from outside, as the workflow and the hook name them; what these cannot name is said."""
    from ..encoder.registry import homes

    named = []
    for home in homes():
        if home.files is not None and home.origin[:1] == ("path",) and home.files.is_relative_to(root):
            named.append(home.files.relative_to(root).as_posix())
        elif home.origin:
            say(
                f"a workflow and a hook also need the family {home.place}: add it to what they install",
                style="yellow",
            )
    return named


def _root(directory: Path) -> Path:
    """The root of the git repository that contains a directory; the directory itself, if there is none."""
    from ..gate.git.repository import repository

    try:
        return repository(directory).root.resolve()
    except GitError:
        return directory.resolve()


def _profile(run: list[Override], device: str | None, folder: Path) -> dict[str, Any]:
    """How encoders are run, as the keys of a profile; {} for none."""
    keys = {override.key.removeprefix("run."): override.value.plain() for override in run}
    if device is None:
        return keys
    is_file = device not in devices() and Path(device).is_file()
    return keys | {"device": Path(os.path.relpath(device, folder)).as_posix() if is_file else device}


def _check_free(places: Iterable[Path], *, force: bool) -> None:
    """See that no existing file would be overwritten without --force.

    Raises:
        OutputError: if one would be.
    """
    existing = [str(place) for place in places if _is_there(place)]
    if existing and not force:
        verb = "exists" if len(existing) == 1 else "exist"
        raise OutputError(
            "file-exists",
            f"{' and '.join(existing)} already {verb}: --add adds limits, --force sets existing limits to today's figures; "
            "nothing was written",
        )


def _advise(hooks: Path, hook: str) -> None:
    """Print what to add to an existing pre-commit configuration, unless it has the hook."""
    has_it = hooks.is_file() and HOOK_ID in map(str.strip, hooks.read_text("utf-8", "replace").splitlines())
    say(f"{hooks} {'has the hook already' if has_it else 'exists and was not changed; add to its repos:'}")
    if not has_it:
        emit(hook, "yaml")


def _is_there(place: Path) -> bool:
    return os.path.lexists(place)
