# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests share: the oracle, crafted images, storages that record and fail."""
