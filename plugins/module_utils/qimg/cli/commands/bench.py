# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``bench``: time simple requests to an image."""

from __future__ import annotations

from ...operations.bench import MAX_NUMBER, BenchRequest, send
from ...storage.cache import WRITEBACK
from .. import arguments as common
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...storage.cache import CacheMode
    from ..console import Console
    from ..options import Arguments


def _aio(text: str) -> str:
    if text not in ("threads", "native", "io_uring"):
        raise UsageError("Invalid aio option: %s" % text)
    return text


def _cache(text: str) -> CacheMode:
    return common.cache_argument(text, "Invalid cache mode")


def _bytes(what: str, minimum: int) -> Callable[[str], int]:
    return common.size_argument(what, minimum, MAX_NUMBER)


def _number(what: str, minimum: int, maximum: int = MAX_NUMBER) -> Callable[[str], int]:
    return common.count_argument(what, minimum, maximum)


COMMAND = Command(
    "bench",
    "Run simple image benchmark",
    "FILENAME",
    (
        common.FORMAT,
        common.CACHE._replace(convert=_cache),
        Option("count", "c", ("count",), "COUNT", "how many requests (default: 75000)", _number("request count", 1)),
        Option("depth", "d", ("depth",), "DEPTH", "how many at once (default: 64)", _number("queue depth", 1)),
        Option("size", "s", ("buffer-size",), "SIZE", "bytes of each (default: 4096)", _bytes("buffer size", 1)),
        Option("step", "S", ("step-size",), "SIZE", "bytes to the next (default: SIZE of -s)", _bytes("step size", 0)),
        Option("offset", "o", ("offset",), "OFFSET", "where the first one begins", common.size_argument("offset")),
        Option("aio", "i", ("aio",), "AIO", "accepted: threads, native or io_uring; threads are used", _aio),
        Option("native", "n", ("native",), "", "the same as -i native"),
        Option("write", "w", ("write",), "", "write, over what is there (default: read)"),
        Option("pattern", "", ("pattern",), "BYTE", "what to write (default: 0)", _number("pattern byte", 0, 255)),
        Option(
            "flush_interval",
            "",
            ("flush-interval",),
            "COUNT",
            "flush after so many writes",
            _number("flush interval", 0),
        ),
        Option("no_drain", "", ("no-drain",), "", "send more while a flush waits"),
        common.QUIET,
        common.FORCE_SHARE,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
)


def run(console: Console, arguments: Arguments) -> int:
    filename = common.one_filename(arguments)
    cache = WRITEBACK if arguments.cache is None else arguments.cache
    given = {
        name: getattr(arguments, name)
        for name in ("count", "depth", "size", "step", "offset", "pattern", "flush_interval")
        if getattr(arguments, name) is not None
    }
    request = BenchRequest(filename, arguments.format, write=arguments.write, drain=not arguments.no_drain, **given)
    request.check()
    request = request._replace(reference=common.source_of(console, arguments, filename))
    aio = "native" if arguments.native else arguments.aio or "threads"
    opener = common.opener_for(console, arguments, cache).variant(aio=aio)

    def announce() -> None:
        console.write(
            "Sending %d %s requests, %d bytes each, %d in parallel (starting at offset %d, step size %d)\n"
            % (
                request.count,
                "write" if request.write else "read",
                request.size,
                request.depth,
                request.offset,
                request.stride,
            )
        )
        if request.flush_interval:
            console.write("Sending flush every %d requests\n" % request.flush_interval)
        console.flush()

    console.write("Run completed in %3.3f seconds.\n" % send(request, opener, announce))
    return 0
