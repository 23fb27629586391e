# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""L1 and L2 tables: what their entries mean, and changing them."""
