# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the Debian packages here that the demonstration, the tests or the benchmarks use.

``python tools/debian_packages.py demo|tests|bench``.  What is missing is installed where that can be done without
asking anybody, which is as root on Debian; elsewhere it is named.  Nothing that is installed is replaced by another
release, unless ``QIMG_UPGRADE=yes`` is set.  The tests can do without, the others cannot: exit code 1.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: For each purpose, the programs it starts and the packages that have them.
PROGRAMS = {
    "demo": {"mkfs.ext4": "e2fsprogs"},
    "tests": {
        "mkfs.ext4": "e2fsprogs",
        "qemu-img": "qemu-utils",
        "nbdkit": "nbdkit",
        "strace": "strace",
        "losetup": "mount",
        "cryptsetup": "cryptsetup-bin",
        "vhdiinfo": "libvhdi-utils",
        "vmdkinfo": "libvmdk-utils",
        "qcowinfo": "libqcow-utils",
    },
    "bench": {"mkfs.ext4": "e2fsprogs", "qemu-img": "qemu-utils"},
}
#: The release of qemu-img that the tests compare with; Debian 12 has it in its backports.
QEMU = "10.0."

SOURCES = Path("/etc/apt")
APT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def missing_packages(purpose: str) -> list[str]:
    """The packages whose programs are not here, or, for the tests, not of the release that they compare with."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

    def is_here(program: str) -> bool:
        found = shutil.which(program, path=path)
        if found is None or program != "qemu-img" or purpose != "tests":
            return found is not None
        return is_wanted_release(found) or os.environ.get("QIMG_UPGRADE") != "yes"

    return sorted(package for program, package in PROGRAMS[purpose].items() if not is_here(program))


def is_wanted_release(qemu_img: str) -> bool:
    """Whether a qemu-img is of the release that the tests compare with."""
    version = subprocess.run([qemu_img, "--version"], text=True, capture_output=True, check=False).stdout
    return version.startswith("qemu-img version %s" % QEMU)


def suite_name() -> str | None:
    """The suite that this Debian was installed from (``bookworm``), ``None`` elsewhere."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    release = dict(line.split("=", 1) for line in lines if "=" in line)
    return release.get("VERSION_CODENAME", "").strip('"') if release.get("ID") == "debian" else None


def backports_source(suite: str) -> str | None:
    """An apt source for the suite's backports, made from the machine's own source for the suite.

    :returns: the text of a ``.sources`` file; ``None`` if the machine has backports already or no source to go by
    """
    stanzas = []
    for file in sorted(SOURCES.glob("sources.list.d/*.sources")):
        for text in re.split(r"\n\s*\n", file.read_text(encoding="utf-8")):
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            stanzas.append(dict(re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", "\n".join(lines), re.MULTILINE)))
    for file in [SOURCES / "sources.list", *sorted(SOURCES.glob("sources.list.d/*.list"))]:
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            found = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line)
            if found:
                stanza = {"Types": "deb", "URIs": found[2], "Suites": found[3], "Components": found[4]}
                for option in (found[1] or "").split():
                    name, _equals, value = option.partition("=")
                    stanza[{"arch": "Architectures", "signed-by": "Signed-By"}.get(name, name.title())] = value
                stanzas.append(stanza)
    binary = [stanza for stanza in stanzas if "deb" in stanza.get("Types", "").split()]
    wanted = suite + "-backports"
    if any(wanted in stanza.get("Suites", "").split() for stanza in binary):
        return None
    for stanza in binary:
        if suite in stanza.get("Suites", "").split() and "main" in stanza.get("Components", "").split():
            return "".join(
                "%s: %s\n" % item for item in {**stanza, "Types": "deb", "Suites": wanted, "Components": "main"}.items()
            )
    return None


def apt(*arguments: str) -> bool:
    """Run apt-get; whether it succeeded.  What it says is only of interest if it does not."""
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments]
    done = subprocess.run(command, env=APT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(done.stdout, flush=True)
    return done.returncode == 0


def install(packages: list[str]) -> bool:
    """Install packages with apt; the machine's own list of sources stays as it is."""
    suite = suite_name()
    source = backports_source(suite) if suite and "qemu-utils" in packages else None
    with tempfile.TemporaryDirectory(prefix="qimg-apt-") as directory:
        options: list[str] = []
        if source is not None:
            parts = Path(directory) / "sources.list.d"
            own = SOURCES / "sources.list.d"
            if own.is_dir():
                shutil.copytree(own, parts)
            else:
                parts.mkdir()
            (parts / "qimg-backports.sources").write_text(source, encoding="utf-8")
            os.chmod(directory, 0o755)  # apt reads sources as another user
            options = ["-o", "Dir::Etc::SourceParts=%s" % parts]
        if not apt(*options, "update") and options:
            print("The backports of this Debian cannot be reached; its own packages will have to do.", flush=True)
            options = []
            apt("update")
        if "qemu-utils" in packages:
            madison = subprocess.run(
                ["apt-cache", *options, "madison", "qemu-utils"], env=APT, text=True, capture_output=True, check=False
            )
            versions = re.findall(r"^\s*qemu-utils \|\s*(\S+)", madison.stdout, re.MULTILINE)
            wanted = [version for version in versions if version.split(":", 1)[-1].startswith(QEMU)]
            if wanted:
                packages = [package for package in packages if package != "qemu-utils"]
                packages.append("qemu-utils=" + wanted[0])
                if "~bpo" in wanted[0]:
                    # What it needs may be in backports too.
                    options += ["--target-release", "%s-backports" % suite]
        return apt(*options, "install", "--yes", "--no-install-recommends", *packages)


def main(purpose: str) -> int:
    packages = missing_packages(purpose)
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing %s ..." % ", ".join(packages), flush=True)
        if not install(packages):
            print("apt-get could not install them all.", flush=True)
        packages = missing_packages(purpose)
    if not packages:
        return 0
    print("Missing here: %s. As root: apt-get install %s" % (", ".join(packages), " ".join(packages)))
    if purpose != "tests":
        return 1
    print("The tests that need them will be skipped.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
