"""Processes that convert pictures: interpreters of their own, which never import the program that has started them.

So a script needs no `if __name__ == "__main__"`, and notebooks and threads can convert as well. A job goes to a process
as a line of JSON and comes back as one. A process ends when its standard input does, however its parent has ended; a
terminal's Ctrl-C, which its own group does not get, is the parent's to answer.
"""

import concurrent.futures
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxgan.data import folder as folders
from jaxgan.support.errors import JaxganError

Job = tuple[Path, Path, Path, list[str], folders.Settings]
"""Arguments of `making.convert_part`."""
_PROGRAM = "import sys; sys.path[:] = {path!r}; from jaxgan.data import workers; workers.serve()"


def results(
    convert: Callable[..., dict[str, Any]], jobs: Sequence[Job], count: int
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Does jobs in so many processes, in this one if one is enough; yields the number and the result of each when done.

    Args:
        convert: does one here, as `serve` does elsewhere.
        jobs: what to do.
        count: of processes.

    Raises:
        JaxganError: one failed, or a process died.
    """
    count = min(count, len(jobs))
    if count < 2 or not sys.executable:  # The latter where Python is part of another program.
        for index, job in enumerate(jobs):
            yield index, convert(*job)
        return
    idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()

    def run(job: Job) -> dict[str, Any]:
        process = idle.get()
        try:
            return _ask(process, job)
        finally:
            idle.put(process)

    with concurrent.futures.ThreadPoolExecutor(count) as threads, contextlib.ExitStack() as processes:
        for _ in range(count):
            idle.put(processes.enter_context(_process()))
        futures = {threads.submit(run, job): index for index, job in enumerate(jobs)}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()


@contextlib.contextmanager
def _process() -> Iterator[subprocess.Popen[str]]:
    program = _PROGRAM.format(path=[os.path.abspath(path) for path in sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # What was not sent, to one that has died.
                assert stream is not None
                stream.close()


def _ask(process: subprocess.Popen[str], job: Job) -> dict[str, Any]:
    folder, path, report, files, settings = job
    assert process.stdin is not None
    assert process.stdout is not None
    answer = ""
    with contextlib.suppress(OSError):
        fields = {"folder": str(folder), "path": str(path), "report": str(report), "files": files}
        process.stdin.write(json.dumps(fields | {"settings": vars(settings)}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    if not answer:
        raise JaxganError(
            f"{folder}: a process that converts pictures has died (out of memory?); the same command goes on"
        )
    found = json.loads(answer)
    if "error" in found:
        raise JaxganError(found["error"])
    return found


def serve() -> None:
    """What a process does: jobs as they come, until there are no more."""
    from jaxgan.data import making

    # Signals that all processes of a job get are the parent's to answer, too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not come between.
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            jobs.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        job = json.loads(jobs.get())
        try:
            folder, path, report = (Path(job[name]) for name in ("folder", "path", "report"))
            found = making.convert_part(folder, path, report, job["files"], folders.Settings(**job["settings"]))
        except JaxganError as error:
            found = {"error": str(error)}
        try:
            answers.write(json.dumps(found) + "\n")
            answers.flush()
        except BrokenPipeError:  # Its parent has been killed, which `listen` may see only after this.
            os._exit(0)
