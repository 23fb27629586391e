# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making a new qcow2 image, in the layout that QEMU gives it."""
from __future__ import annotations

from collections import namedtuple

from ...errors import ImageError, OptionError, StorageError
from ...references import plain_name
from ...sizes import round_up
from ..driver_names import is_driver
from .changes import resizing
from .changes.amending import VERSION_REMEDY, VERSIONS
from .changes.metadata import Metadata
from .image import Qcow2Image
from .layout import (
    COMPRESSION_NAMES,
    COMPRESSION_TYPE,
    CRYPT_NONE,
    EXT_BACKING_FORMAT,
    EXT_DATA_FILE,
    EXT_FEATURE_NAMES,
    EXTENDED_L2,
    EXTERNAL_DATA_FILE,
    LAZY_REFCOUNTS,
    MAX_BACKING_NAME,
    MAX_CLUSTER_BITS,
    MAX_L1_BYTES,
    MIN_CLUSTER_BITS,
    MIN_EXTENDED_L2_CLUSTER_BITS,
    MIN_FEATURE_NAMES_CLUSTER_SIZE,
    RAW_EXTERNAL_DATA,
    REFCOUNT_WIDTHS,
    V2_HEADER_LENGTH,
    V3_HEADER_LENGTH,
    ZLIB,
    Header,
    feature_name_table,
)
from .options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...storage.base import Storage
    from ..base import Image
    from ..driver import NewImage

PREALLOCATION_MODES = ("off", "metadata", "falloc", "full")
_NEWER = " (use version=v3 or greater)"


class _Choice(
    namedtuple(
        "_Choice",
        [
            "size",
            "cluster_bits",
            "extended_l2",
            "preallocation",
            "compression_type",
            "version",
            "backing_file",
            "backing_fmt",
            "data_file",
            "data_file_raw",
            "keep_data_file",
            "lazy_refcounts",
            "refcount_order",
        ],
    )
):
    """The options of one creation, checked against each other."""

    __slots__ = ()


def validate(options: dict[str, Any]) -> _Choice:
    """Check creation options, by themselves and against each other.

    :param options: by option name, of the declared types; missing ones have their defaults
    :raises OptionError: in QEMU's words
    """
    given = {option.name: option.default for option in OPTIONS}
    given.update(options)
    size = round_up(given["size"], 512)
    compat = "1.1" if given["compat"] is None else given["compat"]
    if compat not in VERSIONS:
        raise OptionError("Parameter 'version' does not accept value '%s'" % compat, remedy=VERSION_REMEDY)
    version = VERSIONS[compat]
    if given["backing_fmt"] is not None and not is_driver(given["backing_fmt"]):
        raise OptionError("Parameter 'backing-fmt' does not accept value '%s'" % given["backing_fmt"])
    preallocation = "off" if given["preallocation"] is None else given["preallocation"]
    if preallocation not in PREALLOCATION_MODES:
        raise OptionError("Parameter 'preallocation' does not accept value '%s'" % preallocation)
    if given["compression_type"] not in COMPRESSION_NAMES:
        raise OptionError("Parameter 'compression-type' does not accept value '%s'" % given["compression_type"])
    compression_type = COMPRESSION_NAMES.index(given["compression_type"])
    if given["extended_l2"] and version < 3:
        raise OptionError("Extended L2 entries are only supported with compatibility level 1.1 and above" + _NEWER)
    bits = check_cluster_size(given["cluster_size"])
    width = given["refcount_bits"]
    backing_file = given["backing_file"] or ""
    choice = _Choice(
        size,
        bits,
        given["extended_l2"],
        preallocation,
        compression_type,
        version,
        backing_file,
        given["backing_fmt"],
        given["data_file"],
        bool(given["data_file_raw"]),
        bool(given["keep_data_file"]),
        given["lazy_refcounts"],
        width.bit_length() - 1,
    )
    _check_exclusions(choice, width)
    return choice


def check_kept_data_file(choice: _Choice) -> None:
    """Refuse to keep a data file that there is not, or whose content would be overwritten or could not be seen.

    :raises OptionError: in QEMU's words
    """
    if not choice.keep_data_file:
        return
    if not choice.data_file:
        raise OptionError("Must not use 'keep_data_file=on' without 'data_file'")
    if choice.preallocation not in ("off", "metadata"):
        raise OptionError(
            "Preallocating more than only metadata would overwrite the external data file's content and is therefore "
            "incompatible with 'keep_data_file=on'"
        )
    if choice.preallocation == "off" and not choice.data_file_raw:
        raise OptionError(
            "'keep_data_file=on' requires 'preallocation=metadata' or 'data_file_raw=on', or the file contents will "
            "not be visible"
        )


def check_cluster_size(cluster_size: int) -> int:
    """The power of two that a cluster size is.

    :raises OptionError: it is none, or out of range
    """
    bits = cluster_size.bit_length() - 1
    if cluster_size & (cluster_size - 1) or not MIN_CLUSTER_BITS <= bits <= MAX_CLUSTER_BITS:
        raise OptionError("Cluster size must be a power of two between 512 and 2048k")
    return bits


