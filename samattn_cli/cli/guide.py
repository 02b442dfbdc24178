"""`samattn guide`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError, did_you_mean
from ..guide import OTHER_TOPICS, PAGES, page_file
from ..spelling import known_as
from . import complete
from .output import emit, guarded, terminal_options


@guarded
def guide(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOPIC]",
            help="The page to show, or a command's name for the page about it; default: list all pages.",
            autocompletion=complete.topics,
        ),
    ] = None,
) -> None:
    """Show a page of the documentation, or list the pages.

    These are the pages of the repository, for this version of samattn.

    Examples:

      samattn guide

      samattn guide memory

      samattn guide check
    """
    if topic is None:
        emit(_listed(), "terminal")
        return
    name = known_as(topic, PAGES, OTHER_TOPICS)
    if name is None:
        hint = did_you_mean(topic, [*PAGES, *OTHER_TOPICS]) or f"; choose from {', '.join(PAGES)}"
        raise UsageError("unknown-topic", f"unknown topic '{topic}'{hint}")
    from ..render.guide import render_guide

    page = PAGES[name]
    try:
        text = page_file(page).read_text("utf-8")
    except OSError as error:
        raise UsageError(
            "cannot-read", f"guide {name}: {page_file(page)}: {error.strerror or error}"
        ) from None
    topics = {page.path: topic for topic, page in PAGES.items()}
    emit(render_guide(text, page.path, topics, terminal_options()), "terminal")


def _listed() -> str:
    from ..render.elements import Table
    from ..render.formats.terminal import render_tables

    rows = tuple((topic, page.summary) for topic, page in PAGES.items())
    table = Table(
        "", ("topic", "what it says"), rows, "samattn guide TOPIC shows a page.", text_columns=(0, 1)
    )
    return render_tables([table], terminal_options())
