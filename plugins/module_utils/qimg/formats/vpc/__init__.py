# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""VHD: the disk images of Virtual PC, Hyper-V and Azure; QEMU's driver for them is called vpc."""