def check_extended_l2(cluster_bits: int) -> None:
    """Refuse clusters that are too small for subclusters.

    :raises OptionError: they are
    """
    if cluster_bits < MIN_EXTENDED_L2_CLUSTER_BITS:
        raise OptionError(
            "Extended L2 entries are only supported with cluster sizes of at least %u bytes"
            % (1 << MIN_EXTENDED_L2_CLUSTER_BITS)
        )


def _check_exclusions(choice: _Choice, width: int) -> None:
    if choice.extended_l2:
        check_extended_l2(choice.cluster_bits)
    if choice.backing_fmt and not choice.backing_file:
        raise OptionError("Backing format cannot be used without backing file")
    if choice.backing_file and choice.preallocation != "off" and not choice.extended_l2:
        raise OptionError("Backing file and preallocation can only be used at the same time if extended_l2 is on")
    if choice.lazy_refcounts and choice.version < 3:
        raise OptionError("Lazy refcounts only supported with compatibility level 1.1 and above" + _NEWER)
    if width not in REFCOUNT_WIDTHS:
        raise OptionError("Refcount width must be a power of two and may not exceed 64 bits")
    if choice.version < 3 and width != 16:
        raise OptionError("Different refcount widths than 16 bits require compatibility level 1.1 or above" + _NEWER)
    if choice.data_file_raw and not choice.data_file:
        raise OptionError("data-file-raw requires data-file")
    if choice.backing_file and choice.data_file_raw:
        raise OptionError("Backing file and data-file-raw cannot be used at the same time")
    if choice.data_file and choice.version < 3:
        raise OptionError("External data files are only supported with compatibility level 1.1 and above" + _NEWER)
    if choice.compression_type != ZLIB and choice.version < 3:
        raise OptionError("Non-zlib compression type is only supported with compatibility level 1.1 and above" + _NEWER)
    if len(choice.backing_file.encode("utf-8", "surrogateescape")) > MAX_BACKING_NAME:
        raise OptionError("Backing file name too long")


def create(new: NewImage, storage: Storage, data_file: Storage | None) -> Image:
    """An empty image in ``storage``, with its guest data in ``data_file`` if there is one.

    The header is written by the first :meth:`Image.flush`.

    :raises ImageError: the image cannot be created with these options
    """
    choice = validate(new.options)
    cluster_size = 1 << choice.cluster_bits
    header = Header(
        version=choice.version,
        backing_file_offset=0,
        backing_file_size=0,
        cluster_bits=choice.cluster_bits,
        size=choice.size,
        crypt_method=CRYPT_NONE,
        l1_size=0,
        l1_table_offset=0,
        refcount_table_offset=cluster_size,
        refcount_table_clusters=1,
        nb_snapshots=0,
        snapshots_offset=0,
        incompatible_features=(EXTERNAL_DATA_FILE if choice.data_file else 0)
        | (COMPRESSION_TYPE if choice.compression_type != ZLIB else 0)
        | (EXTENDED_L2 if choice.extended_l2 else 0),
        compatible_features=LAZY_REFCOUNTS if choice.lazy_refcounts else 0,
        autoclear_features=RAW_EXTERNAL_DATA if choice.data_file_raw else 0,
        refcount_order=choice.refcount_order,
        header_length=V2_HEADER_LENGTH if choice.version == 2 else V3_HEADER_LENGTH,
        compression_type=choice.compression_type,
        unknown_fields=b"",
    )
    metadata = Metadata(storage, header, _extensions(choice), _encode(choice.backing_file), b"", new.limits, fresh=True)
    metadata.data_file = data_file
    reason = resizing.excess(choice.size)
    if reason is not None:
        raise ImageError("Could not resize image: " + reason, format="qcow2")
    entries = metadata.geometry.l1_entries(choice.size)
    if entries * 8 > MAX_L1_BYTES:
        raise ImageError(
            "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
            format="qcow2",
        )
    # Header, refcount table and the first refcount block come first, then the L1 table.
    metadata.refcounts.take_first_clusters(3, block_cluster=2)
    mapping = metadata.mapping
    mapping.resize_l1(entries)
    mapping.place_l1()
    image = Qcow2Image(new, metadata, new.backing)
    preallocation = "metadata" if choice.data_file_raw and choice.preallocation == "off" else choice.preallocation
    try:
        if data_file is not None and not choice.keep_data_file:
            data_file.truncate(choice.size)
        if choice.keep_data_file:
            resizing.refer_to_data_file(metadata, choice.size)
        elif preallocation in ("falloc", "full") and data_file is None:
            resizing.preallocate_contiguous(metadata, choice.size, preallocation)
        elif preallocation != "off" and choice.size:
            resizing.preallocate(metadata, 0, choice.size, preallocation)
    except StorageError as error:
        error.reason = "Could not resize image: %s" % error.reason
        raise
    return image


def _extensions(choice: _Choice) -> list[tuple[int, bytes]]:
    extensions = []
    if choice.backing_file and choice.backing_fmt:
        extensions.append((EXT_BACKING_FORMAT, _encode(choice.backing_fmt)))
    if choice.data_file:
        extensions.append((EXT_DATA_FILE, _encode(plain_name(choice.data_file) or choice.data_file)))
    if choice.version >= 3 and 1 << choice.cluster_bits >= MIN_FEATURE_NAMES_CLUSTER_SIZE:
        extensions.append((EXT_FEATURE_NAMES, feature_name_table()))
    return extensions


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
