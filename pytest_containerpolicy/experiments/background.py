"""Something done again and again beside what an experiment does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_END_SECONDS = 5.0


@contextmanager
def repeated(act: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `act` every so many seconds, in a thread, as long as the block lasts."""
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(seconds):
            act()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_END_SECONDS)
