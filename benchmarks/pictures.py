"""Takes the pictures of the README and the site: ``python -m benchmarks.pictures REPORT EXPLANATION``.

``make demo`` writes the report. ``torchliquid train occupancy --kind ltc_ncp --updates 300`` and ``torchliquid explain
model.safetensors occupancy`` write the explanation. ``docs/pictures/play.html`` is written by ``torchliquid export
model.safetensors --target web --no-sample`` for a model of ``--parameters 600 --updates 600``.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

PICTURES = Path("docs/pictures")
FRAMES = 20


def main(report: Path, explanation: Path) -> None:
    """Write ``report.png``, ``circuit.jpg`` and ``circuit.webp``, which moves, into docs/pictures."""
    from PIL import Image
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
        page.set_viewport_size({"width": 860, "height": 1400})
        panel = page.locator("#picture")
        frames = []
        for i in range(FRAMES):
            page.locator("#moment").evaluate(
                "(e, share) => { e.value = e.max * share; e.dispatchEvent(new Event('input')); }", i / FRAMES
            )
            page.wait_for_timeout(200)
            frames.append(Image.open(io.BytesIO(panel.screenshot())).convert("RGB"))
        moving = {"save_all": True, "append_images": frames[1:], "duration": 300, "loop": 0}
        frames[0].save(PICTURES / "circuit.webp", quality=40, method=3, **moving)
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
