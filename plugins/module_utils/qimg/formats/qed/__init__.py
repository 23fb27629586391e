# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""QED: QEMU's enhanced disk format, which qcow2 has taken the place of."""
