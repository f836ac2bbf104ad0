"""The page to play on, used as people use it, in a real browser; and what it lets in, and what not."""

import base64
import contextlib
import io
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import websockets
from conftest import small_network
from failing import fails
from PIL import Image
from test_latent import small_metric
from websockets.sync.client import connect

import jaxgan
from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.cli.style import Style
from jaxgan.evaluate import lpips
from jaxgan.run import build, checkpoint, directory, parallel, training
from jaxgan.run.page import server, session, table

pytestmark = pytest.mark.usefixtures("tidied")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browsed = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
DEADLINE = 60_000  # Milliseconds, of what takes one or two here.

STYLED = cfg.Config(
    data=cfg.IN_MEMORY,
    generator=cfg.StyleGAN2Generator(width=2, max_width=8, style_size=16, mapping_layers=2),
    discriminator=cfg.StyleGAN2Discriminator(width=2, max_width=4),
    latent_size=8,
    batch_size=4,
    steps=1,
)
POINTS = cfg.Config(
    data="ring",
    generator=cfg.MLPGenerator(widths=(8,)),
    discriminator=cfg.MLPDiscriminator(widths=(8,)),
    latent_size=2,
    batch_size=16,
    steps=12,
    sample_every=3,
    log_every=1,
)
LABELLED = cfg.Config(
    generator=cfg.MLPGenerator(widths=(8,)),
    discriminator=cfg.MLPDiscriminator(widths=(8,)),
    conditional=True,
    latent_size=4,
    batch_size=4,
    steps=2,
)


def untrained(path: Path, config: cfg.Config, shape: tuple[int, ...]) -> None:
    """A run before its first step, whose training is not compiled."""
    plan = build.experiment(config, shape, 0)
    directory.write_config(path, config)
    (path / "data.json").write_text(json.dumps({"shape": shape, "classes": 0, "identity": ""}))
    with checkpoint.open_for_saving(path, plan) as saver:
        saver.save(plan.initial_state(plan.stages[0], parallel.place(devices=jax.local_devices()[:1])))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of points, one of classes, one with styles, and one without a checkpoint."""
    folder = tmp_path_factory.mktemp("runs")
    untrained(folder / "styled", STYLED, (32, 32, 3))
    training.train(POINTS, folder / "points", quiet=True)
    training.train(LABELLED, folder / "labelled", quiet=True)
    shutil.copytree(folder / "labelled", folder / "new")
    shutil.rmtree(folder / "new" / "checkpoints")
    return folder


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory):
    """A folder of temporary files for this module alone: others on this machine may play, too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(session.tempfile, "tempdir", str(folder := tmp_path_factory.mktemp("temporary")))
        yield folder


@pytest.fixture(scope="module")
def styled(runs: Path, temporary: Path):
    played = table.Table(runs / "styled", runs)
    assert played.why == {}
    page = server.Page(played)
    yield page
    page.close()


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Browser:
    """A person's browser, with what it asked for, and what it complained of."""

    def __init__(self, chromium: Any, url: str, **options: Any) -> None:
        self.context = chromium.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(DEADLINE)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda web: self.asked.append(web.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type in ("error", "warning") else None,
        )
        self.page.goto(url)

    def open(self, tab: str) -> None:
        self.page.click(f"nav [data-tab={tab}]")

    def set(self, selector: str, value: float | str) -> None:
        """Moves a slider, as a hand does."""
        self.page.locator(selector).fill(str(value))

    def wait(self, condition: str, argument: Any = None) -> None:
        self.page.wait_for_function(condition, arg=argument)

    def picture(self, selector: str) -> np.ndarray:
        """The picture that is shown, as it came."""
        url = self.page.evaluate(
            """(selector) => {
                const image = document.querySelector(selector), canvas = document.createElement("canvas");
                [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                canvas.getContext("2d").drawImage(image, 0, 0);
                return canvas.toDataURL();
            }""",
            selector,
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))[..., :3]

    def first(self, selector: str) -> np.ndarray:
        """The picture that is shown before one does anything."""
        self.page.wait_for_selector(f"{selector}[src]")
        return self.picture(selector)

    def changes(self, selector: str, act: Any) -> np.ndarray:
        """The picture that takes the place of the one that is shown, once one acts."""
        before = self.page.get_attribute(selector, "src")
        act()
        self.wait(
            "([selector, before]) => { const image = document.querySelector(selector);"
            " return image.getAttribute('src') && image.getAttribute('src') !== before }",
            [selector, before],
        )
        return self.picture(selector)

    def saved(self, selector: str, folder: Path) -> Path:
        """Clicks what downloads a file."""
        with self.page.expect_download() as waiting:
            self.page.click(selector)
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def line(self) -> str:
        """The line in which an error is shown."""
        self.page.wait_for_selector("#error:not([hidden])")
        return self.page.inner_text("#error span")


