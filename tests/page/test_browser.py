"""Both pages in a real browser: every control, three widths, light and dark, no fault that axe finds."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.explain.test_page import model, recording
from tests.study.test_report import study

from torchliquid.explain.explanation import explanation
from torchliquid.explain.report import render as render_explanation
from torchliquid.study.reporting.page import render as render_report

EVIL = "<script>alert(1)</script>"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """A report and two explanations, their data full of names that want to be code."""
    folder = tmp_path_factory.mktemp("pages")
    made = {"report": render_report(study(EVIL))}
    for kind in ("ltc_ncp", "cfc"):
        made[kind] = render_explanation(explanation(model(kind, EVIL), recording(EVIL), EVIL))
    for name, text in made.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("name", ["report", "ltc_ncp", "cfc"])
def test_a_page_works_for_everyone(name, width, scheme, pages, browser):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, faults, asked = context.new_page(), [], []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append("a name ran as code"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    started = time.perf_counter()
    page.goto(pages[name].as_uri())
    print(f"{name}, {width} px, {scheme}: opened in {time.perf_counter() - started:.2f} s")

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    assert fits()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # draws all charts
    page.wait_for_function("[...document.querySelectorAll('[data-chart]')].every((e) => e.querySelector('.main-svg'))")
    for link in page.locator("nav a").all():
        link.click()
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("details:not([open])").count() == 0
    assert fits()
    for term in page.locator(".term").all():
        term.click()
        assert page.locator("[popover]:popover-open").count() == 1
        page.keyboard.press("Escape")
        assert page.locator("[popover]:popover-open").count() == 0
    if name == "report":
        sort_a_table(page)
        move_along_the_recording(page)
        read_beside_a_chart(page)
    else:
        drive_the_circuit(page)
    assert page.get_by_text(EVIL).count() > 0
    assert "alert(1)" not in page.evaluate("[...document.scripts].filter((s) => !s.type).map((s) => s.text).join()")
    found = Axe().run(page).response["violations"]
    assert not [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]
    assert not faults
    assert all(address.startswith(("file://", "data:")) for address in asked)
    context.close()


def sort_a_table(page) -> None:
    """A column's head sorts by its figures, whatever their units are, and then the other way round."""
    table = page.locator("table", has=page.locator("th", has_text="Live step")).first
    if not table.locator("button").count():
        assert page.viewport_size["width"] == 360  # a phone, where a row is a list without heads
        return
    head = table.locator("th", has_text="Live step")
    shown = []
    for way in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == way
        cells = table.locator("td[data-head^='Live step']").all_inner_texts()
        shown.append([float(c.split()[0]) * {"µs": 1, "ms": 1000}[c.split()[1]] for c in cells if c != "–"])
    assert shown[0] == sorted(shown[0])
    assert shown[1] == sorted(shown[1], reverse=True)


def move_along_the_recording(page) -> None:
    """Buttons and the keyboard move within the recording; where there is a mouse, so does drawing over a stretch."""
    chart, moves = page.locator("[data-chart='stretch-0']"), page.locator("[data-zoom='stretch-0']")

    def shown() -> list[float]:
        return chart.evaluate("(e) => e.layout.xaxis.range.map(Number)")

    def move(name: str) -> list[float]:
        moves.locator(f"[data-move='{name}']").focus()
        page.keyboard.press("Enter")
        return shown()

    low, high = first = shown()
    assert move("in") == [low + (high - low) / 4, high - (high - low) / 4]
    assert move("out") == first
    assert move("whole") == [0, 899]
    assert move("later") == [0, 899]
    closer = move("in")
    assert move("earlier")[0] < closer[0]
    assert move("first") == first
    assert chart.locator(".subplot").count() == 3  # the answers, and two channels
    box = chart.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 30, steps=5)
    page.mouse.up()
    page.wait_for_function(
        "(all) => document.querySelector(\"[data-chart='stretch-0']\").layout.xaxis.range[0] > all", arg=low
    )
    assert shown()[1] - shown()[0] == pytest.approx(0.2 * (high - low), rel=0.05)
    move("first")


