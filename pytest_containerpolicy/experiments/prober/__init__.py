"""The prober: the program that measures, on its own, wherever there is a Python 3.8 or later.

It uses the standard library only, so that `python3 -c SOURCE [REQUEST]` runs it as a local process,
in a pod and in a container alike; `source()` puts its modules into one text. The request is one
line of JSON, the first argument or else the first line of standard input. It answers with lines of
JSON, each with an `event`; the last is `result` or `error`. A line `stop`, SIGTERM or, if the
request came by it, the end of standard input ends traffic and listening early. Times are of the
monotonic clock: a clock that is set meanwhile changes nothing.

    {"kind": "traffic", "url": U, "rate": R, "duration": S, "timeout": S, "connections": "new"|N}
    {"kind": "reach", "probes": [{"id": I, "protocol": "tcp", "host": H, "port": P}]}
    {"kind": "listen", "ports": [{"protocol": "tcp"|"udp", "port": P}], "seconds": S}
"""

from functools import cache
from pathlib import Path

_MODULES = ("wire", "web", "ending", "traffic", "reach", "listeners", "program")
_LOADER = """\
import sys, types
for name, text in PROGRAM:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.main()
"""


@cache
def source() -> str:
    """The whole program as one text, for `python3 -c`."""
    folder = Path(__file__).parent
    texts = [(f"{__name__}.{name}", (folder / f"{name}.py").read_text()) for name in _MODULES]
    return f"PROGRAM = {texts!r}\n{_LOADER}"
