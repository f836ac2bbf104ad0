"""How quickly the page to play on answers, and what it keeps: `jaxgan play`, moved in a headless Chromium.

    launch/local.sh python benchmarks/play.py [RUN] [--moves 500] [--most 3]

A move is a slider's input event in the page; its time is from the event to the decoded picture. Printed are:

    ready       seconds from reading the run to the page, with its programs compiled, or taken from the cache
    one         one picture: the truncation of a seed
    grid        4 x 4 of them
    direction   a sample along a direction
    two         one picture, while a second browser moves its own
    kept        memory of the server and of the page, and files and bytes in the folders of temporary files, before and
                after

`--most N` ends with exit code 1 where a time is more than N times what is promised on two idle cores.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

PROMISED = {"one": (100, 250), "grid": (250, None)}
"""Milliseconds: of the median, and of the 95th percentile."""

MOVE = """async ([selector, value]) => {
    const slider = document.querySelector(selector);
    slider.value = value;
    const shown = new Promise((resolve) => {
        document.addEventListener("shown", (event) => resolve(event.detail), { once: true });
    });
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    return await shown;
}"""


def chromium() -> str | None:
    """Where Chromium is; None where it is not."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def moves(page: Page, selector: str, values: Any) -> np.ndarray:
    """Milliseconds of each of several moves of a slider, one after another as a hand moves it."""
    found = []
    for value in values:
        found.append(page.evaluate(MOVE, [selector, str(value)]))
        page.wait_for_timeout(20)
    return np.array(found)


def opened(browser: Any, url: str, tab: str, grid: str = "1") -> Page:
    """A browser's page at a tab."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(f"{url}#{tab}")
    page.wait_for_selector(f"#{tab} .shown img[src]", timeout=120_000)
    if tab == "generate":
        page.select_option("#generate [name=grid]", grid)
        page.wait_for_timeout(500)
    return page


def kept(server: psutil.Process, folder: Path, page: Page) -> str:
    """What is held now."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    page.evaluate("() => globalThis.gc?.()")
    heap = page.evaluate("() => performance.memory.usedJSHeapSize")
    return (
        f"server {server.memory_info().rss / 1e6:.0f} MB, page {heap / 1e6:.1f} MB, "
        f"{len(files)} files of {sum(path.stat().st_size for path in files)} bytes"
    )


def report(name: str, times: np.ndarray, most: float | None) -> bool:
    """Prints the times of some moves; whether they are within bounds."""
    median, late = np.quantile(times, [0.5, 0.95])
    print(
        f"{name:10} median {median:4.0f} ms, 95th {late:4.0f} ms, most {times.max():4.0f} ms of {len(times)} moves",
        flush=True,
    )
    bounds = zip((median, late), PROMISED.get(name, (None, None)), strict=True)
    return most is None or all(bound is None or value <= most * bound for value, bound in bounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="emoji")
    parser.add_argument("--moves", type=int, default=500)
    parser.add_argument("--most", type=float, help="fail where a time is more than so many times what is promised")
    options = parser.parse_args()
    path = chromium()
    if path is None:
        sys.exit("benchmarks/play.py: no Chromium here: apt-get install chromium")
    command = [sys.executable, "-m", "jaxgan", "play", options.run, "--no-browser", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        since = time.perf_counter()
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": folder})
        try:
            assert server.stdout is not None
            line = next(line for line in iter(server.stdout.readline, "") if "ready after" in line)
            url = re.findall(r"http://\S+", line)[0]
            whole = time.perf_counter() - since
            print(f"ready      {line.split(':')[0].removeprefix('ready ')}, {whole:.1f} s after the command began")
            browser = driver.chromium.launch(
                executable_path=path, args=["--js-flags=--expose-gc", "--enable-precise-memory-info"]
            )
            process, each = psutil.Process(server.pid), max(20, options.moves // 4)
            truncations = np.random.default_rng(0).uniform(0.2, 1.4, each).round(2)
            page = opened(browser, url, "generate")
            moves(page, "#generate [name=truncation]", truncations[:20])
            print("kept       before:", kept(process, Path(folder), page))
            good = [report("one", moves(page, "#generate [name=truncation]", truncations), options.most)]
            grid = opened(browser, url, "generate", "16")
            good.append(report("grid", moves(grid, "#generate [data-for=seed]", range(1, each + 1)), options.most))
            grid.context.close()
            other = opened(browser, url, "directions")
            report("direction", moves(other, "#directions .amounts input", np.linspace(-4, 4, each).round(1)), None)
            # The other browser moves by itself: its picture in turn with this one's.
            other.evaluate(
                """() => setInterval(() => {
                    const slider = document.querySelectorAll("#directions .amounts input")[1];
                    slider.value = Math.random() * 6 - 3;
                    slider.dispatchEvent(new Event("input", { bubbles: true }));
                }, 100)"""
            )
            report("two", moves(page, "#generate [name=truncation]", truncations[::-1]), None)
            other.context.close()
            page.wait_for_timeout(1000)
            print("kept       after: ", kept(process, Path(folder), page))
            browser.close()
        finally:
            server.send_signal(2)
            server.wait(30)
    if not all(good):
        sys.exit(f"benchmarks/play.py: more than {options.most:g} times what is promised: {PROMISED}")


if __name__ == "__main__":
    main()
