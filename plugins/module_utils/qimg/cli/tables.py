# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The human texts: what ``info`` says of a node, and the table of snapshots."""

from __future__ import annotations

from ..json_writer import in_order
from ..sizes import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..formats.capabilities import SnapshotInfo
    from ..operations.info import ImageInfo

_SNAPSHOT_ROW = "%s %s %8s %19s %15s %10s"


def info_text(info: ImageInfo) -> str:
    """Everything about one image, its files included."""
    return "\n".join((*_node_lines(info, "", False), *_child_lines(info, "/", ""), ""))


def _child_lines(info: ImageInfo, path: str, indent: str) -> Iterator[str]:
    for name, child in info.children:
        yield "%sChild node '%s%s':" % (indent, path, name)
        inner = indent + "    "
        yield from _node_lines(child, inner, not child.children)
        yield from _child_lines(child, "%s%s/" % (path, name), inner)


def _node_lines(info: ImageInfo, indent: str, is_protocol: bool) -> Iterator[str]:
    """One node.

    :param is_protocol: whether it is a file beneath an image
    """
    labels = ("filename", "protocol type", "file length") if is_protocol else ("image", "file format", "virtual size")
    allocated = "unavailable" if info.actual_size is None else human_size(info.actual_size)
    lines = [
        "%s: %s" % (labels[0], info.filename),
        "%s: %s" % (labels[1], info.format),
        "%s: %s (%d bytes)" % (labels[2], human_size(info.virtual_size), info.virtual_size),
        "disk size: %s" % allocated,
    ]
    if info.encrypted:
        lines.append("encrypted: yes")
    if info.cluster_size:
        lines.append("cluster_size: %d" % info.cluster_size)
    if info.dirty_flag:
        lines.append("cleanly shut down: no")
    if info.backing_filename is not None:
        lines.append(_backing_line(info))
    if info.backing_filename_format is not None:
        lines.append("backing file format: %s" % info.backing_filename_format)
    if info.limits is not None:
        lines += ["Block limits:", *_tree(info.limits, "    ")]
    if info.snapshots:
        lines += ["Snapshot list:", *snapshot_rows(info.snapshots)]
    if info.format_specific:
        lines += ["Format specific information:", *_tree(info.format_specific, "    ")]
    for line in lines:
        yield indent + line


def _backing_line(info: ImageInfo) -> str:
    line = "backing file: %s" % info.backing_filename
    if info.full_backing_filename is None:
        line += " (cannot determine actual path)"
    elif info.full_backing_filename != info.backing_filename:
        line += " (actual path: %s)" % info.full_backing_filename
    return line


def _tree(value: Any, indent: str) -> Iterator[str]:
    """Nested data, an entry a line."""
    if isinstance(value, dict):
        entries = [(key.replace("-", " "), item) for key, item in in_order(value)]
    else:
        entries = [("[%d]" % index, item) for index, item in enumerate(value)]
    for label, item in entries:
        if isinstance(item, (dict, list, tuple)):
            yield "%s%s:" % (indent, label)
            yield from _tree(item, indent + "    ")
        else:
            yield "%s%s: %s" % (indent, label, _scalar(item))


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def snapshot_rows(snapshots: list[SnapshotInfo]) -> Iterator[str]:
    """The table of snapshots, its heading first."""
    yield _SNAPSHOT_ROW % (_column("ID", 7), _column("TAG", 16), "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT")
    for snapshot in snapshots:
        yield _SNAPSHOT_ROW % (
            _column(snapshot.id, 7),
            _column(snapshot.name, 16),
            human_size(snapshot.vm_state_size),
            _local_time(snapshot.date_sec),
            _clock(snapshot.vm_clock_nsec),
            "--" if snapshot.icount is None else snapshot.icount,
        )


def _column(text: str, width: int) -> str:
    """A text with spaces up to the next column; as in C, bytes are counted and not characters."""
    return text + " " * (width - len(text.encode("utf-8", "surrogateescape")))


def _local_time(seconds: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _clock(nanoseconds: int) -> str:
    milliseconds = nanoseconds // 1000000
    seconds = milliseconds // 1000
    return "%04d:%02d:%02d.%03d" % (seconds // 3600, seconds // 60 % 60, seconds % 60, milliseconds % 1000)
