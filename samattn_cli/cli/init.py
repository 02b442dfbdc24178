"""`samattn init`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..encoder.presets import devices
from ..errors import GitError, OutputError, UsageError
from ..files.load import Override
from ..gate.load_thresholds import FILE
from ..gate.thresholds import MOST
from ..units import format_things
from . import complete
from .output import emit, guarded, say, working, write_files
from .parameters import (
    Attention,
    BatchSize,
    DTypeOption,
    ImageSize,
    Mode,
    config_names,
    device_of,
    device_option,
    overrides,
    refuse_stdin,
)

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
            help="YAML files or presets; every encoder config below DIR by default.",
            callback=config_names,
            autocompletion=complete.configs,
        ),
    ] = None,
    directory: Annotated[
        Path, typer.Option(metavar="DIR", help="Where samattn.yaml goes; here by default.")
    ] = Path(),
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    dtype: DTypeOption = None,
    attention: Attention = None,
    mode: Mode = None,
    device: Annotated[str | None, device_option("Where they run, for times: see `samattn devices`.")] = None,
    workflow: Annotated[
        bool, typer.Option("--workflow/--no-workflow", help="Write .github/workflows/samattn.yml.")
    ] = True,
    pre_commit: Annotated[
        bool, typer.Option("--pre-commit/--no-pre-commit", help="Write .pre-commit-config.yaml.")
    ] = True,
    add: Annotated[
        bool, typer.Option("--add", help="Add limits to a samattn.yaml that is there; nothing in it changes.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Set the limits that a samattn.yaml has to today's figures, add those that it lacks, and overwrite a "
            "workflow. Other rules stay.",
        ),
    ] = False,
) -> None:
    """Start checking: thresholds with today's figures as limits, a GitHub workflow, a pre-commit hook.

    The workflow and the hook go to the root of the git repository. All is written, or nothing is. Where there is a
    .pre-commit-config.yaml, it is left alone, and what to add to it is printed.

    Examples:

      samattn init

      samattn init --add encoders/new.yaml

      samattn init encoders/vit_h.yaml sam_vit_b --dtype bfloat16 --attention sdpa --device a100_80
    """
    from ..gate.init import files as texts
    from ..gate.init.origin import installed_from

    if not directory.is_dir():
        raise UsageError(f"--directory {directory}: there is no such directory")
    refuse_stdin(configs)
    run = overrides(
        None, image_size=image_size, batch_size=batch_size, dtype=dtype, attention=attention, mode=mode
    )
    root = _root(directory)
    path = PurePosixPath(Path(os.path.relpath(directory.resolve(), root), FILE).as_posix())
    main, flow = directory / FILE, Path(os.path.relpath(root / WORKFLOW))
    goes_on = (add or force) and _is_there(main)
    workflow = workflow and not (goes_on and not force)
    _check_free([*([] if goes_on else [main]), *([flow] if workflow else [])], force=force)
    with working("counting"):
        if goes_on:
            _refuse_run(run, device)
            thresholds, number = _more(directory, configs or [], renew=force)
        else:
            thresholds, number = _thresholds(directory, configs or [], run, device)
    origin = installed_from(root)
    written = {main: thresholds} | ({flow: texts.workflow(path, origin)} if workflow else {})
    hooks = Path(os.path.relpath(root / PRE_COMMIT))
    if pre_commit and not _is_there(hooks) and not (goes_on and not force):
        written[hooks] = texts.pre_commit() + texts.hook(path, origin)
    write_files(written)
    if pre_commit and hooks not in written and not goes_on:
        _advise(hooks, texts.hook(path, origin))
    if {flow, hooks} & written.keys():
        _say_origin(origin)
    say(f"{number}. Next: samattn check, then commit what was written")


def _refuse_run(run: list[Override], device: str | None) -> None:
    """How encoders are run is in the file already."""
    if run or device:
        option = run[0].where if run else f"--device {device}"
        raise UsageError(f"{option}: how encoders are run is in the profiles of {FILE}: change it there")


def _more(folder: Path, given: list[str], *, renew: bool) -> tuple[str, str]:
    """The text of a thresholds file that is there with more limits, and what is new in a few words."""
    from ..gate.init.add import check_kept, with_limits
    from ..gate.init.limits import limits_of
    from ..gate.load_thresholds import load_thresholds

    file = load_thresholds(folder / FILE)
    text = (folder / FILE).read_bytes().decode()  # as it is, with a byte order mark and its ends of lines
    rules = file.thresholds.rules
    profiles = list(dict.fromkeys(rule.profile for rule in rules if rule.limit)) or [""]
    taken = {rule.id: rule.match for rule in rules}
    configs = given or _found(folder, [])
    limits = {
        profile: limits_of(
            configs,
            folder,
            file.overrides(profile),
            file.device(profile),
            taken,
            f"-{profile}" if profile and len(profiles) > 1 else "",
        )
        for profile in profiles
    }
    found = with_limits(file, text, limits, renew=renew)
    check_kept(file, found.text, renew=renew)
    changed = f", {format_things(found.changed, 'limit')} set to today's figure" if renew else ""
    return found.text, f"{format_things(found.added, 'limit')} added{changed}"


def _say_origin(origin: Origin) -> None:
    """What the workflow and the hook install."""
    if origin.is_reachable:
        say(f"they install samattn from where this one was: {origin.said}")
    else:
        say(
            f"this samattn was installed from {origin.said}, which other machines do not have. They install "
            f"{origin.requirement}: replace that with the place where yours is published",
            style="yellow",
        )


def _thresholds(folder: Path, given: list[str], run: list[Override], device: str | None) -> tuple[str, str]:
    """The text of the thresholds file, and what it holds in a few words."""
    from ..gate.init.files import thresholds
    from ..gate.init.limits import limits_of

    on = device_of(device)
    encoders = limits_of(given or _found(folder, run), folder, run, on)
    limits = sum(len(encoder.limits) for encoder in encoders)
    if limits > MOST:
        raise UsageError(
            f"{len(encoders)} encoders need {limits} rules, and a file has {MOST} at most: name some"
        )
    text = thresholds(encoders, folder, _profile(run, device, folder))
    return text, f"{format_things(len(encoders), 'encoder')}, {format_things(limits, 'limit')}"


def _found(folder: Path, run: list[Override]) -> tuple[str, ...]:
    """The configs below a folder; files that only look like one are said.

    Raises:
        UsageError: if there is none, with what to do.
    """
    from ..gate.init.discovery import configs_below

    found = configs_below(folder, run)
    for reason in found.refused:
        say(f"passed over {reason}", style="yellow")
    if not found.configs:
        raise UsageError(
            f"there is no encoder config in {folder.resolve()}: name one, or a preset (samattn init sam_vit_b), or write "
            "one (samattn configs --show sam_vit_b > encoder.yaml; samattn import SOURCE -o encoder.yaml)"
        )
    return found.configs


def _root(directory: Path) -> Path:
    """The root of the git repository that a directory is in; itself, if it is in none."""
    from ..gate.git.repository import repository

    try:
        return repository(directory).root.resolve()
    except GitError:
        return directory.resolve()


def _profile(run: list[Override], device: str | None, folder: Path) -> dict[str, Any]:
    """How they are run, in the keys of a profile; {} is as they say."""
    keys = {override.key.removeprefix("run."): override.value.plain() for override in run}
    if device is None:
        return keys
    is_file = device not in devices() and Path(device).is_file()
    return keys | {"device": Path(os.path.relpath(device, folder)).as_posix() if is_file else device}


def _check_free(places: Iterable[Path], *, force: bool) -> None:
    """Nothing that is there is overwritten without --force.

    Raises:
        OutputError: if it would be.
    """
    taken = [str(place) for place in places if _is_there(place)]
    if taken and not force:
        verb = "is" if len(taken) == 1 else "are"
        raise OutputError(
            f"{' and '.join(taken)} {verb} there already: --add adds limits, --force sets those that are there anew; nothing was written"
        )


def _advise(hooks: Path, hook: str) -> None:
    """What to add to a pre-commit configuration, unless it is in there."""
    has_it = hooks.is_file() and HOOK_ID in map(str.strip, hooks.read_text("utf-8", "replace").splitlines())
    say(
        f"{hooks} {'has the hook already' if has_it else 'is there and is left alone; under its repos, add:'}"
    )
    if not has_it:
        emit(hook, "yaml")


def _is_there(place: Path) -> bool:
    return os.path.lexists(place)
