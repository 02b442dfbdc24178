"""The page for a browser: what it has, that it stands alone, and that it says what the terminal says."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner

from samattn_cli.cli.app import app
from samattn_cli.files.load import load_config
from samattn_cli.render.charts.theme import DARK_FAINT, DARK_INK, DARK_PAPER, FAINT, INK, PAPER
from samattn_cli.render.elements import GOOD, Answer
from samattn_cli.render.web import picture
from samattn_cli.render.web.sections import short
from samattn_cli.render.web.style import resource
from samattn_cli.units import Figures, format_bytes, format_change, format_ms, format_ratio
from tests.support.browser import CHROMIUM, browser
from tests.support.html_pages import Outline

MOST_BYTES = 1_200_000
SMALL = ("sam_vit_b", "--image-size", "256")
COMMANDS = {
    "analyze": ("analyze", *SMALL, "--memory", "1GiB", "--no-verify"),
    "sweep": ("sweep", "sam_vit_b", "sam_vit_l", "--resolutions", "224,256,512"),
    "fit": ("fit", *SMALL, "--memory", "2GiB", "--vary", "batch-size"),
    "diff": ("diff", "sam_vit_b", "sam_vit_l"),
    "check": ("check", "sam_vit_b", "swin_t", "--memory", "400MiB"),
    "compare-placements": ("compare-placements", *SMALL, "--placements", "even:2"),
    "plan": (
        "plan",
        *SMALL,
        "--gpus",
        "2",
        "--device",
        "l40s",
        "--global-batch",
        "4",
        "--attention",
        "eager",
    ),
    "trace": (
        "trace",
        "torch.nn:Linear",
        "--arg",
        "in_features=8",
        "--arg",
        "out_features=4",
        "--input",
        "2x8",
    ),
    "explain": ("explain", "sam_vit_b", "0.attn.scores"),
    "verify": ("verify", "sam_vit_b", "--image-size", "224", "--one-of-each"),
}
HOSTILE = '</script><b onmouseover="x">\'&amp;\u202e'


@cache
def page_of(*words: str) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        result = CliRunner().invoke(app, [*words, "-o", str(file)])
        assert result.exit_code in {0, 1}, result.output
        assert "Traceback" not in result.output
        return file.read_text("utf-8")


SLOW = ("plan", "trace", "explain", "verify")


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.exhaustive) if name in SLOW else name for name in COMMANDS]
)
def command(request) -> tuple[str, ...]:
    return COMMANDS[request.param]


def test_a_page_has_headings_headers_and_links_that_lead_somewhere(command) -> None:
    page = page_of(*command)
    outline = Outline(page)
    assert len(page.encode()) < MOST_BYTES
    assert not outline.open
    names = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link["href"] for link in outline.of("a")} <= {f"#{name}" for name in names}
    assert len(outline.of("h1")) == 1
    assert not outline.of("h3", "h4", "h5", "h6")
    assert len(outline.of("h2")) == len(outline.of("section")) > 2
    assert {table["aria-labelledby"] for table in outline.of("table")} <= set(names)
    assert {header["scope"] for header in outline.of("th")} == {"row", "col"}
    assert f"samattn {command[0]}" in outline.text("code")


def test_a_page_fetches_nothing(command) -> None:
    outline = Outline(page_of(*command))
    assert not {"src", "srcset", "data", "poster"} & {name for _, tag in outline.tags for name in tag}
    assert not outline.of("link", "iframe", "object", "embed", "base", "form")
    [policy] = [
        tag["content"] for tag in outline.of("meta") if tag.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    [script] = [text for around, text in outline.texts if around[-1:] == ("script",)]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy or "vegaEmbed(" in script


def test_a_page_says_what_the_terminal_says_first() -> None:
    words = COMMANDS["analyze"]
    short = CliRunner().invoke(app, [*words, "--brief"], env={"COLUMNS": "200"}).stdout.splitlines()
    title, *lines = (" ".join(line.split()) for line in short)
    outline = Outline(page_of(*words))
    assert outline.text("h1") == title
    said = [tag for tag, attributes in outline.tags if attributes.get("class") == "short"]
    assert said == ["ul"]
    shown = " ".join("".join(text for around, text in outline.texts if "main" in around).split())
    assert all(line in shown for line in lines)


def test_figures_have_every_digit() -> None:
    result = CliRunner().invoke(app, [*COMMANDS["analyze"], "--format", "json"])
    totals = json.loads(result.stdout)["totals"]
    titles = {tag.get("title") for tag in Outline(page_of(*COMMANDS["analyze"])).of("data")}
    assert f"{totals['peak_bytes']:,} B" in titles
    assert f"{totals['flops']:,}" in titles
    rows = csv.DictReader(
        io.StringIO(CliRunner().invoke(app, [*COMMANDS["sweep"], "--format", "csv"]).stdout)
    )
    values = {tag["value"] for tag in Outline(page_of(*COMMANDS["sweep"])).of("data")}
    assert {row["flops"] for row in rows} <= values


def test_what_was_rounded_keeps_its_value() -> None:
    kept = [format_bytes(5_905_580_033), format_change(0.25), format_ms(1.23456), format_ratio(2.125)]
    assert kept == ["5.50 GiB", "-25.00 %", "1.24 ms", "2.12x"]
    assert [figure.exact for figure in kept] == ["5,905,580,033 B", "-25 %", "1.23456 ms", "2.125 x"]
    assert Figures(kept[0], " ", kept[3]) == "5.50 GiB 2.12x"


def test_other_peoples_names_stay_text(tmp_path) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(f"extends: sam_vit_b\nname: {json.dumps(HOSTILE)}\nimage_size: 256\n", "utf-8")
    for words in (("analyze", str(file), "--no-verify"), ("diff", "sam_vit_b", str(file))):
        page = page_of(*words)
        outline = Outline(page)
        assert not outline.of("b")
        assert not {"onmouseover"} & {name for _, tag in outline.tags for name in tag}
        assert '</script><b onmouseover="x">\'&amp;\\u202e' in outline.text("body")
        assert "\u202e" not in page


def test_the_config_can_be_used_again(tmp_path) -> None:
    outline = Outline(page_of(*COMMANDS["analyze"]))
    [text] = [
        text for around, text in outline.texts if around[-1:] == ("code",) and text.startswith("name: ")
    ]
    (tmp_path / "again.yaml").write_text(text, "utf-8")
    assert load_config(str(tmp_path / "again.yaml")) == load_config("sam_vit_b", ["image_size=256"])


def test_without_the_library_of_charts_the_rest_is_there(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    outline = Outline(page_of.__wrapped__(*COMMANDS["analyze"]))
    assert "pip install 'samattn[charts]'" in outline.text("main")
    assert outline.of("table")
    assert not outline.of("svg")


@pytest.mark.parametrize(
    ("room", "picture_is"), [(500_000, "svg"), pytest.param(20_000, "img", marks=pytest.mark.exhaustive)]
)
def test_a_page_that_would_be_too_large_has_a_still_picture(monkeypatch, room, picture_is) -> None:
    monkeypatch.setattr(picture, "MOST_CHARACTERS", room)
    page = page_of.__wrapped__(*COMMANDS["sweep"])
    assert "vegaEmbed(" not in page
    assert Outline(page).of(picture_is)


COLORS = re.compile(r"--(\w+): (#\w{6})")
TEXT = ("good", "bad", "caution", "unchecked", "waived", "link")


def test_words_stand_out_from_the_page_in_light_and_dark() -> None:
    style = Path(picture.__file__).with_name("style.css").read_text("utf-8")
    light, dark = style.split("@media screen")[:2]
    for own, (ink, faint, paper) in (
        (light, (INK, FAINT, PAPER)),
        (dark, (DARK_INK, DARK_FAINT, DARK_PAPER)),
    ):
        colors = dict(COLORS.findall(own)) | {"ink": ink, "faint": faint}
        for name in (*TEXT, "ink", "faint"):
            for ground in (paper, colors["soft"]):
                assert contrast(colors[name], ground) >= 4.5, (name, ground)


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def test_a_printed_table_has_its_header_on_each_page() -> None:
    """Chromium repeats a header on the next page only if nothing in it has a box of its own, such as a button."""
    of_paper = resource("style.css").partition("@media print")[2]
    assert re.search(r"^  th button \{ display: contents; \}", of_paper, re.MULTILINE)
    assert "thead { display: table-header-group; }" in of_paper


def test_a_sign_without_a_verdict_stands_apart_from_the_sentence() -> None:
    lines = "".join(short([Answer("Of 2 choices", GOOD), Answer(": it is", GOOD, "exact"), Answer("plain")]))
    assert re.findall(r"<li>(.*?)</li>", re.sub(r"</?strong[^>]*>", "", lines)) == [
        "✓ Of 2 choices",
        "✓ exact: it is",
        "plain",
    ]


def test_two_configs_of_the_same_name_are_told_apart() -> None:
    links = Outline(page_of(*COMMANDS["diff"])).text("nav")
    assert "Config before: sam_vit_b" in links
    assert "Config after: sam_vit_l" in links


# -- in a browser ----------------------------------------------------------------------------------------------------

ORDER = "[...document.querySelector('table:not(.fixed)').tBodies[0].rows].map(row => row.dataset.place)"


@pytest.mark.exhaustive
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser_each_page_opens_sorts_and_is_followed(tmp_path) -> None:
    with browser(tmp_path / "profile") as page:
        for name, words in COMMANDS.items():
            file = tmp_path / f"{name}.html"
            file.write_text(page_of(*words), "utf-8")
            for width, scheme in ((1280, "light"), (400, "dark")):
                page.look(width, scheme=scheme)
                page.open(file)
                assert page.run("document.documentElement.scrollWidth") <= width, name
            page.run("document.querySelector('nav li:last-child a').click()")
            assert page.run("location.hash") == "#command"
            assert page.run("document.querySelector('#command').getBoundingClientRect().top") < 900
            assert {url.partition(":")[0] for url in page.requests} <= {"file", "data", "blob"}, name
            assert page.errors == [], name


@pytest.mark.exhaustive
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser_tables_are_sorted_and_copied_by_the_keyboard(tmp_path) -> None:
    (file := tmp_path / "page.html").write_text(page_of(*COMMANDS["analyze"]), "utf-8")
    with browser(tmp_path / "profile") as page:
        page.look(1280)
        page.open(file)
        header = "[...document.querySelectorAll('th')].find(th => th.dataset.name === 'FLOPs')"
        page.run(f"{header}.querySelector('button').focus()")
        orders = []
        for _ in range(3):
            page.press("Enter", 13)
            orders.append((page.run(f"{header}.ariaSort"), flops(page, header)))
        assert [order for order, _ in orders] == ["ascending", "descending", None]
        first = orders[2][1]
        assert orders[0][1] == sorted(first) != first
        assert orders[1][1] == sorted(first, reverse=True)
        assert page.run("document.getElementById('said').textContent") == "in the first order"
        page.look(1280, media="print")
        assert page.run(f"getComputedStyle({header}.querySelector('button')).display") == "contents"
        page.look(1280)
        page.run("document.querySelector('#tools button').click()")
        assert re.fullmatch(r"[\d,]{9,}", page.run("document.querySelector('tbody data').textContent"))


def flops(page, header: str) -> list[float]:
    """The column of FLOPs as it stands."""
    rows = f"[...{header}.closest('table').tBodies[0].rows]"
    return page.run(
        f"{rows}.map(row => Number(row.cells[{header}.cellIndex].querySelector('data')?.value ?? 0))"
    )
