# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""VHDX: the disk images of Hyper-V (MS-VHDX)."""
