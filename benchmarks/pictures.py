"""The README's pictures: ``python -m benchmarks.pictures REPORT EXPLANATION`` takes both from finished pages.

The pages come from ``make demo``, and from ``torchliquid train occupancy --kind ltc_ncp --epochs 4`` and ``torchliquid
explain model.safetensors occupancy``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PICTURES = Path("docs/pictures")


def main(report: Path, explanation: Path) -> None:
    """Write ``report.png`` and ``circuit.jpg`` into docs/pictures."""
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 760}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.wait_for_timeout(1000)
        page.screenshot(path=PICTURES / "report.png")
        page.goto(explanation.resolve().as_uri())
        page.locator("#moment").evaluate("e => { e.value = e.max / 2; e.dispatchEvent(new Event('input')); }")
        page.locator("#circuit").evaluate("e => e.scrollIntoView()")
        page.wait_for_timeout(1000)
        page.screenshot(path=PICTURES / "circuit.jpg", type="jpeg", quality=70)
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
