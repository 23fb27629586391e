# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What several commands have in common: options, sizes, lists of format options, and how images are opened."""

from __future__ import annotations

from ..errors import OptionError
from ..formats.driver import WRITE
from ..formats.opening import Opener
from ..formats.watcher import Watcher
from ..option_text import c_integer, parse_size_option, split_option_list
from ..policy import FOLLOW, ReferencePolicy
from ..references import parse_option_string
from ..sizes import SizeRangeError, SizeSyntaxError, parse_size
from ..storage.cache import WRITEBACK, cache_mode
from .options import HelpRequested, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..crypto.objects import ObjectStore
    from ..formats.driver import Purpose
    from ..references import Reference
    from ..storage.cache import CacheMode
    from .console import Console
    from .options import Arguments

MAX_INT64 = (1 << 63) - 1


# Sizes and numbers


def size_argument(what: str, minimum: int = 0, maximum: int = MAX_INT64) -> Callable[[str], int]:
    """A converter for sizes in bytes.

    :param what: how messages call the value
    """

    def convert(text: str) -> int:
        try:
            value = parse_size(text)
        except SizeSyntaxError as error:
            raise UsageError("Invalid %s specified: '%s'" % (what, text)) from error
        except SizeRangeError:
            value = -1
        if not minimum <= value <= maximum:
            raise UsageError("Invalid %s specified. Must be between %d and %d." % (what, minimum, maximum))
        return value

    return convert


def count_argument(what: str, minimum: int, maximum: int) -> Callable[[str], int]:
    """A converter for numbers that count something other than bytes, and so have no suffixes.

    :param what: how messages call the value
    """

    def convert(text: str) -> int:
        value = c_integer(text)
        if value is None:
            raise UsageError("Invalid %s specified: '%s'" % (what, text))
        if not minimum <= value <= maximum:
            raise UsageError("Invalid %s specified. Must be between %d and %d." % (what, minimum, maximum))
        return value

    return convert


def snapshot_argument(text: str) -> str | tuple[str | None, str | None]:
    """A converter for a snapshot: an id or a name, or ``snapshot.id=…,snapshot.name=…``.

    :raises UsageError: another key
    """
    if not text.startswith("snapshot."):
        return text
    values = option_values(text)
    for name in values:
        if name not in ("snapshot.id", "snapshot.name"):
            raise UsageError(
                "Invalid parameter '%s'" % name, further="Failed in parsing snapshot param '%s'" % text
            )
    return values.get("snapshot.id"), values.get("snapshot.name")


def _output(text: str) -> str:
    if text not in ("human", "json"):
        raise UsageError("--output expects 'human' or 'json', not '%s'" % text, True)
    return text


def option_list(text: str) -> str:
    """A converter for ``-o``.

    :raises UsageError: it is not a list
    """
    trailing = len(text) - len(text.rstrip(","))
    if not text or text.startswith(",") or trailing % 2:
        raise UsageError("Invalid option list: %s" % text)
    return text


def _define_object(store: ObjectStore | None, text: str) -> ObjectStore:
    """Passwords and keys, and one more.

    :raises HelpRequested: the text asks what there is
    """
    from ..crypto.object_text import object_help, parse_object
    from ..crypto.objects import ObjectStore

    answer = object_help(text)
    if answer is not None:
        raise HelpRequested(answer)
    store = store or ObjectStore()
    store.add(parse_object(text))
    return store


# Options

