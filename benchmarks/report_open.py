"""How long a report takes to open in Chromium: until its flips can be browsed, and until a search has answered.

    python benchmarks/report_open.py REPORT.html [--flips 10000] [--screenshot FILE.png]

With `--flips` the page's flips are repeated, each text made its own, until there are that many. `--screenshot` only
takes the picture of the first screen that the README shows, where two stand side by side.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import tempfile
import zlib
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser


PICTURE = {"width": 960, "height": 1120}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
_STORE = re.compile(r'(<template id="answers-data">)(.*?)(</template>)', re.DOTALL)
_RUNS = 5


def multiplied(page: str, flips: int) -> str:
    """The page with `flips` flips."""
    found = _STORE.search(page)
    assert found, "the page has no flips"
    data = json.loads(zlib.decompress(base64.b64decode(found[2])))
    given = data["answers"]
    data["answers"] = [own(given[place % len(given)], place) for place in range(flips)]
    packed = base64.b64encode(zlib.compress(json.dumps(data).encode(), 9)).decode()
    return page[: found.start(2)] + packed + page[found.end(2) :]


def own(flip: dict, place: int) -> dict:
    """A flip with an id and an answer that no other has."""
    after = {**flip["after"], "text": f"{flip['after'].get('text', '')} {place:x}"}
    return {**flip, "id": f"{flip['id']}-{place}", "after": after}


def opened(browser: Browser, file: Path) -> tuple[float, float]:
    """Seconds until the flips are there, and until a search that finds one of them has been answered."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    started = perf_counter()
    page.goto(file.as_uri())
    page.wait_for_selector("#browser[data-ready]")
    ready = perf_counter() - started
    searched = page.evaluate(
        """() => { const box = document.querySelector("#filters [name=search]"), from = performance.now();
        box.value = "no such words"; box.dispatchEvent(new Event("input", { bubbles: true }));
        return (performance.now() - from) / 1000; }"""
    )
    page.close()
    return ready, searched


def main() -> None:
    """Prints the medians of five openings, or takes the picture."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--flips", type=int)
    parser.add_argument("--screenshot", type=Path)
    arguments = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as started, started.chromium.launch(executable_path=program, args=FLAGS) as browser:
        if arguments.screenshot:
            page = browser.new_page(viewport=PICTURE)
            page.goto(arguments.report.resolve().as_uri())
            page.screenshot(path=arguments.screenshot)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "report.html"
            text = arguments.report.read_text(encoding="utf-8")
            file.write_text(multiplied(text, arguments.flips) if arguments.flips else text, encoding="utf-8")
            times = [opened(browser, file) for _ in range(_RUNS)]
            size = file.stat().st_size
    ready, searched = (median(column) for column in zip(*times, strict=True))
    print(f"{size / 1e6:.1f} MB: open in {ready:.2f} s, a search answered in {1000 * searched:.0f} ms")


if __name__ == "__main__":
    main()
