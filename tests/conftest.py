# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures that all tests share."""
from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, Phase, settings

from support import oracle

# Found examples would differ from machine to machine: seeds are fixed, and more examples are asked for by name.
settings.register_profile(
    "qimg", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=True
)
# Other examples each time, to search for longer: --hypothesis-profile=thorough, and --hypothesis-seed to have them
# again.  What fails is shown as it was found: to make it smaller takes minutes where each step runs programs.
settings.register_profile(
    "thorough", settings.get_profile("qimg"), derandomize=False, phases=[Phase.generate], report_multiple_bugs=False
)
settings.load_profile("qimg")

# What shells start in the background ignores SIGINT, and so would all programs that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "oracle: needs real qemu-img, qemu-io and qemu-nbd")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asking = [item for item in items if item.get_closest_marker("oracle") is not None]
    reason = oracle.missing() if asking else None
    if reason is None:
        return
    if os.environ.get("QIMG_ORACLE") == "required":
        raise pytest.UsageError("the oracle is required (QIMG_ORACLE), but %s" % reason)
    for item in asking:
        item.add_marker(pytest.mark.skip(reason=reason))
