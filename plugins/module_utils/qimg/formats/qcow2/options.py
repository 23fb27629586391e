# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The creation options of qcow2, which of them can be amended, and their defaults."""
from __future__ import annotations

from ..options import BOOL, NUM, SIZE, STR, CreateOption

_VERSIONS = (("v2", "0.10"), ("v3", "1.1"))

#: In the order in which qemu-img prints them.
OPTIONS = (
    CreateOption("cluster_size", SIZE, "qcow2 cluster size", 65536),
    CreateOption("extended_l2", BOOL, "Extended L2 tables", False),
    CreateOption("preallocation", STR, "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    CreateOption("compression_type", STR, "Compression method used for image cluster compression", "zlib"),
    CreateOption("keep_data_file", BOOL, "Assume the external data file already exists and do not overwrite it"),
    CreateOption("size", SIZE, "Virtual disk size", None, True, True),
    CreateOption("compat", STR, "Compatibility level (v2 [0.10] or v3 [1.1])", None, True, True, _VERSIONS),
    CreateOption("backing_file", STR, "File name of a base image", None, True, True),
    CreateOption("backing_fmt", STR, "Image format of the base image", None, True, True),
    CreateOption("data_file", STR, "File name of an external data file", None, True, True),
    CreateOption("data_file_raw", BOOL, "The external data file must stay valid as a raw image", None, True, True),
    CreateOption("lazy_refcounts", BOOL, "Postpone refcount updates", False, True, True),
    CreateOption("refcount_bits", NUM, "Width of a reference count entry in bits", 16, True, True),
)
