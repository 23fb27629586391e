# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our command line does otherwise than qemu-img on purpose.

Each entry has an example, which a test runs on both sides, and is explained in docs/differences.md under its title.
"""
from __future__ import annotations

import re
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.oracle import Answer


class KnownDifference(
    namedtuple("KnownDifference", ["title", "line", "theirs", "ours", "applies", "files_too"], defaults=(False,))
):
    """One difference.

    ``title``: the heading in docs/differences.md; ``line``: an example; ``theirs`` and ``ours``: patterns of what both
    print for it (exit code, standard output, standard error, one after another); ``applies``: whether the answers to
    another command line differ in this way only; ``files_too``: whether the files that are left differ as well.
    """

    __slots__ = ()


def shown(answer: Answer) -> str:
    """An answer as the patterns see it."""
    return "%d|%s|%s" % answer


def _same_but(pattern: str) -> Any:
    """The answers are the same where ``pattern`` is cut out of both."""

    def applies(words: list[str], theirs: Answer, ours: Answer) -> bool:
        return shown(theirs) != shown(ours) and re.sub(pattern, "", shown(theirs)) == re.sub(pattern, "", shown(ours))

    return applies


def _for_all(theirs_pattern: str, ours_pattern: str) -> Any:
    """The answers look so."""

    def applies(words: list[str], theirs: Answer, ours: Answer) -> bool:
        return re.search(theirs_pattern, shown(theirs)) is not None and re.search(ours_pattern, shown(ours)) is not None

    return applies


def _for(command: str, theirs_pattern: str, ours_pattern: str) -> Any:
    """The answers to one command look so."""

    looks_so = _for_all(theirs_pattern, ours_pattern)
    return lambda words, theirs, ours: words[:1] == [command] and looks_so(words, theirs, ours)


#: Debian's 10.0.2 names these in its help, but does not take them, or takes them for something else.
MISTAKEN_LONG_OPTIONS = {
    "bench": ("quiet", "object"),
    "bitmap": ("format",),
    "convert": (
        "source-snapshot", "target-format", "target-options", "target-cache", "compress", "no-create", "progress",
    ),
    "snapshot": ("create", "apply", "delete"),
}  # fmt: skip


_ACTUAL_PATH = r' \(actual path: [^)]*\)|"full-backing-filename": "[^"]*"'
#: What qemu-img has no words of its own for.
_SYSTEM_WORDS = r"(Invalid argument|Input/output error|File too large|Operation not supported|^)\n?$"
_AT_OFFSET = r"(?m)^.* at offset \d+: "
#: It notices this when it writes something compressed, or says nothing at all where it does not.
_UNCOMPRESSED = "An image with an external data file cannot hold compressed clusters"


_TWO_WORDS = "qemu-img: Expecting image file name and size\n"
_EXTRA_WORDS = "qemu-img: Extra argument(s) in command line\n"


def _without_encryption(answer: Answer) -> Answer:
    return answer._replace(stdout=re.sub(r"  encrypt.*\n", "", answer.stdout))


def _without_glib(answer: Answer) -> Answer:
    return answer._replace(stderr=re.sub(r"qemu-img: GLib: .*\n", "", answer.stderr))


def _without_corruption(answer: Answer) -> Answer:
    """The answer without what qemu-img says of a corrupt image in a line of its own, and how it then calls it."""
    stderr = re.sub(r"^qcow2: Image is corrupt: .*\n", "", answer.stderr)
    return answer._replace(stderr=re.sub(r"(: Input/output error)?\n$", ": ", stderr))


def _without_progress(stdout: str) -> str:
    return re.sub(r" *\(\d+\.\d\d/100%\)\r|\n", "", stdout)


#: A raw format in a raw format, and so on, and a file in the innermost.
_DEEP = "json:" + '{"driver":"raw","file":' * 70 + '{"driver":"file","filename":"sparse.raw"}' + "}" * 70

_TWICE = 'qemu-img: warning: Use of "backing": "" is deprecated; use "backing": null instead\n'

#: Command lines on what is no disk: the line, the place, and what both say of it.
ODD_PLACES = (
    ("info /dev/fdset/1", "/dev/fdset/", "Function not implemented", "No such file or directory"),
    ("create -f qcow2 /dev/full 1M", "/dev/full", "header: No space left on device", "Image is not in qcow2 format"),
    ("map --image-opts driver=host_cdrom,filename=/dev/null", "host_cdrom", "Failed to get size for", "^$"),
)


def _said_once(theirs: Answer, ours: Answer) -> bool:
    """qemu-img gives a warning for both images, and we for the first."""
    return theirs.stderr.count(_TWICE) == 2 and theirs._replace(stderr=theirs.stderr.replace(_TWICE, "", 1)) == ours


DIFFERENCES = (
    KnownDifference(
        "The help texts are our own",
        "resize --help",
        r"^0\|Usage:",
        r"^0\|Resize an image\.  Usage:",
        lambda words, theirs, ours: "qemu-img [standard options]" in theirs.stdout or "Arguments:" in theirs.stdout,
    ),
    KnownDifference(
        "The version line names both programs",
        "--version",
        r"^0\|qemu-img version 1[01]\.",
        r"^0\|qemu-img version 11\.1\.0 \(qimg ",
        lambda words, theirs, ours: re.match(r"qemu-img version 1[01]\.", theirs.stdout) is not None
        and ours.stdout.startswith("qemu-img version 11."),
    ),
    KnownDifference(
        "Nothing is traced",
        "-T nonsense info data.qcow2",
        r"^0\|.*\|qemu-img: warning: trace event 'nonsense' does not exist",
        r"^0\|.*\|$",
        _same_but(r"qemu-img: warning: trace event '.*' does not exist\n"),
    ),
    KnownDifference(
        "Numbers of blocks have suffixes",
        "dd count=1k if=odd.raw of=new",
        r"^1\|\|qemu-img: Invalid count specified",
        r"^0\|\|$",
        _for("dd", r"Invalid (count|skip) specified: '", r""),
    ),
    KnownDifference(
        "Options of encrypted images are not known yet",
        "amend -o encrypt.state=active data.qcow2",
        r"Can't amend encryption options",
        r"Invalid parameter 'encrypt\.state'",
        lambda words, theirs, ours: ("encrypt" in theirs.stdout and ours == _without_encryption(theirs))
        or re.search(r"Invalid parameter 'encrypt", ours.stderr) is not None,
    ),
    KnownDifference(
        "A changed image may end elsewhere",
        "check -r leaks leaky.qcow2",
        r"Image end offset: \d+",
        r"Image end offset: \d+",
        _same_but(r'Image end offset: \d+|"image-end-offset": \d+,'),
    ),
    KnownDifference(
        "A target that is said to be zero must not have a backing file",
        "convert -n --target-is-zero -O qcow2 snapshots.qcow2 over.qcow2",
        r"^0\|",
        r"^1\|.*Cannot use --target-is-zero when the destination image has a backing file",
        _for("convert", r"^0", r"Cannot use --target-is-zero when the destination image has a backing file"),
    ),
    KnownDifference(
        "Guest data in the place of tables is refused, and the image left as it is",
        "bench -w -c 1 overlap.qcow2",
        r"Marking image as corrupt: Preventing invalid write on metadata",
        r"is said to be guest data, but it holds tables of the image",
        lambda words, theirs, ours: "Marking image as corrupt" in theirs.stderr and ours.code == theirs.code,
        True,
    ),
    KnownDifference(
        "An image cannot become its own backing file",
        "rebase -b over.qcow2 -F qcow2 over.qcow2",
        r'Failed to get shared "write" lock',
        r"creates an infinite loop",
        lambda words, theirs, ours: words[:1] in (["rebase"], ["convert"])
        and (theirs.code == 0 or "Failed to get shared \"write\" lock" in theirs.stderr)
        and (
            "creates an infinite loop" in ours.stderr
            or "with the same filename as the backing file" in ours.stderr
            or (words[:1] == ["rebase"] and "Could not change the backing file" in ours.stderr and theirs.code == 1)
        ),
    ),
    KnownDifference(
        "An image cannot be its own data file",
        "create -f qcow2 -o data_file=./new new 1M",
        r"^1\|.*Failed to get shared \"resize\" lock",
        r"^1\|.*new: An image cannot be its own data file",
        lambda words, theirs, ours: theirs.code == ours.code
        and "Failed to get shared \"resize\" lock" in theirs.stderr
        and "An image cannot be its own data file" in ours.stderr,
    ),
    KnownDifference(
        "A backing file that nobody named has no name",
        "rebase -u odd.raw",
        r"Could not change the backing file to '\(null\)'",
        r"Could not change the backing file to ''",
        _same_but(r"\(null\)"),
    ),
    KnownDifference(
        "A size just below 2^64 is too large",
        "create -f qcow2 -o size=18446744073709551614 new",
        r"^0\|.* size=-2 ",
        r"^1\|.*Image size cannot be negative",
        lambda words, theirs, ours: re.search(r"\bsize=1844674407370955\d{4}\b", " ".join(words)) is not None,
    ),
    KnownDifference(
        "Nodes are called by their file",
        "bitmap --add -f raw odd.raw b",
        r"Can't store persistent bitmaps to #block\d+: Operation not supported",
        r"Can't store persistent bitmaps to odd\.raw: Operation not supported",
        lambda words, theirs, ours: (
            "#block" in theirs.stderr
            and re.fullmatch(re.sub(r"\\#block\d+", ".*", re.escape(theirs.stderr)), ours.stderr, re.DOTALL) is not None
        )
        or _same_but(r"persistent bitmaps to \S+(?=: Operation not supported)")(words, theirs, ours)
        or (
            words[0] == "rebase"
            and "Cannot use relative backing file names for 'json:" in ours.stderr
            and _same_but(r'"data-file": {[^}]*}, ')(words, theirs, ours)
        ),
    ),
    KnownDifference(
        "Of an option given twice, the last value counts",
        "amend -o size=x,size=2M empty.qcow2",
        r"^1\|\|qemu-img: Parameter 'size' expects a non-negative number",
        r"^0\|\|$",
        lambda words, theirs, ours: theirs.code == 1
        and (found := re.search(r"[Pp]arameter '(\w+)'( expects .*)?\n", theirs.stderr)) is not None
        and " ".join(words).count(found.group(1) + "=") > 1,
    ),
    KnownDifference(
        "O_DIRECT works for files of any length",
        "commit -t none over-odd.qcow2",
        r"^1\|\|qemu-img: Cannot get 'write' permission without 'resize'",
        r"^0\|Image committed\.\n\|$",
        lambda words, theirs, ours: "Image size is not a multiple of request alignment" in theirs.stderr,
    ),
    KnownDifference(
        "Names beside a file with a colon in its name are names",
        "map --image-opts driver=qcow2,file.filename=c:olon-over.qcow2",
        r"^1\|\|.*Could not open backing file: Unknown protocol 'c'",
        r"^0\|Offset",
        lambda words, theirs, ours: any("filename" in word and ":" in word for word in words)
        and (
            re.search(r"Unknown protocol '[^']+'\n$", theirs.stderr) is not None
            or _same_but(_ACTUAL_PATH)(words, theirs, ours)
        ),
    ),
    KnownDifference(
        "Nothing crashes",
        "rebase -c -b odd.raw -F raw subclusters.qcow2",
        r"^-6\|.*Assertion",
        r"^0\|\|$",
        lambda words, theirs, ours: ours.code in (0, 1)
        and (
            theirs.code < 0
            or "Cannot allocate memory" in theirs.stderr
            or ("GLib" in theirs.stderr and _without_glib(theirs) == ours)
        ),
    ),
    KnownDifference(
        "Progress counts what is done",
        "rebase -u -p -b x over.qcow2",
        r"\(100\.00/100%\)",
        r"^1\|    \(0\.00/100%\)\r\n\|",
        lambda words, theirs, ours: theirs.code == ours.code
        and (ours.code != 0 or "Image size mismatch" in ours.stdout)
        and theirs.stderr == ours.stderr
        and _without_progress(theirs.stdout) == _without_progress(ours.stdout),
    ),
    KnownDifference(
        "Errors that have no words say what is wrong",
        "snapshot -c x narrow.qcow2",
        r"Could not create snapshot 'x': Invalid argument",
        r"Could not create snapshot 'x': .* has a refcount of 1",
        lambda words, theirs, ours: theirs.code == ours.code == 1
        and theirs.stdout == ours.stdout
        and (found := re.search(_SYSTEM_WORDS, theirs.stderr)) is not None
        and (_UNCOMPRESSED in ours.stderr or ours.stderr.startswith(theirs.stderr[: found.start()] or "nothing")),
    ),
    KnownDifference(
        "The error itself says what is corrupt",
        "convert unaligned.qcow2 new",
        r"^1\|\|qcow2: Image is corrupt: Cluster allocation offset.* at offset 196608: Input/output error",
        r"^1\|\|qemu-img: error while reading block status at offset 196608: Cluster allocation offset 0x\w+ unaligned",
        lambda words, theirs, ours: theirs.stderr.startswith("qcow2: Image is corrupt: ")
        and (theirs.code, theirs.stdout) == (ours.code, ours.stdout)
        and (
            ours.stderr.startswith(_without_corruption(theirs).stderr)
            # Warnings, one for each sector; qemu-img says each twice.
            or set(re.findall(_AT_OFFSET, theirs.stderr)) == set(re.findall(_AT_OFFSET, ours.stderr))
        ),
    ),
    KnownDifference(
        "Caches of any size, and a warning once",
        "map --image-opts driver=qcow2,file.filename=data.qcow2,cache-size=1T",
        r"^1\|\|.*Could not allocate metadata caches",
        r"^0\|Offset",
        lambda words, theirs, ours: "Could not allocate metadata caches" in theirs.stderr
        # Release 11 tries to flush what cannot be, twice.
        or "Failed flush for '/dev/null' during close" in theirs.stderr
        or _said_once(theirs, ours)
        or any(place in " ".join(words) and re.search(said, theirs.stderr) and re.search(answered, ours.stderr)
               for _, place, said, answered in ODD_PLACES),
    ),
    KnownDifference(
        "What nobody counted is dropped without a word",
        "resize --shrink broken.qcow2 64k",
        r"^0\|Image resized\.\n\|qcow2_free_clusters failed: Invalid argument\n$",
        r"^0\|Image resized\.\n\|$",
        _same_but(r"qcow2_free_clusters failed: Invalid argument\n"),
        True,
    ),
    KnownDifference(
        "Guest data can be read beside broken bitmaps",
        "map directory.qcow2",
        r"^1\|\|qemu-img: Could not open 'directory.qcow2': found bitmaps extension with zero bitmaps",
        r"^0\|Offset",
        lambda words, theirs, ours: re.search(r"[Bb]itmap", theirs.stderr) is not None
        and words[0] in ("bench", "compare", "convert", "dd", "map", "measure"),
    ),
    KnownDifference(
        "Every option of the help is accepted",
        "convert --target-format=qcow2 odd.raw out",
        r"^1\|\|.*unrecognized option '--target-format=qcow2'",
        r"^0\|",
        lambda words, theirs, ours: (words[0] == "measure" and "invalid option -- 's'" in theirs.stderr)
        or any(
            long.startswith(word[2:].partition("=")[0])
            for word in words
            if word.startswith("--")
            for long in MISTAKEN_LONG_OPTIONS.get(words[0], ())
        ),
    ),
    KnownDifference(
        "The options of both releases are accepted",
        "create -f qcow2 -b other.qcow2 -B qcow2 new",
        r"^1\|\|.*invalid option -- 'B'",
        r"^0\|",
        lambda words, theirs, ours: (
            # Of release 10, and of release 11.
            re.match(r"qemu-img info: invalid option -- 'b'|qemu-img create: invalid option -- 'B'", theirs.stderr)
            or "keep_data_file" in ours.stdout
            # What was short for one option of release 10 may be short for two of release 11.
            or ("is ambiguous" in ours.stderr and "is ambiguous" not in theirs.stderr)
        ),
    ),
    KnownDifference(
        "An object that cannot be made is no difference between images",
        "compare --object secret,id=s data.qcow2 empty.qcow2",
        r"^2\|\|.*Either 'file' or 'data' must be provided",
        r"^2\|\|.*Either 'file' or 'data' must be provided",
        lambda words, theirs, ours: words[:1] == ["compare"] and "--object" in words
        and (theirs.code, ours.code) == (1, 2) and theirs.stderr == ours.stderr,
    ),
    KnownDifference(
        "Only drivers that hold images are known",
        "info null-co://",
        r"^0\|image: null-co://",
        r"^1\|\|.*Unknown protocol 'null-co'",
        lambda words, theirs, ours: re.search(r"Unknown (protocol|driver) '[^']*'", ours.stderr) is not None
        and "Unknown " not in theirs.stderr,
    ),
    KnownDifference(
        "Descriptions nest 64 levels deep",
        "map '%s'" % _DEEP,
        r"^0\|Offset",
        r"^1\|\|.*nesting too deep",
        lambda words, theirs, ours: "JSON parse error, nesting too deep" in ours.stderr,
    ),
    KnownDifference(
        "A node is described where it is used",
        "map --image-opts driver=qcow2,file.filename=over.qcow2,file.node-name=node1,backing=node1",
        r"^0\|Offset",
        r"^1\|.*Cannot find device='node1' nor node-name='node1'",
        lambda words, theirs, ours: theirs.code == 0 and "Cannot find device=" in ours.stderr,
    ),
    KnownDifference(
        "Only objects that images need are known",
        "info --object throttle-group,id=g empty.qcow2",
        r"^0\|image: empty\.qcow2",
        r"^1\|\|.*Parameter 'qom-type' does not accept value 'throttle-group'",
        lambda words, theirs, ours: "--object" in words
        and (
            "Parameter 'qom-type' does not accept value" in ours.stderr
            or all("List of user creatable objects" in answer.stdout for answer in (theirs, ours))
        ),
    ),
    KnownDifference(
        "A negative size is a size",
        "create -f qcow2 new -1",
        r"invalid option -- '1'",
        r"Invalid image size specified\. Must be between 0 and",
        lambda words, theirs, ours: re.search(r"invalid option -- '\d'", theirs.stderr) is not None
        or (words[:1] == ["resize"] and theirs.stderr.startswith((_TWO_WORDS, _EXTRA_WORDS)) and ours.code == 1),
    ),
    KnownDifference(
        "An image on an export names other images in full",
        "create -f qcow2 -b base -F raw nbd://127.0.0.1:1/x 1M",
        r"^1\|\|.*nbd://127\.0\.0\.1:1/x: Failed to connect to '127\.0\.0\.1:1'.*Could not open backing image",
        r"^1\|\|.*nbd://127\.0\.0\.1:1/x: Cannot generate a base directory for NBD nodes\n$",
        lambda words, theirs, ours: words[0] in ("create", "rebase")
        and "-b" in words
        and "Cannot generate a base directory for NBD nodes" in ours.stderr,
    ),
    KnownDifference(
        "A name can ask for TLS",
        "info nbds://127.0.0.1:1/x",
        r"Unknown protocol 'nbds'",
        r"Failed to connect to '127\.0\.0\.1:1'",
        lambda words, theirs, ours: "Unknown protocol 'nbds" in theirs.stderr,
    ),
    KnownDifference(
        "A lost connection is not made again",
        "info --image-opts driver=nbd,host=127.0.0.1,port=1,reconnect-delay=5",
        r"Failed to connect to '127\.0\.0\.1:1'",
        r"The option 'reconnect-delay' is not supported",
        lambda words, theirs, ours: "The option 'reconnect-delay' is not supported" in ours.stderr,
    ),
    KnownDifference(
        "A data file is where its image says",
        "map folder/outside.qcow2",
        r"^1\|.*Could not open 'beside\.raw'",
        r"^0\|Offset",
        lambda words, theirs, ours: (words[-1] == "folder/outside.qcow2" and "'beside.raw'" in theirs.stderr)
        or (theirs != ours and re.search(r"Could not open '/dev/fd/[^0-9]", ours.stderr) is not None),
    ),
    KnownDifference(
        "Version 2 hides what lies below it too",
        "resize v2-over.qcow2 2M",
        r"^1\|.*Failed to zero out new clusters: Operation not supported",
        r"^0\|Image resized\.",
        lambda words, theirs, ours: (words[0], theirs.code, ours.code) in (("resize", 1, 0), ("commit", 1, 0))
        and ("Failed to zero out new clusters" if words[0] == "resize" else "Block job failed") in theirs.stderr
        and theirs.stderr.endswith(": Operation not supported\n"),
    ),
    KnownDifference(
        "A snapshot can be returned to however many share its clusters",
        "snapshot -a s1 crowded.qcow2",
        r"^1\|.*Could not apply snapshot 's1': Failed to load snapshot: Invalid argument",
        r"^0\|\|$",
        lambda words, theirs, ours: words[:1] == ["snapshot"]
        and "Failed to load snapshot: Invalid argument" in theirs.stderr
        and ours.code == 0,
        True,
    ),
    KnownDifference(
        "A repair keeps the snapshots beside bitmaps",
        "check -r all bitmaps.qcow2",
        r"^0\|.*2 leaked clusters.*Repairing cluster 4 refcount=1 reference=0",
        r"^0\|No errors were found on the image\.",
        lambda words, theirs, ours: words[:1] == ["check"]
        and any(word.startswith(("-r", "--r")) for word in words)
        and "Leaked cluster" in theirs.stderr
        and ours.code == 0
        and ours.stderr == ""
        and "leaks-fixed" not in ours.stdout,
        True,
    ),
)  # fmt: skip


#: The same for exports, which the tests of NBD serve (see ``nbd_cases.py``).
EXPORT_DIFFERENCES = (
    KnownDifference(
        "An export may end inside a sector",
        "convert -n -f raw -O raw odd.raw @uneven",
        r"^1\|.*No space left on device\n$",
        r"^0\|",
        lambda words, theirs, ours: any("socket=uneven" in word for word in words)
        and theirs.code == 1 and theirs.stderr.endswith("No space left on device\n") and ours.code == 0,
    ),
    KnownDifference(
        "Bitmaps are marked as in use when something changes",
        "check -r all @unwritable",
        r"^1\|\|.*Can't update bitmap directory: Input/output error\n$",
        r"^0\|No errors were found",
        lambda words, theirs, ours: "Can't update bitmap directory" in theirs.stderr,
    ),
    KnownDifference(
        "Long names are shown in full",
        "info -f raw 'nbd+unix:///%s?socket=uneven'" % ("n" * 4090),
        r'^0\|image: json:\{"driver": "raw", "file": [^\n]*nnn\.\.\.\n',
        r"^0\|image: nbd\+unix:///n{4090}\?socket=uneven\n",
        lambda words, theirs, ours: re.search(r'image: json:[^\n]{4090}\n', theirs.stdout) is not None,
    ),
)


def known_difference(words: list[str], theirs: Answer, ours: Answer) -> KnownDifference | None:
    """The entry that explains why two answers differ."""
    entries = (*DIFFERENCES, *EXPORT_DIFFERENCES)
    return next((entry for entry in entries if entry.applies(words, theirs, ours)), None)