@pytest.fixture
def visit(chromium: Any):
    """Opens pages, and sees to it that they asked nothing of any other host, and complained of nothing."""
    opened: list[Browser] = []

    def visit(url: str, **options: Any) -> Browser:
        opened.append(Browser(chromium, url, **options))
        return opened[-1]

    yield visit
    for browser in opened:
        browser.context.close()
        assert browser.complaints == []
        assert browser.asked
        assert [url for url in browser.asked if not re.match(r"(http|ws)://127\.0\.0\.1:|blob:|data:", url)] == []


def repeated(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the command that a page shows, in a folder."""
    words = shlex.split(text)
    assert words[0] == "jaxgan"
    monkeypatch.chdir(folder)
    cli.main(words[1:])


def same(path: Path, other: Path) -> None:
    with Image.open(path) as one, Image.open(other) as two:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


# Tabs.


@browsed
def test_generate(styled, visit, tmp_path, monkeypatch, runs):
    browser = visit(styled.url)
    page, image = browser.page, "#generate .shown img"
    first = browser.first(image)
    assert first.shape[:2] == (552, 552)  # The sheet of 4 x 4.
    seed = lambda: page.input_value("#generate input[type=number]")  # noqa: E731
    assert browser.changes(image, lambda: browser.set("#generate [name=truncation]", 0.5)).std() < first.std()
    browser.changes(image, lambda: page.keyboard.press("Escape") or page.click("#generate [data-act=next]"))
    page.click("h1")  # Away from controls, which have a use for arrow keys of their own.
    browser.changes(image, lambda: page.keyboard.press("ArrowDown"))
    assert seed() == "17"
    browser.changes(image, lambda: page.keyboard.press("ArrowLeft"))
    assert seed() == "16"
    browser.changes(image, lambda: page.click("#generate [data-act=random]"))
    np.testing.assert_array_equal(browser.changes(image, lambda: page.click("#generate [data-act=reset]")), first)
    # Seed 7 is the file 7 of `sample --seeds`, by name and by every pixel.
    browser.changes(image, lambda: browser.set("#generate [data-for=seed]", 7))
    browser.changes(image, lambda: page.select_option("#generate [name=grid]", "1"))
    browser.wait("() => document.querySelector('#generate figcaption code').textContent.includes('--seeds 7 ')")
    saved = browser.saved("#generate .save", tmp_path)
    assert saved.name == "seed00007.png"
    repeated(page.inner_text("#generate figcaption code"), tmp_path, monkeypatch)
    same(saved, tmp_path / "pictures" / "seed00007.png")
    cli.main(["sample", str(runs / "styled"), "--seeds", "0-9", "--out", str(tmp_path / "ten")])
    same(saved, tmp_path / "ten" / "seed00007.png")
    # A click shows one of many alone.
    browser.changes(image, lambda: page.select_option("#generate [name=grid]", "4"))
    sheet = browser.saved("#generate .save", tmp_path)
    assert sheet.name == "seeds00007-00010.png"
    sheet = sheet.rename(tmp_path / "sheet.png")
    repeated(page.inner_text("#generate figcaption code"), tmp_path, monkeypatch)
    same(sheet, tmp_path / "seeds00007-00010.png")
    box = page.locator(image).bounding_box()
    browser.changes(image, lambda: page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"]))
    assert seed() == "10"


@browsed
def test_directions_and_a_walk(styled, visit, tmp_path, monkeypatch):
    browser = visit(f"{styled.url}#directions")
    page, image, code = browser.page, "#directions .shown img", "#directions .shown figcaption code"
    sample = browser.first(image)
    sliders = page.locator("#directions .amounts input")
    assert sliders.count() == 8
    moved = browser.changes(image, lambda: sliders.nth(0).fill("3"))
    assert (moved != sample).any()
    page.click("#directions [data-act=keep]")
    page.wait_for_selector("#directions .kept li:nth-child(1)")
    # The latent's file and the command make the picture that is shown.
    file = browser.saved("#directions .kept li button[title^=Download]", tmp_path)
    assert file.name == "seed00000.npz"
    repeated(page.inner_text(code), tmp_path, monkeypatch)
    made = np.asarray(Image.open(tmp_path / "seed00000.png"))
    scale = made.shape[0] // 36
    np.testing.assert_array_equal(made[::scale][2:-2, 2 * scale : -2 * scale : scale], moved)
    # From a kept latent on, and back.
    browser.changes(image, lambda: page.click("#directions [data-act=random]"))
    page.click("#directions [data-act=keep]")
    page.wait_for_selector("#directions .kept li:nth-child(2)")
    assert page.inner_text("#directions .kept li:nth-child(2) span") == "seed00000-2"
    again = browser.changes(image, lambda: page.click("#directions .kept li:nth-child(1) img"))
    np.testing.assert_array_equal(again, moved)
    assert "seed00000" in page.inner_text("#directions .from")
    # An .npz of before comes in, damaged ones do not.
    page.set_input_files("#directions input[type=file]", [file])
    page.wait_for_selector("#directions .kept li:nth-child(3)")
    page.set_input_files("#directions input[type=file]", [{"name": "no.npz", "mimeType": "", "buffer": b"PK"}])
    assert browser.line() == "no.npz: holds no latent or styles, as `jaxgan project` writes them"
    page.set_input_files("#directions input[type=file]", [])
    page.click("#directions .kept li:nth-child(3) button[title^=Forget]")
    page.wait_for_selector("#directions .kept li:nth-child(3)", state="detached")
    # The walk.
    page.fill("#directions [name=frames]", "3")
    page.click("#directions [data-act=walk]")
    page.wait_for_selector("#directions .film video")
    browser.wait("() => document.querySelector('#directions .film video').readyState > 1")
    film = browser.saved("#directions .film .save", tmp_path)
    assert film.name == "walk.mp4"
    assert film.stat().st_size > 500
    assert page.inner_text("#directions .film code").endswith(
        "--through seed00000.npz seed00000-2.npz --frames 3 --out walk.mp4"
    )


@browsed
def test_mix(styled, visit, tmp_path, monkeypatch):
    browser = visit(f"{styled.url}#mix")
    page, image = browser.page, "#mix .shown img"
    first = browser.first(image)
    layers = int(page.get_attribute("#mix [name=crossover]", "max") or 0)
    assert layers == 8
    assert page.inner_text("#mix output") == f"{layers // 3} of {layers}"
    most = browser.changes(image, lambda: browser.set("#mix [name=crossover]", layers))
    assert (browser.changes(image, lambda: browser.set("#mix [name=crossover]", 0)) != most).any()
    # The sources along the top and down the side stay; what is mixed of them does not.
    side = first.shape[0] // 4
    np.testing.assert_array_equal(most[:side], first[:side])
    saved = browser.saved("#mix .save", tmp_path).rename(tmp_path / "shown.png")
    repeated(page.inner_text("#mix figcaption code"), tmp_path, monkeypatch)
    same(saved, tmp_path / "mix00000.png")


@pytest.fixture
def quick(monkeypatch):
    """Networks of a few layers, in place of VGG16."""
    monkeypatch.setattr(lpips, "load", small_metric)
    monkeypatch.setattr(Style, "load_network", lambda self, console: small_network())
    for layers in ("content_layers", "style_layers"):
        monkeypatch.setattr(Style, layers, ("relu2_1",))
    parse = session.parse

    def parsed(*arguments: Any) -> Any:
        command = parse(*arguments)
        layers = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}
        return cfg.dataclasses.replace(command, **layers) if isinstance(command, Style) else command

    monkeypatch.setattr(session, "parse", parsed)


def picture(path: Path, size: tuple[int, int] = (48, 40), seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)).save(path)
    return path


@browsed
@pytest.mark.usefixtures("quick")
def test_project(styled, visit, tmp_path):
    browser = visit(f"{styled.url}#project")
    page = browser.page
    page.click("#project [data-act=start]")
    assert browser.line() == "drop a picture first"
    whole = picture(tmp_path / "me.png").read_bytes()
    page.set_input_files("#project input[type=file]", [{"name": "cut.png", "mimeType": "", "buffer": whole[:300]}])
    browser.wait(
        "() => document.querySelector('#error span').textContent.startsWith('cut.png: cannot be read as a pic')"
    )
    page.set_input_files("#project input[type=file]", [{"name": "a b;c.txt", "mimeType": "", "buffer": b"no"}])
    browser.wait("() => document.querySelector('#error span').textContent.startsWith('a b_c.txt: not a picture in')")
    deep = Image.fromarray(np.full((40, 40), 40000, np.uint16))
    deep.save(tmp_path / "deep.png")
    page.set_input_files("#project input[type=file]", [tmp_path / "deep.png"])
    page.wait_for_selector("#project .drop img[src]")
    assert browser.picture("#project .drop img").mean() == 156  # 40,000 of 65,535.
    browser.changes(
        "#project .drop img", lambda: page.set_input_files("#project input[type=file]", [tmp_path / "me.png"])
    )
    browser.set("#project [name=steps]", 20)
    shown = []
    page.expose_function("seen", lambda text: shown.append(text))
    page.evaluate(
        "() => new MutationObserver(() => seen(document.querySelector('#project .job span').textContent))"
        ".observe(document.querySelector('#project .job'), { subtree: true, childList: true })"
    )
    page.click("#project [data-act=start]")
    page.wait_for_selector("#project .after:not([hidden])")
    assert any(re.match(r"\d+/20  LPIPS \d", text) for text in shown), shown
    assert page.inner_text("#project figcaption code").endswith("me.png --steps 20 --out me.gif")
    assert browser.picture("#project .shown img").shape == (32, 32, 3)
    # What was found moves along directions.
    page.click("#project [data-act=along]")
    browser.wait("() => document.querySelector('#directions .shown figcaption code').textContent.includes('me-2.npz')")
    page.wait_for_selector("#directions .from:not([hidden])")
    image = "#directions .shown img"
    found = browser.picture(image)
    moved = browser.changes(image, lambda: page.locator("#directions .amounts input").nth(1).fill("-4"))
    assert (moved != found).any()


@browsed
@pytest.mark.usefixtures("quick")
def test_style_develops_while_sliders_answer_and_what_is_stopped_stays(styled, visit, tmp_path):
    browser = visit(f"{styled.url}#style")
    page = browser.page
    content, first, second = (picture(tmp_path / f"{name}.png", seed=seed) for seed, name in enumerate("abc"))
    page.click("#style [data-act=start]")
    assert browser.line() == "drop a content first"
    page.set_input_files("#style [data-place=content] input", [content])
    page.wait_for_selector("#style [data-place=content] img[src]")
    page.set_input_files("#style label[data-place=style] input", [first, second])
    page.wait_for_selector("#style li:nth-child(2) img[src]")
    page.locator("#style li:nth-child(2) input").fill("0.5")
    browser.set("#style [name=steps]", 1000)
    page.select_option("#style [name=size]", "512")
    page.click("#style [data-act=start]")
    page.wait_for_selector("#style .shown img[src]")
    shown = page.inner_text("#style code")
    assert shown == "jaxgan style a.png b.png c.png --size 512 --steps 1000 --blend 1 0.5 --out stylized.png"
    page.wait_for_function("() => / left$/.test(document.querySelector('#style .job span').textContent)")
    # Sliders answer meanwhile.
    browser.open("generate")
    browser.changes("#generate .shown img", lambda: browser.set("#generate [data-for=seed]", 5))
    browser.open("style")
    assert page.is_visible("#style .job")
    page.click("#style .job button")
    page.wait_for_selector("#style .job", state="hidden")
    saved = browser.saved("#style .save", tmp_path)
    with Image.open(saved) as kept:
        assert kept.size in ((256, 214), (512, 427))  # Of the stage that it was at.
    # Another, to its end.
    browser.set("#style [name=steps]", 20)
    page.select_option("#style [name=size]", "128")
    page.click("#style [data-act=start]")
    browser.wait("() => document.querySelector('#style code').textContent.includes('--size 128')")
    page.wait_for_selector("#style .job", state="hidden")
    browser.wait("() => document.querySelector('#style .shown img').naturalWidth === 128")


@browsed
def test_train_is_watched_and_nothing_is_written(styled, visit, runs, tmp_path):
    live = runs / "live"
    shutil.copytree(runs / "points", live)
    before = {path: path.read_bytes() for path in live.rglob("*") if path.is_file()}
    browser = visit(f"{styled.url}#train")
    page, image = browser.page, "#train .samples img"
    browser.wait("() => document.querySelector('#train .stands').textContent.startsWith('Step 0 of 1')")
    assert page.input_value("#train [name=run]") == "styled"
    assert not page.is_visible("#train .losses")
    browser.changes(image, lambda: page.select_option("#train [name=run]", "live"))
    browser.wait("() => document.querySelector('#train .stands').textContent.startsWith('Step 12 of 12')")
    assert "looks it takes to judge" in page.inner_text("#train .words")
    page.wait_for_selector("#train .losses img[src]")
    # D's landscape moves as the slider does.
    browser.wait("() => document.querySelector('#train output').textContent === '12'")
    last = browser.picture(image)
    np.testing.assert_array_equal(last, np.asarray(Image.open(live / "samples" / "000012.png")))
    first = browser.changes(image, lambda: browser.set("#train [name=look]", 0))
    np.testing.assert_array_equal(first, np.asarray(Image.open(live / "samples" / "000003.png")))
    browser.changes(image, lambda: page.click("#train [data-act=play]"))
    page.click("#train [data-act=play]")
    assert {path: path.read_bytes() for path in live.rglob("*") if path.is_file()} == before
    # It follows a run that goes on.
    browser.set("#train [name=look]", 3)
    browser.wait("() => document.querySelector('#train output').textContent === '12'")
    with (live / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps({"step": 15, "discriminator/loss": 1.0, "generator/loss": 1.0}) + "\n")
    shutil.copy(live / "samples" / "000003.png", live / "samples" / "000015.png")
    browser.wait("() => document.querySelector('#train output').textContent === '15'")
    assert page.inner_text("#train .stands").startswith("Step 15 of 12, training")
    shutil.rmtree(live)


@browsed
def test_tabs_that_have_nothing_say_why(runs, visit):
    said = {}
    for name in ("points", "labelled", "new"):
        page = server.Page(table.Table(runs / name))
        browser = visit(page.url)
        browser.page.wait_for_selector("main > section:not([hidden])")
        for tab in ("generate", "directions", "mix", "project", "train"):
            why = browser.page.query_selector(f"#{tab} .why")
            said[name, tab] = why and why.text_content()
        if name == "labelled":
            image = "#generate .shown img"
            browser.page.wait_for_selector(f"{image}[src]")
            browser.changes(image, lambda browser=browser: browser.page.select_option("#generate [name=label]", "3"))
            browser.wait("() => document.querySelector('#generate code').textContent.includes('--label 3')")
        page.close()
    for tab in ("generate", "directions", "mix", "project"):
        assert "makes points, not pictures" in said["points", tab]
        assert "has no checkpoint yet" in said["new", tab]
    assert "has no styles to mix" in said["labelled", "mix"]
    assert {said["labelled", tab] for tab in ("generate", "directions", "project", "train")} == {None}


# Who is let in, and to what.


class Told:
    """A connection as a page has it, for messages of one's own."""

    def __init__(self, web: Any) -> None:
        self.web = web
        self._news: list[dict[str, Any]] = []  # Of long work, which tells how it goes by itself.

    def ask(self, blob: bytes = b"", **message: Any) -> tuple[dict[str, Any], bytes]:
        """Asks, and returns the answer."""
        self.web.send(server.pack({"id": 1, **message}, blob))
        while "id" not in (found := server.unpack(self.web.recv(60)))[0]:
            self._news.append(found[0])
        return found

    def news(self) -> dict[str, Any]:
        """What is told next of long work."""
        return self._news.pop(0) if self._news else server.unpack(self.web.recv(60))[0]

    def end(self) -> dict[str, Any]:
        """What is told last of it."""
        while "end" not in (found := self.news()):
            pass
        return found


@contextlib.contextmanager
def told(url: str):
    host = url.removeprefix("http://").strip("/")
    with connect(f"ws://{host}/play", origin=f"http://{host}") as web:  # pyright: ignore[reportArgumentType]
        yield Told(web)


def test_pages_from_elsewhere_are_refused(styled):
    host = styled.url.removeprefix("http://").strip("/")
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
        with pytest.raises(websockets.InvalidStatus), connect(f"ws://{host}/play", origin=origin):  # pyright: ignore
            pass
    with pytest.raises(websockets.InvalidStatus), connect(f"ws://{host}/play"):
        pass
    # A name that leads here by somebody else's doing.
    for path, wanted in (("", 200), ("page.js", 200), ("play.py", 404), ("../server.py", 404)):
        with urllib.request.urlopen(f"{styled.url}{path}") if wanted == 200 else contextlib.nullcontext() as answer:
            if answer is None:
                with pytest.raises(urllib.error.HTTPError, match=str(wanted)) as failed:
                    urllib.request.urlopen(f"{styled.url}{path}")
                failed.value.close()
            else:
                assert answer.status == wanted
                assert "default-src 'self'" in answer.headers["content-security-policy"]
    request = urllib.request.Request(styled.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400") as failed:
        urllib.request.urlopen(request)
    failed.value.close()


def test_what_is_not_for_the_page_is_refused_in_one_line(styled):
    with told(styled.url) as page:
        for message, line in (
            ({"do": "sample", "options": {"out": "/tmp/x"}}, "--out: is not for the page"),
            ({"do": "sample", "options": {"seeds": "0-999"}}, "--seeds must be at most 100, not 1000"),
            ({"do": "sample", "options": {"seeds": "7 --out /tmp/x"}}, "--seeds: must be seeds and ranges of them"),
            ({"do": "sample", "options": {"label": 3}}, "is not conditional; train with --conditional"),
            ({"do": "mix", "options": {"crossover": 99}}, "--crossover must be 0 to 8, the layers of"),
            ({"do": "mix", "options": {"rows": 50}}, "--rows must be at most 8, not 50"),
            ({"do": "look", "run": "../..", "step": 1}, "../..: no such run here"),
            ({"do": "watch", "run": "/etc"}, "/etc: no such run here"),
            ({"do": "file", "kept": "../x.npz"}, "../x.npz: is not kept here"),
            ({"do": "__init__"}, "__init__: the page asks for what there is not"),
            ({"do": "upload", "place": "../up", "name": "x"}, "../up: no place for a file"),
            ({"do": "move", "amounts": [1e9]}, "amounts: must be numbers of at most 100"),
            ({"do": "walk", "kept": []}, "keep two latents at least"),
        ):
            reply, _ = page.ask(b"", **message)
            assert line in reply["error"], (message, reply)
            assert reply["error"].count("\n") == 0
        too_much = b"x" * (session.LIMIT + 2**17)
        with pytest.raises(websockets.ConnectionClosed):
            _ = [page.web.recv(60) for _ in range(2) if page.web.send(too_much) is None]


def test_a_password_lets_in(runs):
    played = table.Table(runs / "new")
    bound = server._bound("127.0.0.1", 0)
    serving = server._server(server.app(played, password="open sesame"))
    import threading

    thread = threading.Thread(target=serving.run, args=([bound],), daemon=True)
    thread.start()
    with told(server._url("127.0.0.1", bound)) as page:
        assert page.ask(do="hello")[0] == {"id": 1, "password": "needed"}
        assert page.ask(do="runs")[0] == {"id": 1, "password": "needed"}
        since = time.monotonic()
        assert page.ask(do="hello", password="open")[0] == {"id": 1, "password": "wrong"}
        assert time.monotonic() - since > 0.9
        assert "run" in page.ask(do="hello", password="open sesame")[0]
        assert "runs" in page.ask(do="runs")[0]
    serving.should_exit = True
    thread.join(10)


@browsed
def test_two_browsers_do_not_see_each_others(styled, visit, temporary, tmp_path):
    folders = lambda: {path.name for path in temporary.glob("jaxgan-play-*")}  # noqa: E731
    before = folders()
    one, two = visit(f"{styled.url}#directions"), visit(f"{styled.url}#directions")
    for browser in (one, two):
        browser.page.wait_for_selector("#directions .shown img[src]")
    one.page.click("#directions [data-act=keep]")
    one.page.wait_for_selector("#directions .kept li")
    one.open("style")
    one.page.set_input_files("#style [data-place=content] input", [picture(tmp_path / "mine.png")])
    one.page.wait_for_selector("#style [data-place=content] img[src]")
    assert len(folders() - before) == 2
    assert two.page.locator("#directions .kept li").count() == 0
    with told(styled.url) as page:
        assert "is not kept here" in page.ask(do="file", kept="seed00000.npz")[0]["error"]
        assert page.ask(do="style")[0]["error"] == "drop a content first"
    two.page.reload()
    two.page.wait_for_selector("#directions .shown img[src]")
    assert two.page.locator("#directions .kept li").count() == 0
    # What was uploaded goes with the page.
    one.page.goto("about:blank")
    two.page.goto("about:blank")
    for _ in range(100):
        if not folders() - before:
            break
        time.sleep(0.05)
    assert folders() == before


@pytest.mark.usefixtures("quick")
def test_long_work_is_done_one_after_another_and_a_page_that_goes_ends_its_own(styled):
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(told(styled.url)) for _ in range(2))
        for page in (first, second):
            page.ask(do="demo", place="content")
            page.ask(do="demo", place="style 1")
        first.ask(do="style", options={"steps": 1000, "size": 512})
        assert first.news()["text"].startswith("compiling")
        second.ask(do="style", options={"steps": 2, "size": 64})
        assert second.news()["text"] == "waiting for another's work to end"
        assert "there is work under way" in second.ask(do="style", options={"steps": 2})[0]["error"]
        first.web.close()
        assert second.news()["text"].startswith("compiling")
        last = second.end()
        assert last["end"] == "done"
        assert last["command"] == "jaxgan style chelsea.jpg swirls.jpg --steps 2 --size 64 --out stylized.png"


@pytest.mark.parametrize("knows", [False, True], ids=["send fails", "closed"])
def test_a_page_that_goes_while_a_picture_is_made_leaves_nothing(knows, temporary, capsys):
    """Neither files nor an error on the terminal, whether its session knows of it already or not."""
    made: list[bool] = []

    def send(header, blob):
        if page._gone.is_set() or made:
            raise RuntimeError("there is nobody")

    def picture():
        made.append(True)
        file = page._folder / "picture.png"
        if knows:
            page.close()
            page._folder.mkdir()  # As who writes a file beside its place does.
        file.write_bytes(b"...")
        return file.read_bytes()

    def work(show):
        show(1, 3, "", picture)
        show(2, 3, "", picture)
        raise AssertionError("it goes on for nobody")

    page = session.Session(None, send)  # pyright: ignore[reportArgumentType]
    folder = page._folder
    assert folder.parent == temporary
    page._begin("style", work, "compiling")
    for thread in threading.enumerate():
        if thread.name == "jaxgan-style":
            thread.join(30)
    page.close()
    assert len(made) == 1
    assert not folder.exists()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("quick")
def test_what_goes_wrong_in_long_work_is_one_line(styled):
    with told(styled.url) as page:
        assert "error" not in page.ask(thin(), do="upload", place="content", name="thin.png")[0]
        page.ask(do="demo", place="style 1")
        page.ask(do="style", options={"steps": 2, "size": 128})
        last = page.end()
        assert last["end"] == "failed"
        assert last["error"].startswith("thin.png: 400 x 40 pixels, 128 x 13 at size 128: too narrow")


def thin() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 40), "teal").save(buffer, "png")
    return buffer.getvalue()


