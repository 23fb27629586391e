# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""LUKS version 1: a guest disk that is encrypted as a whole, behind a header with key slots."""
