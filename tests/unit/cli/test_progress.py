# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of ``-p``, and the one at SIGUSR1."""
from __future__ import annotations

import signal

import pytest

from qimg.cli.console import Console
from qimg.cli.progress import ProgressMeter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def _printed(capfdbinary: pytest.CaptureFixture[bytes]) -> tuple[bytes, bytes]:
    captured = capfdbinary.readouterr()
    return captured.out, captured.err


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_steps_that_are_too_small_are_not_shown(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with ProgressMeter(Console("qemu-img"), True, 2.0) as progress:
        for fraction in (0.0, 0.01, 0.021, 0.03, 0.5, 1.0, 1.0):
            progress(fraction)

    assert _printed(capfdbinary) == (
        b"    (0.00/100%)\r    (2.10/100%)\r    (50.00/100%)\r    (100.00/100%)\r\n", b""
    )  # fmt: skip


def test_without_p_nothing_is_shown(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with ProgressMeter(Console("qemu-img"), False, 1.0) as progress:
        progress(0.5)

    assert _printed(capfdbinary) == (b"", b"")


def test_a_signal_asks_for_one_line_on_standard_error(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with ProgressMeter(Console("qemu-img"), False, 1.0) as progress:
        progress(0.25)
        signal.raise_signal(signal.SIGUSR1)
        progress(0.5)
        progress(0.75)

    assert _printed(capfdbinary) == (b"", b"    (50.00/100%)\n")
