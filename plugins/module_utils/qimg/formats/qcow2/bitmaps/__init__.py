# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Persistent dirty bitmaps: their directory and their bits."""