def read_beside_a_chart(page) -> None:
    """What stands under the pointer is told outside of the chart, of all its lines."""
    for name, lines in (("stretch-0", 5), ("shift-0", 8)):
        chart, readout = page.locator(f"[data-chart='{name}']"), page.locator("#readout")
        chart.scroll_into_view_if_needed()
        area = chart.locator(".nsewdrag").first.bounding_box()
        page.mouse.move(area["x"] + area["width"] / 2 + 3, area["y"] + area["height"] / 2)
        readout.wait_for(state="visible")
        page.wait_for_function(
            """name => {
              const told = document.getElementById("readout").getBoundingClientRect();
              const covered = document.querySelector(`[data-chart='${name}']`).getBoundingClientRect();
              return told.top >= covered.bottom - 1 || told.bottom <= covered.top + 1;
            }""",
            arg=name,
        )
        assert readout.locator("span").count() >= lines
        assert chart.locator(".hoverlayer .hovertext").count() == 0
        page.mouse.move(2, 2)
        readout.wait_for(state="hidden")


def drive_the_circuit(page) -> None:
    """Slider, play, choice and keyboard each change what is shown."""
    slider, clock, about = page.locator("#moment"), page.locator("#clock"), page.locator("#about-name")
    now = page.locator("#about-now")
    slider.focus()
    before = clock.inner_text(), page.locator("#drawing .body").evaluate_all("b => b.map((e) => e.style.cssText)")
    page.keyboard.press("End")
    after = clock.inner_text(), page.locator("#drawing .body").evaluate_all("b => b.map((e) => e.style.cssText)")
    assert before[0] != after[0]
    assert before[1] != after[1]
    page.locator("#chosen").select_option(index=0)
    first = about.inner_text()
    assert first == EVIL
    page.locator("#drawing .neuron[tabindex='0']").focus()
    page.keyboard.press("ArrowUp")
    assert about.inner_text() != first
    page.locator("#chosen").select_option(index=page.evaluate("circuit.neurons.findIndex((n) => n.of === 'states')"))
    assert any(word in now.inner_text() for word in ("time constant", "gate time scale"))
    assert page.locator("#about-role").inner_text()
    page.locator("#drawing .neuron").first.hover()
    assert about.inner_text() == first
    strip, at = page.locator("#strip"), slider.input_value()
    assert strip.locator(".line").count() >= 3  # two channels and the answer
    shown = strip.locator(".now").all_text_contents()
    strip.click(position={"x": strip.bounding_box()["width"] / 3, "y": 10})
    assert slider.input_value() != at
    assert strip.locator(".now").all_text_contents() != shown
    slider.focus()
    page.keyboard.press("End")
    play = page.locator("#play")
    play.focus()
    page.keyboard.press("Enter")  # from the end it begins anew
    assert play.get_attribute("aria-pressed") == "true"
    page.wait_for_function("Number(document.getElementById('moment').value) >= 3")
    play.click()
    assert play.inner_text() == "Play"
    stands = slider.input_value()
    page.wait_for_timeout(300)
    assert slider.input_value() == stands


@pytest.mark.parametrize("name", ["report", "ltc_ncp"])
def test_on_paper_charts_are_whole_and_as_light_from_a_dark_screen(name, pages, browser):
    pdfium = pytest.importorskip("pypdfium2")
    drawn, charts = {}, []
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.goto(pages[name].as_uri())
        with pdfium.PdfDocument(page.pdf(format="A4")) as printed:
            sheets = list(printed)
            drawn[scheme] = [sheet.render(scale=1).to_numpy() for sheet in sheets]
            words = [" ".join(sheet.get_textpage().get_text_range().split()) for sheet in sheets]
            width = sheets[0].get_width()
            ends = [max(r[2] for r in _boxes(sheet)) for sheet in sheets]
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        charts = page.evaluate(
            """[...document.querySelectorAll('[data-chart]')].map((e) => ({
              head: e.closest('.panel').querySelector('h3')?.textContent ?? '',
              ticks: [...e.querySelectorAll('.xtick text')].map((t) => t.textContent) }))"""
        )
        context.close()
    assert all((light == dark).all() for light, dark in zip(drawn["light"], drawn["dark"], strict=True))
    assert max(ends) < width
    for chart in charts:  # its head and the whole of its time axis on one sheet
        wanted = [" ".join(text.split()) for text in (chart["head"], *chart["ticks"])]
        assert any(all(text in sheet for text in wanted) for sheet in words), chart


def _boxes(sheet) -> list[tuple[float, float, float, float]]:
    text = sheet.get_textpage()
    return [text.get_rect(i) for i in range(text.count_rects())]


def test_who_asked_for_less_motion_gets_single_pictures(pages, browser):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(pages["ltc_ncp"].as_uri())
    page.locator("#play").click()
    page.wait_for_timeout(500)
    assert page.locator("#moment").input_value() == "0"
    page.wait_for_function("Number(document.getElementById('moment').value) >= 9")
    context.close()


def test_pages_are_small(pages):
    for path in pages.values():
        assert path.stat().st_size < 6e6
