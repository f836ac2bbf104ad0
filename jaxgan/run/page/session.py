"""What one browser does on the page. A move is a command line: it is parsed as one, drawn by it, and shown with it."""

import contextlib
import io
import itertools
import re
import shlex
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from importlib import resources, util
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxgan.cli.latent import Mix, Project
from jaxgan.cli.options import check_range, check_seed, check_truncation, parse, seeds
from jaxgan.cli.sample import Interpolate, Sample, save_walk
from jaxgan.cli.style import DEMO, Style
from jaxgan.data.pictures import DEEP, deep_grey, open_picture
from jaxgan.latent import mix, saved
from jaxgan.run import directory
from jaxgan.run.page.table import Table
from jaxgan.style import pictures, transfer
from jaxgan.style.progress import Pace
from jaxgan.support import images
from jaxgan.support.console import open_console
from jaxgan.support.errors import JaxganError, UserError

LIMIT = 32 * 2**20
"""Bytes of a file that is given to the page, at the most."""
Reply = tuple[dict[str, Any], bytes]

_COMMANDS = {"sample": Sample, "mix": Mix, "interpolate": Interpolate, "project": Project, "style": Style}
_OPTIONS = {  # What the page may set of each command; nothing that names files.
    "sample": {"seeds", "truncation", "label"},
    "mix": {"rows", "columns", "crossover", "seed", "truncation", "label"},
    "interpolate": {"frames", "label"},
    "project": {"steps", "plus", "label"},
    "style": {"style-weight", "content-weight", "size", "steps", "blend"},
}
_PICTURES = 100  # Of one move, at the most.
_KEPT = 24  # Latents, at the most.
_STYLES = 8
_EVERY = 0.3  # Seconds from one picture on the way to the next.
_TURN = threading.Lock()  # Long work is done one after another, whoever wants it.


class _Stopped(Exception):
    """The user has stopped long work, or has gone."""