FORMAT = Option("format", "f", ("format",), "FMT", "format of the image; without it, it is detected")
IMAGE_OPTS = Option(
    "image_opts", "", ("image-opts",), "", "FILENAME is a complete specification of the image\nand not a file name"
)
OBJECT = Option(
    "secrets",
    "",
    ("object",),
    "OBJDEF",
    "define an object, for instance\nsecret,id=ID,file=PATH for a password",
    collect=_define_object,
)
QUIET = Option("quiet", "q", ("quiet",), "", "print errors only")
RATE = Option("rate", "r", ("rate-limit", "rate"), "RATE", "bytes per second at the most", size_argument("rate limit"))
PROGRESS = Option("progress", "p", ("progress",), "", "show progress")
FORCE_SHARE = Option(
    "force_share",
    "U",
    ("force-share",),
    "",
    "open the image even if others are writing to it\n(what is read may not fit together)",
)
OUTPUT = Option("output", "", ("output",), "human|json", "how to print the result", _output)
#: Of an image that is written.
CACHE = Option("cache", "t", ("cache",), "CACHE", "cache mode of the image (default: writeback)")
#: Of an image that is read.
SOURCE_CACHE = Option("source_cache", "T", ("cache",), "CACHE", "cache mode of the image (default: writeback)")
FORMAT_OPTIONS = Option(
    "options",
    "o",
    ("options",),
    "OPTIONS",
    "options of the format, as NAME=VALUE,…;\n-o help lists them",
    option_list,
    True,
)


# How images are opened


def one_filename(arguments: Arguments) -> str:
    """The only operand.

    :raises UsageError: there are none, or several
    """
    if len(arguments.operands) != 1:
        raise UsageError("Expecting one image file name", True)
    return arguments.operands[0]


def cache_argument(
    text: str | None, what: str = "Invalid cache option: %s", default: CacheMode = WRITEBACK
) -> CacheMode:
    """The cache mode of a ``-t`` or ``-T``.

    :raises UsageError: there is no such mode
    """
    if text is None:
        return default
    try:
        return cache_mode(text)
    except OptionError as error:
        raise UsageError(what.replace("%s", text)) from error


def opener_for(console: Console, arguments: Arguments, cache: CacheMode = WRITEBACK) -> Opener:
    """What opens the images of a command: like qemu-img, it follows whatever an image names."""
    return Opener(
        ReferencePolicy(FOLLOW),
        force_share=getattr(arguments, "force_share", False),
        cache=cache,
        secrets=arguments.secrets,
        watcher=console,
    )


def try_to_write(
    opener: Opener, reference: Reference, format: str | None, purpose: Purpose = WRITE, backing: bool = True
) -> Opener:
    """Open an image for writing before anything else is looked at, as qemu-img does, and close it again.

    Planning needs only to read; but a user who cannot write the image should be told that first, and nothing else.

    :returns: an opener for what follows, which does not tell the same warnings again
    :raises ImageError: the image cannot be opened so
    """
    opener.open(reference, format, purpose, backing).abandon()
    return opener.variant(watcher=Watcher())


def reference_for(console: Console, text: str, image_opts: bool) -> Reference:
    """What an operand names.

    :raises OptionError: a specification contradicts itself
    """
    return parse_option_string(text, console.warning) if image_opts else text


def source_of(console: Console, arguments: Arguments, text: str) -> Reference:
    """The same, where ``-f`` says nothing about a complete specification.

    :raises UsageError: both were given
    """
    if arguments.image_opts and arguments.format is not None:
        raise UsageError("--image-opts and --format are mutually exclusive")
    return reference_for(console, text, arguments.image_opts)


# -o


def joined(texts: tuple[str, ...]) -> str | None:
    """All ``-o`` in one; ``None`` without any."""
    return ",".join(texts) if texts else None


def wants_help(options: str | None) -> bool:
    """Whether a list asks what the options are."""
    # A doubled comma is part of a value.
    return options is not None and any(item in ("help", "?") for item in options.replace(",,", "\0").split(","))


def size_among(values: dict[str, str]) -> int | None:
    """The size among the values of a list; ``None`` without one.

    One that makes no sense is none either: that is said where the other options are looked at.
    """
    try:
        return parse_size_option("size", values["size"]) if "size" in values else None
    except OptionError:
        return None


def option_values(options: str | None) -> dict[str, str]:
    """The texts of a list by name; of several, the last counts."""
    values = dict(split_option_list(options or ""))
    values.pop("id", None)
    return values
