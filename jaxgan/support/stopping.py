"""Signals that stop long work where it can be taken up again."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def catch_stop() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list instead of letting them interrupt; a second SIGINT interrupts.

    Only the main thread gets signals; in another the list stays empty, and they interrupt as usual.
    """
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    ours = threading.current_thread() is threading.main_thread()  # Another thread cannot, and need not, see signals.
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM) if ours}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
