# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Exports of NBD servers as places for bytes.

The protocol is that of the document "The NBD protocol" (``doc/proto.md`` of the NetworkBlockDevice project); section
names in this package are its section names.
"""
