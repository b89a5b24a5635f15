"""The site, built and read from disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.page.test_browser import BROWSER, browser  # noqa: F401

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium"),
    pytest.mark.skipif(shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None, reason="no mkdocs"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_search_works_from_disk_and_nothing_is_fetched(site: Path, browser) -> None:  # noqa: F811
    for name in ("index.html", "guides/table.html"):
        page, asked, faults = browser.new_page(), [], []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
        page.goto((site / name).as_uri())
        page.locator(".md-search__input").click()
        page.locator(".md-search__input").press_sequentially("quantize", delay=20)
        page.wait_for_selector(".md-search-result__item", timeout=60_000)
        found = page.locator(".md-search-result__link").evaluate_all("all => all.map(link => link.href)")
        assert any("edge.html" in link for link in found)
        assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
        assert not faults
        page.close()


def test_home_shows_what_comes_out_and_the_api_opens_with_the_six_names(site: Path, browser) -> None:  # noqa: F811
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    drawn = "all => all.map(image => image.complete && image.naturalWidth > 300)"
    assert page.locator("article img").evaluate_all(drawn) == [True, True]
    page.goto((site / "api/index.html").as_uri())
    names = page.locator("article table a").all_inner_texts()
    assert names == ["read", "fit", "assess", "stream", "LTC", "CfC"]
    for link in page.locator("article table a").evaluate_all("all => all.map(link => link.href)"):
        page.goto(link)
        assert page.evaluate("document.getElementById(decodeURIComponent(location.hash.slice(1))) !== null"), link
    page.close()
