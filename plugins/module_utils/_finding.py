# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finding the images that directories and patterns stand for."""
from __future__ import annotations

import glob
import os
import stat
from pathlib import PurePath

from ._module import absolute
from .qimg.errors import ImageError
from .qimg.formats.driver import INFO
from .qimg.references import protocol_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .qimg.formats.opening import Opener

#: Files in a directory with such names are images, whatever they hold.
SUFFIXES = (".qcow2", ".raw", ".img")


def find_images(names: list[str], opener: Opener) -> tuple[list[str], list[str]]:
    """The images that are named, each once.

    :param names: images, directories and patterns
    :param opener: looks into the files of directories; knows the files that rehearsals have made
    :returns: the images by their absolute paths, which need not exist if they are named in full; and the directories
        and patterns without any image
    :raises OptionError: a name is empty
    """
    found: dict[str, None] = {}
    empty = []
    for name in map(absolute, names):
        if protocol_of(name) is not None:
            images = [name]
        elif os.path.isdir(name) or (not os.path.lexists(name) and _rehearsed(name + "/*", opener)):
            images = [path for path in _matching(glob.escape(name) + "/*", opener) if _is_image(path, opener)]
        elif glob.has_magic(name) and not os.path.lexists(name):
            images = _matching(name, opener)
        else:
            images = [name]
        found.update(dict.fromkeys(images))
        if not images:
            empty.append(name)
    return list(found), empty


def _matching(pattern: str, opener: Opener) -> list[str]:
    """The files that match a pattern, those that would have been removed left out."""
    rehearsal = opener.rehearsal
    files = [
        path
        for path in glob.glob(pattern)
        if not os.path.isdir(path) and (rehearsal is None or not rehearsal.is_gone(path))
    ]
    known = {os.path.realpath(path) for path in files}
    return sorted(files + [path for path in _rehearsed(pattern, opener) if path not in known])


def _rehearsed(pattern: str, opener: Opener) -> list[str]:
    """The files that match a pattern and that rehearsals have made."""
    if opener.rehearsal is None:
        return []
    directory, base = os.path.split(pattern)
    resolved = os.path.join(os.path.realpath(directory), base)
    hidden = base.startswith(".")
    return [
        path
        for path in opener.rehearsal.files()
        if PurePath(path).match(resolved) and (hidden or not os.path.basename(path).startswith("."))
    ]


def _is_image(path: str, opener: Opener) -> bool:
    """Whether a file in a directory is an image; one that cannot be looked into may be one."""
    if path.endswith(SUFFIXES):
        return True
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        return False
    try:
        with opener.open(path, None, INFO, backing=False) as image:
            return image.format != "raw"
    except ImageError:
        return True
