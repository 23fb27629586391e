# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The messages of the NBD protocol: every magic number, flag and structure, each named as in the specification."""
from __future__ import annotations

import struct

# Handshake ("Newstyle negotiation", "Fixed newstyle negotiation")

NBDMAGIC = 0x4E42444D41474943
IHAVEOPT = 0x49484156454F5054
CLISERV_MAGIC = 0x00420281861253
OPTION_REPLY_MAGIC = 0x3E889045565A9

MAGIC = struct.Struct(">Q")
#: What follows size and flags in the oldest handshakes.
RESERVED_BYTES = 124
HANDSHAKE_FLAGS = struct.Struct(">H")
CLIENT_FLAGS = struct.Struct(">I")
#: Magic, option, length of data.
OPTION = struct.Struct(">QII")
#: Magic, option, reply type, length of data.
OPTION_REPLY = struct.Struct(">QIII")
LENGTH = struct.Struct(">I")
SHORT = struct.Struct(">H")

NBD_FLAG_FIXED_NEWSTYLE = 1 << 0
NBD_FLAG_NO_ZEROES = 1 << 1

NBD_OPT_EXPORT_NAME = 1
NBD_OPT_ABORT = 2
NBD_OPT_STARTTLS = 5
NBD_OPT_GO = 7
NBD_OPT_STRUCTURED_REPLY = 8
NBD_OPT_SET_META_CONTEXT = 10

#: How QEMU's messages call the options, and the replies.
OPTION_NAMES = {
    1: "export name", 2: "abort", 3: "list", 5: "starttls", 6: "info", 7: "go", 8: "structured reply",
    9: "list meta context", 10: "set meta context", 11: "extended headers",
}  # fmt: skip
REPLY_NAMES = {1: "ack", 2: "server", 3: "info", 4: "meta context"}

NBD_REP_ACK = 1
NBD_REP_INFO = 3
NBD_REP_META_CONTEXT = 4
REPLY_IS_ERROR = 1 << 31
NBD_REP_ERR_UNSUP = REPLY_IS_ERROR + 1
NBD_REP_ERR_POLICY = REPLY_IS_ERROR + 2
NBD_REP_ERR_INVALID = REPLY_IS_ERROR + 3
NBD_REP_ERR_PLATFORM = REPLY_IS_ERROR + 4
NBD_REP_ERR_TLS_REQD = REPLY_IS_ERROR + 5
NBD_REP_ERR_UNKNOWN = REPLY_IS_ERROR + 6
NBD_REP_ERR_SHUTDOWN = REPLY_IS_ERROR + 7
NBD_REP_ERR_BLOCK_SIZE_REQD = REPLY_IS_ERROR + 8

NBD_INFO_EXPORT = 0
NBD_INFO_BLOCK_SIZE = 3
#: Type, size, transmission flags.
INFO_EXPORT = struct.Struct(">HQH")
#: Type, minimum, preferred, maximum block size.
INFO_BLOCK_SIZE = struct.Struct(">HIII")

#: The metadata context that says what is allocated and what is zero ("Metadata querying").
BASE_ALLOCATION = "base:allocation"
NBD_STATE_HOLE = 1 << 0
NBD_STATE_ZERO = 1 << 1

# Transmission flags

NBD_FLAG_HAS_FLAGS = 1 << 0
NBD_FLAG_READ_ONLY = 1 << 1
NBD_FLAG_SEND_FLUSH = 1 << 2
NBD_FLAG_SEND_FUA = 1 << 3
NBD_FLAG_SEND_TRIM = 1 << 5
NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6
NBD_FLAG_SEND_FAST_ZERO = 1 << 11

# Transmission ("Request message", "Simple reply message", "Structured reply chunk message")

REQUEST_MAGIC = 0x25609513
SIMPLE_REPLY_MAGIC = 0x67446698
STRUCTURED_REPLY_MAGIC = 0x668E33EF

#: Magic, command flags, type, cookie, offset, length.
REQUEST = struct.Struct(">IHHQQI")
#: Magic, error, cookie.
SIMPLE_REPLY = struct.Struct(">IIQ")
#: Magic, flags, type, cookie; the length of the payload follows.
STRUCTURED_REPLY = struct.Struct(">IHHQ")
OFFSET = struct.Struct(">Q")
#: Length and offset: what follows :data:`STRUCTURED_REPLY` in a chunk of data.
LENGTH_AND_OFFSET = struct.Struct(">IQ")
#: Offset, length.
HOLE = struct.Struct(">QI")
#: Error, length of message.
ERROR = struct.Struct(">IH")

NBD_CMD_READ = 0
NBD_CMD_WRITE = 1
NBD_CMD_DISC = 2
NBD_CMD_FLUSH = 3
NBD_CMD_TRIM = 4
NBD_CMD_WRITE_ZEROES = 6
NBD_CMD_BLOCK_STATUS = 7

NBD_CMD_FLAG_FUA = 1 << 0
NBD_CMD_FLAG_NO_HOLE = 1 << 1
NBD_CMD_FLAG_FAST_ZERO = 1 << 4

NBD_REPLY_FLAG_DONE = 1 << 0

NBD_REPLY_TYPE_NONE = 0
NBD_REPLY_TYPE_OFFSET_DATA = 1
NBD_REPLY_TYPE_OFFSET_HOLE = 2
NBD_REPLY_TYPE_BLOCK_STATUS = 5
NBD_REPLY_TYPE_ERROR = (1 << 15) + 1
NBD_REPLY_TYPE_ERROR_OFFSET = (1 << 15) + 2
CHUNK_IS_ERROR = 1 << 15

NBD_ENOTSUP = 95
NBD_ESHUTDOWN = 108
#: ``NBD_EPERM``, ``EIO``, ``ENOMEM``, ``EINVAL``, ``ENOSPC``, ``EOVERFLOW``, ``ENOTSUP``, ``ESHUTDOWN``: the numbers
#: are Linux's; any other counts as ``NBD_EINVAL``.
ERROR_VALUES = (1, 5, 12, 22, 28, 75, NBD_ENOTSUP, NBD_ESHUTDOWN)

# Block sizes ("Block size constraints")

#: What a server may be sent that says nothing about block sizes.
DEFAULT_MAXIMUM = 1 << 25
#: The largest minimum that a server may ask for.
MAX_MINIMUM = 1 << 16