class Session:
    """One browser's uploads, latents and long work. All of it goes with its connection."""

    def __init__(self, table: Table, send: Callable[[dict[str, Any], bytes], None]) -> None:
        """Begins with nothing.

        Args:
            table: what is played with.
            send: tells the page something that it did not ask for, from any thread.
        """
        self._table, self._send = table, send
        self._folder = Path(tempfile.mkdtemp(prefix="jaxgan-play-"))
        self._uploads: dict[str, Path] = {}
        self._kept: dict[str, saved.Latent] = {}
        self._point: tuple[str, jax.Array, int | None] | None = None  # That the page shows: its name, it, its class.
        self._stop: threading.Event | None = None  # Of the long work under way.
        self._gone = threading.Event()  # The page has.

    def close(self) -> None:
        """Ends long work, and deletes what was uploaded."""
        self._gone.set()
        self.stop({}, b"")
        shutil.rmtree(self._folder, ignore_errors=True)

    def answer(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Does what the page asks, or says in one line why not."""
        try:
            what = message.get("do")
            if not isinstance(what, str) or what not in _ANSWERS:
                raise UserError(f"{what}: the page asks for what there is not; load it again")
            return _ANSWERS[what](self, message, blob)
        except Exception as error:
            return {"error": self._line(error)}, b""

    def _line(self, error: Exception) -> str:
        """An error as the command line shows it; of files that were uploaded, by their names."""
        if isinstance(error, OSError) and error.filename is not None:
            error = UserError(f"{error.filename}: {error.strerror}")
        if not isinstance(error, JaxganError):
            traceback.print_exception(error)
            return "something went wrong that should not; the terminal says what"
        return re.sub(rf"{re.escape(str(self._folder))}/[^/\s]+/", "", str(error))

    # Moves.

    def hello(self, message: dict[str, Any], blob: bytes) -> Reply:
        """What there is to play with."""
        table, trained = self._table, self._table.trained
        about: dict[str, Any] = {"run": str(table.run), "why": table.why, "limit": LIMIT, "classes": 0, "styles": 0}
        if trained is not None:
            about |= {"step": int(trained.state.step), "classes": trained.classes, "directions": len(table.found)}
            if mix.has_styles(trained.game):
                about["styles"] = getattr(trained.game.generator, "layers", 0)
        return about, b""

    def sample(self, message: dict[str, Any], blob: bytes) -> Reply:
        """A picture as `sample --seeds` writes it to a folder; of several the sheet."""
        command, words = self._command("sample", message)
        chosen = seeds(command.seeds or "0")
        check_range("seeds", len(chosen), 1, _PICTURES)
        _, pictures, _ = command.drawn(self._generator("generate"))
        if len(chosen) == 1:
            about = {"command": _shown(*words, "--out", "pictures"), "name": f"seed{chosen[0]:05}.png"}
            return about, _png(pictures[0])
        name = f"seeds{chosen[0]:05}-{chosen[-1]:05}.png"
        columns, _ = images.layout(*pictures.shape[:3])
        about = {"command": _shown(*words, "--out", name), "name": name, "columns": columns}
        return about, _png(images.sheet(pictures))

    def mix(self, message: dict[str, Any], blob: bytes) -> Reply:
        """The sheet of `jaxgan mix`."""
        command, words = self._command("mix", message)
        check_range("rows", command.rows, 1, 8)
        check_range("columns", command.columns, 1, 8)
        _, sheet, mixed = command.drawn(self._generator("mix"))
        name = f"mix{command.seed:05}.png"
        return {"command": _shown(*words, "--out", name), "name": name, "mixed": mixed}, _png(sheet)

    def move(self, message: dict[str, Any], blob: bytes) -> Reply:
        """A sample, or a latent that was kept, moved along directions."""
        self._generator("directions")
        amounts = [float(amount) for amount in message["amounts"]][: len(self._table.found)]
        if not all(abs(amount) <= 100 for amount in amounts):
            raise UserError("amounts: must be numbers of at most 100")
        if (name := message.get("kept")) is not None:
            point, label = self._place(name)
            name = Path(name).stem
        else:
            seed, truncation, label = (message.get(field) for field in ("seed", "truncation", "label"))
            check_seed(seed := int(seed or 0))
            check_truncation(truncation := truncation and float(truncation))
            point, name = self._table.point(seed, truncation, label), f"seed{seed:05}"
            label = label if self._table.trained and self._table.trained.classes else None
        point = self._table.moved(point, amounts, label)
        self._point = name, point, label
        free = self._free(name)  # As its file will be called, if it is kept.
        words = [str(self._table.run), "--through", f"{free}.npz", "--frames", "1", "--out", f"{free}.png"]
        return {"command": _shown("interpolate", *words), "name": f"{free}.png"}, _png(self._table.render(point, label))

    def keep(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Keeps the latent that is shown, under a name."""
        if self._point is None:
            raise UserError("there is no picture yet whose latent could be kept")
        return {"kept": self._keep(*self._point)}, b""

    def file(self, message: dict[str, Any], blob: bytes) -> Reply:
        """The file of a latent that is kept, as `jaxgan project` writes it."""
        return {"name": message["kept"]}, saved.encode(*self._place(message["kept"]))

    def forget(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Forgets a latent."""
        self._kept.pop(message["kept"], None)
        return {}, b""

    # Files.

    def upload(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Takes a file for a place: "target", "content", "style 1" ..., or a "latent"; shows the picture it is."""
        place, name = message["place"], _plain(message["name"])
        known = ("target", "content", "latent", *(f"style {number}" for number in range(1, _STYLES + 1)))
        if place not in known:
            raise UserError(f"{place}: no place for a file; there are {_STYLES} for styles at the most")
        if len(blob) > LIMIT:
            raise UserError(f"{name}: more than {LIMIT // 2**20} MiB")
        folder = self._folder / place.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        self._uploads.pop(place, None)
        folder.mkdir()
        path = folder / name
        path.write_bytes(blob)
        if place == "latent":
            trained = self._generator("directions")
            point, label = saved.load(path, trained.game, trained.state.ema, trained.classes, str(self._table.run))
            self._point = path.stem, point, (label or 0) if trained.classes else None
            return {"kept": self._keep(*self._point)}, _png(self._table.render(point, self._point[2]))
        picture = open_picture(path)
        self._uploads[place] = path
        if picture.mode in DEEP:
            picture = Image.fromarray(np.round(255 * deep_grey(picture)).astype(np.uint8))
        picture = picture.convert("RGBA")
        picture.thumbnail((256, 256))
        return {"name": name}, _png(np.asarray(picture))

    def remove(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Forgets a file."""
        if path := self._uploads.pop(message["place"], None):
            path.unlink(missing_ok=True)
        return {}, b""

    def demo(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Takes one of the two pictures of `style --demo` for a place."""
        name = DEMO[message["place"] != "content"].name
        path = resources.files("jaxgan.support") / "assets" / "style" / name
        return self.upload({"place": message["place"], "name": name}, path.read_bytes())

    # Long work.

    def project(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Begins to search the latent of the picture that was dropped."""
        trained = self._generator("project")
        path = self._uploaded("target", "drop a picture first")
        command, words = self._command("project", message, str(path))
        stem = path.stem

        def work(show: "_Show") -> Reply:
            def on_picture(done: int, text: str, picture: np.ndarray) -> None:
                show(done, command.steps, text, lambda: _png(trained.put_right(picture[None])[0]))

            _, label, _, found = command.found(on_picture, trained)
            point = self._point = stem, found.latent, label
            shown = _shown(*words, "--out", f"{stem}.gif")
            picture = images.to_uint8(np.asarray(found.picture))[None]
            about = {"kept": self._keep(*point), "distance": float(found.distance), "command": shown}
            return about, _png(trained.put_right(picture)[0])

        return self._begin("project", work, "compiling")

    def walk(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Begins a walk through latents that were kept."""
        trained = self._generator("directions")
        named = [str(name) for name in message["kept"]]
        known = {name: self._place(name) for name in named}
        if len(named) < 2:
            raise UserError("keep two latents at least: a walk leads from one to the next")
        command, words = self._command("interpolate", message, "--through", *named)
        check_range("frames", command.frames, 2, 60)
        ending = ".mp4" if util.find_spec("imageio_ffmpeg") else ".webp"

        def work(show: "_Show") -> Reply:
            def on_batch(done: int, count: int) -> None:
                show(done, count, "pictures", None)

            _, pictures = command.drawn(trained, known, on_batch)
            show(len(pictures), len(pictures), "writing the video", None)
            path = self._folder / f"walk{ending}"
            save_walk(path, pictures)
            film = path.read_bytes()
            path.unlink()
            return {"command": _shown(*words, "--out", path.name), "name": path.name}, film

        return self._begin("walk", work, "drawing")

    def style(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Begins a style transfer between the pictures that were dropped."""
        content = self._uploaded("content", "drop a content first")
        styles = [path for place, path in sorted(self._uploads.items()) if place.startswith("style ")]
        if not styles:
            raise UserError("drop a style first")
        command, words = self._command("style", message, str(content), *map(str, styles))
        command = command.checked()
        if command.size == "original" or (command.size or 0) > 1024:
            raise UserError("--size: at most 1024 on the page; the command line goes further")
        shown = _shown(*words, "--out", "stylized.png")

        def work(show: "_Show") -> Reply:
            return {"command": shown, "name": "stylized.png"}, _stylize(command, self._folder / "stylized.png", show)

        return self._begin("style", work, "compiling (about half a minute a size)", {"command": shown})

    def stop(self, message: dict[str, Any], blob: bytes) -> Reply:
        """Has long work end at its next look."""
        if self._stop is not None:
            self._stop.set()
        return {}, b""

    def _begin(
        self, kind: str, work: "Callable[[_Show], Reply]", text: str, about: dict[str, Any] | None = None
    ) -> Reply:
        """Starts a thread for long work, which tells the page how it goes."""
        if self._stop is not None:
            raise UserError("there is work under way: wait for it, or stop it")
        stop = self._stop = threading.Event()

        def run() -> None:
            show = _Show(kind, stop, self._gone, self._tell)
            try:
                if not _TURN.acquire(blocking=False):
                    self._tell({"job": kind, "text": "waiting for another's work to end"}, b"")
                    while not _TURN.acquire(timeout=0.2):
                        if stop.is_set():
                            raise _Stopped
                try:
                    self._tell({"job": kind, "text": text}, b"")
                    ended, blob = work(show)
                finally:
                    _TURN.release()
                ended = {"end": "done", **ended}
            except _Stopped:
                ended, blob = {"end": "stopped"}, show.picture
            except Exception as error:
                ended, blob = {"end": "failed", "error": self._line(error)}, b""
            self._stop = None
            with contextlib.suppress(_Stopped):
                self._tell({"job": kind, **ended}, blob)
            if self._gone.is_set():  # What the work has made since.
                shutil.rmtree(self._folder, ignore_errors=True)

        threading.Thread(target=run, name=f"jaxgan-{kind}", daemon=True).start()
        return about or {}, b""

    # Helpers.

    def _tell(self, header: dict[str, Any], blob: bytes) -> None:
        """Tells the page how long work goes; one that has gone, and whose session may not know yet, ends the work."""
        try:
            self._send(header, blob)
        except Exception:
            raise _Stopped from None

    def _generator(self, tab: str) -> directory.Trained:
        if tab in self._table.why or self._table.trained is None:
            raise UserError(self._table.why[tab])
        return self._table.trained

    def _command(self, name: str, message: dict[str, Any], *arguments: str) -> tuple[Any, list[str]]:
        """The command that a message means, and its words, with files by their names."""
        given = message.get("options") or {}
        if unknown := given.keys() - _OPTIONS[name]:
            raise UserError(f"--{min(unknown)}: is not for the page")
        words = [*arguments] if name == "style" else [str(self._table.run), *arguments]
        for option, value in given.items():
            if isinstance(value, list):
                words += [f"--{option}", *map(_number, value)]
            elif value is True:
                words += [f"--{option}"]
            elif value not in (None, False, ""):
                words += [f"--{option}", str(value)]
        command = parse(_COMMANDS[name], f"jaxgan {name}", words)
        return command, [name, *(Path(word).name if word.startswith(str(self._folder)) else word for word in words)]

    def _uploaded(self, place: str, missing: str) -> Path:
        if place not in self._uploads:
            raise UserError(missing)
        return self._uploads[place]

    def _place(self, name: str) -> saved.Latent:
        if name not in self._kept:
            raise UserError(f"{name}: is not kept here")
        return self._kept[name]

    def _keep(self, name: str, point: jax.Array, label: int | None) -> str:
        if len(self._kept) >= _KEPT:
            raise UserError(f"{_KEPT} latents are kept already: forget one first")
        name = f"{self._free(name)}.npz"
        self._kept[name] = point, label
        return name

    def _free(self, name: str) -> str:
        """A name, with a number where it is taken."""
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        return next(name for name in names if f"{name}.npz" not in self._kept)


_ANSWERS: dict[str, Callable[[Session, dict[str, Any], bytes], Reply]] = {
    "hello": Session.hello,
    "sample": Session.sample,
    "mix": Session.mix,
    "move": Session.move,
    "keep": Session.keep,
    "file": Session.file,
    "forget": Session.forget,
    "upload": Session.upload,
    "remove": Session.remove,
    "demo": Session.demo,
    "project": Session.project,
    "walk": Session.walk,
    "style": Session.style,
    "stop": Session.stop,
    "runs": lambda session, message, blob: (session._table.listed(), b""),
    "watch": lambda session, message, blob: session._table.watched(str(message["run"]), message.get("have")),
    "look": lambda session, message, blob: ({}, session._table.sheet(str(message["run"]), int(message["step"]))),
}


class _Show:
    """Tells the page how long work goes: how much is done, the time left, now and then a picture on the way.

    Attributes:
        picture: that there was when it was stopped, as a file holds it.
    """

    def __init__(
        self,
        kind: str,
        stop: threading.Event,
        gone: threading.Event,
        send: Callable[[dict[str, Any], bytes], None],
    ) -> None:
        self._kind, self._stop, self._gone, self._send = kind, stop, gone, send
        self._pace: Pace | None = None
        self._since = 0.0
        self.picture = b""

    def __call__(
        self,
        done: int,
        total: int,
        text: str,
        picture: Callable[[], bytes] | None = None,
        stages: tuple[tuple[float, int], ...] | None = None,
    ) -> None:
        """Shows how it goes.

        Args:
            done: of the work.
            total: all of it.
            text: what is to be said of it.
            picture: makes the picture on the way, as a file holds it; called before this returns, or not at all.
            stages: of the work, as `recipe.stages` gives them; one alone if None.

        Raises:
            _Stopped: the user has stopped it.
        """
        if self._stop.is_set():
            self.picture = picture() if picture and not self._gone.is_set() else b""
            raise _Stopped
        self._pace = self._pace or Pace(stages or ((1.0, total),))
        left = self._pace.left(done)
        if (now := time.monotonic()) - self._since < _EVERY:
            return
        self._since = now
        about = {"job": self._kind, "done": done, "total": total, "text": text, "left": left}
        self._send(about, picture() if picture else b"")


def _stylize(command: Style, out: Path, show: _Show) -> bytes:
    """What `jaxgan style` would write to a file of that name."""
    console = open_console(quiet=True)
    job = command.job(*command.read(*command.pictures, console=console))
    options = command.options(job.content.shape, job.grey)
    network, options = command.fitted(command.load_network(console), options, job.content.shape, console)
    stages = options.stages or ()
    total, done = sum(count for _, count in stages), 0

    def written(image: jax.Array) -> bytes:
        pictures.write(out, *command.shown(job, image), settings=command.settings())
        return out.read_bytes()

    def on_chunk(state: transfer.State, history: transfer.History) -> None:
        nonlocal done
        done += len(history["total"])
        size = f"{state.image.shape[1]} x {state.image.shape[0]}"
        text = f"{size}  content {history['content'][-1]:.3f}  style {history['style'][-1]:.4f}"
        show(done, total, text, lambda: written(transfer.picture(state)), stages)

    return written(command.stylized(network, options, job, on_chunk))


def _shown(*words: str) -> str:
    return shlex.join(["jaxgan", *words])


def _number(value: Any) -> str:
    return f"{float(value):g}"


def _plain(name: Any) -> str:
    """A name for a file of the user's, as little changed as can be."""
    return re.sub(r"[^\w.() -]", "_", str(name).replace("\\", "/").rpartition("/")[2])[-80:].lstrip("-. ") or "picture"


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    images.pillow(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