def test_memory_and_disk_stay_as_they_are_over_500_moves(styled, runs, temporary):
    import psutil

    process = psutil.Process()
    sizes = lambda: sum(path.stat().st_size for path in runs.rglob("*") if path.is_file())  # noqa: E731
    with told(styled.url) as page:

        def moves(count: int) -> None:
            for index in range(count):
                page.ask(do="sample", options={"seeds": str(index), "truncation": 0.5 + index % 10 / 10})
                page.ask(do="move", seed=index, amounts=[index % 7 - 3, 1])

        moves(25)
        before, disk = process.memory_info().rss, (sizes(), len(list(temporary.glob("jaxgan-play-*/**/*"))))
        moves(250)
        assert process.memory_info().rss - before < 30e6
        assert (sizes(), len(list(temporary.glob("jaxgan-play-*/**/*")))) == disk


# The command.


def test_a_taken_port_and_a_host_without_password_are_one_line(capsys, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = fails(["play", tmp_path, "--port", port, "--no-browser"], capsys)
        assert line == f"jaxgan: --port {port}: is taken; choose another, or leave it out\n"
    assert "lets others in; give a --password" in fails(["play", tmp_path, "--host", "0.0.0.0"], capsys)
    assert "--port must be at most 65535" in fails(["play", tmp_path, "--port", 70000], capsys)
    assert "this machine" in fails(["play", tmp_path, "--host", "203.0.113.7", "--password", "x"], capsys)


def test_ctrl_c_ends_the_command_in_the_midst_of_work(runs):
    command = [sys.executable, "-m", "jaxgan", "play", str(runs / "new"), "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        ready = next(line for line in iter(process.stdout.readline, "") if "ready after" in line)
        url = re.search(r"http://\S+", ready)
        assert url is not None
        with told(url[0]) as page:
            page.ask(do="demo", place="content")
            page.ask(do="demo", place="style 1")
            reply, _ = page.ask(do="style", options={"size": 64})
            assert reply["command"].startswith("jaxgan style chelsea.jpg swirls.jpg")
            assert "compiling" in page.news()["text"]
            time.sleep(1)  # It is in the midst of it.
            since = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert time.monotonic() - since < 10
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_a_notebook_shows_it(runs):
    run = jaxgan.Run(runs / "labelled")
    shown = run.play()
    assert run.play() is shown
    assert f'<iframe src="{shown.url}"' in shown._repr_html_()
    with told(shown.url) as page:
        assert page.ask(do="runs")[0]["runs"] == ["labelled"]
        assert page.ask(do="sample", options={"seeds": "3"})[1].startswith(b"\x89PNG")
    shown.close()
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(shown.url)
