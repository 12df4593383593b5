"""How the prober is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading


class Ending:
    """Waits to be told to stop: by a line, a signal or the end of standard input."""

    def __init__(self, by_argument: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.told: asyncio.Future[str] = self.loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                self.loop.add_signal_handler(number, self.tell, "signal")
        threading.Thread(target=self.listen, args=(by_argument,), daemon=True).start()

    def listen(self, by_argument: bool) -> None:
        """Read standard input to its end."""
        how = "" if by_argument else "eof"
        for line in sys.stdin.buffer if sys.stdin else ():
            if line.strip() == b"stop":
                how = "stop"
                break
        if how:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.tell, how)

    def tell(self, how: str) -> None:
        """Note how it ended; the first to say so counts."""
        if not self.told.done():
            self.told.set_result(how)
