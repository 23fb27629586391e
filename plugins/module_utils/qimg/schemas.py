# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""JSON Schemas (draft 2020-12) of the documents that ``--output=json`` prints and the results have as ``document()``.

qemu-img's documents for the same commands are held to them too; it has none for ``compare``.  Sizes and offsets are
bytes.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_STRING: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
#: Counters that are left out where they are 0.
_COUNTED: dict[str, Any] = {"type": "integer", "minimum": 1}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these members and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_SNAPSHOT = _object(
    {
        "id": _STRING,
        "name": _STRING,
        "vm-state-size": {"type": "integer"},
        "date-sec": _COUNT,
        "date-nsec": {"type": "integer", "minimum": 0, "maximum": 999999999},
        "vm-clock-sec": _COUNT,
        "vm-clock-nsec": {"type": "integer", "minimum": 0, "maximum": 999999999},
    },
    {"icount": _COUNT},
)

_BITMAP = _object(
    {
        "name": _STRING,
        "granularity": {"type": "integer", "minimum": 512},
        "flags": _array({"enum": ["auto", "in-use"]}),
    }
)

_QCOW2 = _object(
    {
        "compat": {"enum": ["0.10", "1.1"]},
        "compression-type": {"enum": ["zlib", "zstd"]},
        "refcount-bits": {"enum": [1, 2, 4, 8, 16, 32, 64]},
    },
    {
        "lazy-refcounts": _FLAG,
        "corrupt": _FLAG,
        "extended-l2": _FLAG,
        "bitmaps": _array(_BITMAP),
        "data-file": _STRING,
        "data-file-raw": _FLAG,
        # LUKS says more, AES does not.
        "encrypt": {"type": "object", "properties": {"format": {"enum": ["aes", "luks"]}}, "required": ["format"]},
    },
)

_FILE = _object({}, {"extent-size-hint": _COUNTED})


def _specific(type: str, data: dict[str, Any]) -> dict[str, Any]:
    return _object({"type": {"const": type}, "data": data})


_LIMITS = _object(
    {
        "request-alignment": _COUNTED,
        "min-mem-alignment": _COUNTED,
        "opt-mem-alignment": _COUNTED,
        "max-iov": _COUNTED,
    },
    {
        "write-zeroes-alignment": _COUNTED,
        "discard-alignment": _COUNTED,
        "opt-transfer": _COUNTED,
        "max-transfer": _COUNTED,
        "max-write-zeroes": _COUNTED,
        "max-discard": _COUNTED,
    },
)

_NODE = _object(
    {
        "filename": _STRING,
        "format": _STRING,
        "virtual-size": _COUNT,
        "children": _array(_object({"name": _STRING, "info": {"$ref": "#/$defs/node"}})),
    },
    {
        "actual-size": _COUNT,
        "cluster-size": _COUNTED,
        "encrypted": {"const": True},
        "compressed": _FLAG,
        "dirty-flag": _FLAG,
        "backing-filename": _STRING,
        "full-backing-filename": _STRING,
        "backing-filename-format": _STRING,
        "snapshots": {**_array(_SNAPSHOT), "minItems": 1},
        "limits": _LIMITS,
        "format-specific": {
            "oneOf": [
                _specific("qcow2", _QCOW2),
                _specific("file", _FILE),
                # Formats whose parts are not laid down here.
                _object(
                    {"type": {"type": "string", "not": {"enum": ["qcow2", "file"]}}, "data": {"type": "object"}}
                ),
            ]
        },
    },
)

_EXTENT = _object(
    {
        "start": _COUNT,
        "length": _COUNT,
        "depth": _COUNT,
        "present": _FLAG,
        "zero": _FLAG,
        "data": _FLAG,
        "compressed": _FLAG,
    },
    {"offset": _COUNT},
)

_SCHEMAS = {
    "info": ("What an image says about itself", {"$ref": "#/$defs/node"}),
    "info-chain": ("What the images of a backing chain say, top first", _array({"$ref": "#/$defs/node"})),
    "map": ("The extents of a guest disk", _array(_EXTENT)),
    "check": (
        "What a check of the metadata found",
        _object(
            {"filename": _STRING, "format": _STRING, "check-errors": _COUNT},
            {
                "image-end-offset": _COUNTED,
                "total-clusters": _COUNTED,
                "allocated-clusters": _COUNTED,
                "fragmented-clusters": _COUNTED,
                "compressed-clusters": _COUNTED,
                "corruptions": _COUNTED,
                "corruptions-fixed": _COUNTED,
                "leaks": _COUNTED,
                "leaks-fixed": _COUNTED,
            },
        ),
    ),
    "measure": (
        "How large a new image would become",
        _object({"required": _COUNT, "fully-allocated": _COUNT}, {"bitmaps": _COUNT}),
    ),
    "compare": (
        "Whether two guest disks are the same",
        _object(
            {"identical": _FLAG, "sizes-differ": _FLAG},
            # Why they are not the same: what is read, or in strict mode also the size or the allocation.
            {"reason": {"enum": ["content", "size", "status"]}, "offset": _COUNT},
        ),
    ),
}


def schema_names() -> tuple[str, ...]:
    """The documents that have a schema."""
    return tuple(_SCHEMAS)


def schema(document: str) -> dict[str, Any]:
    """The JSON Schema of a kind of document, as plain data that may be dumped or changed.

    :param document: ``info``, ``info-chain`` (the array of ``info --backing-chain``), ``map``, ``check``, ``measure``
        or ``compare``
    :raises OptionError: there is no such document
    """
    from copy import deepcopy

    from .errors import OptionError

    if document not in _SCHEMAS:
        raise OptionError(
            "There is no schema of '%s'" % document, remedy="there are schemas of %s" % ", ".join(_SCHEMAS)
        )
    title, body = _SCHEMAS[document]
    whole: dict[str, Any] = {"$schema": _DIALECT, "title": title, **body}
    if document.startswith("info"):
        whole["$defs"] = {"node": _NODE}
    return deepcopy(whole)
