# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure qimg beside qemu-img, interleaved in one run, and print ratios.

Every round runs every contender of a case once, so that a busy moment of the machine hits all of them.  A ratio is the
least of ours over the least of qemu-img's fastest variant, because other work on the machine can only add to a time;
below 1 we are faster.  Wall time, CPU time (user and system) and peak resident memory come from the kernel's accounting
of each process.
"""
from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cases
from installation import install


@dataclass
class Measurement:
    """The runs of one contender of one case."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)


def run_once(command: list[str], directory: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MiB of one command.

    :raises RuntimeError: it failed
    """
    with tempfile.TemporaryFile() as errors, open(os.devnull, "wb") as nowhere:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=nowhere, stderr=errors)
        _pid, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError("%s: %s" % (" ".join(command), errors.read().decode(errors="replace")))
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(
    case: cases.Case, rounds: int, directory: Path, environment: dict[str, str]
) -> dict[str, Measurement]:
    """Run every contender ``rounds`` times, in turns, after one round that does not count."""
    results = {name: Measurement() for name in case.contenders}
    for number in range(rounds + 1):
        for name, command in case.contenders.items():
            case.prepare()
            wall, cpu, peak = run_once(command, directory, environment)
            if number:
                results[name].wall.append(wall)
                results[name].cpu.append(cpu)
                results[name].peak_mib.append(peak)
    return results


def report(case: cases.Case, results: dict[str, Measurement]) -> list[str]:
    """The lines of one case: each of ours against the fastest of theirs, then everybody's times."""
    theirs = {name: result for name, result in results.items() if name.startswith(cases.THEIRS)}
    wall = min(min(result.wall) for result in theirs.values())
    cpu = min(min(result.cpu) for result in theirs.values())
    lines = [
        "%-34s wall %.2f  CPU %.2f%s" % (
            case.name, min(result.wall) / wall, min(result.cpu) / cpu, name.removeprefix(cases.OURS)
        )
        for name, result in results.items()
        if name not in theirs
    ]
    for name, result in results.items():
        lines.append(
            "    %-30s wall %.3f s (%.3f–%.3f)  CPU %.3f s (%.3f–%.3f)  peak %.0f MiB" % (
                name,
                statistics.median(result.wall),
                min(result.wall),
                max(result.wall),
                statistics.median(result.cpu),
                min(result.cpu),
                max(result.cpu),
                max(result.peak_mib),
            )
        )
    return lines


def main() -> int:
    """Measure the chosen cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help="names (or parts of names) of the cases to run; all without")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--directory", type=Path, help="where to work (default: a tmpfs with enough room)")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    arguments = parser.parse_args()
    if shutil.which("qemu-img") is None:
        print("qemu-img is not installed: there is nothing to measure beside", file=sys.stderr)
        return 1
    base = arguments.directory or Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="qimg-bench-", dir=base) as name:
        directory = Path(name)
        environment = install(directory)
        for make in cases.ALL:
            wanted = not arguments.cases or any(part in make.__name__ for part in arguments.cases)
            if arguments.list:
                print("%-24s %s" % (make.__name__, (make.__doc__ or "").splitlines()[0]))
            elif wanted:
                case = make(directory)
                print("\n".join(report(case, measure(case, arguments.rounds, directory, environment))), flush=True)
                case.clean()
    return 0


if __name__ == "__main__":
    sys.exit(main())
