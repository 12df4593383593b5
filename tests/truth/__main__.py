"""`python -m tests.truth`: write the page; `measure [REGEX]`: first measure the cases anew."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.truth.campaign import measure_all, open_beds
from tests.truth.cases import cases
from tests.truth.page import MEASURED, Kept, keep, kept, page, page_file


def main(arguments: list[str]) -> None:
    """Measure if asked to, and write the page."""
    if arguments[:1] == ["measure"]:
        _measure(arguments[1] if arguments[1:] else "")
    page_file().write_text(page(kept()))


def _measure(pattern: str) -> None:
    """Measure the cases that a pattern finds, and keep the answers of the others."""
    chosen = [case for case in cases() if re.search(pattern, case.id)]
    with TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        with open_beds(Path(folder)) as beds:
            found = measure_all(chosen, beds, _say)
    earlier = kept() if MEASURED.exists() else None
    before = earlier.cases if earlier else {}
    known = {case.id for case in cases()}
    answers = {name: a for name, a in sorted((before | found).items()) if name in known}
    # What is kept of an earlier day makes the whole no newer.
    day = earlier.day if earlier and pattern else time.strftime("%Y-%m-%d")
    keep(Kept(day, answers))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
