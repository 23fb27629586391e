# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Parallels: the expandable disk images of Parallels and Virtuozzo."""
