# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an image is as a file: its owner, permissions, SELinux context and file attributes."""
from __future__ import annotations

import errno
import grp
import os
import pwd
import stat

from .qimg.errors import OptionError, StorageError
from .qimg.operations.create import check_unused
from .qimg.references import local_path, parse_reference
from .qimg.sizes import decimal
from .qimg.storage.ownership import Ownership

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ansible.module_utils.basic import AnsibleModule

#: Those of ansible-core (``FILE_COMMON_ARGUMENTS``), but for ``unsafe_writes``: there is only one way to write here.
FILE_OPTIONS: dict[str, Any] = {
    "mode": {"type": "raw"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "seuser": {"type": "str"},
    "serole": {"type": "str"},
    "setype": {"type": "str"},
    "selevel": {"type": "str"},
    "attributes": {"type": "str", "aliases": ["attr"]},
}
#: What system calls take for "as it is".
_NO_ID = (1 << 32) - 1
#: What symbolic modes of a new file start from.
_NEW_FILE_MODE = 0o644


class FileOptions:
    """What the user wants the file of an image to be, and how that differs from what is there.

    :param module: with the options of :data:`FILE_OPTIONS`
    :param path: the image
    :raises OptionError: there is no such owner, group or mode
    """

    def __init__(self, module: AnsibleModule, path: str) -> None:
        self._module = module
        self._given = {name: module.params[name] for name in FILE_OPTIONS if module.params.get(name) is not None}
        #: Those whose users are not there yet.
        self._unknown: list[str] = []
        self.ownership: Ownership | None = None
        self._before: dict[str, Any] = {}
        self._after: dict[str, Any] = {}
        if not self._given or module.params.get("state") == "absent":
            self._given = {}
            return
        local = local_path(parse_reference(path))
        if local is None:
            raise OptionError(
                "%s: What is not a local file has none" % next(iter(self._given)), path=path, remedy="leave it out"
            )
        self._path = os.path.realpath(local)
        self.ownership = Ownership(
            self._id_of("owner", lambda name: pwd.getpwnam(name).pw_uid),
            self._id_of("group", lambda name: grp.getgrnam(name).gr_gid),
            self._mode(),
        )
        self._arguments = module.load_file_common_arguments(module.params, self._path)
        self._arguments.update(dict.fromkeys(self._unknown))
        if os.path.exists(self._path):
            self._compare()
        else:
            self._after = dict(self._given)
            names = zip(("owner", "group", "mode"), self.ownership)
            self._after.update({name: value for name, value in names if value is not None})
            if self.ownership.mode is not None:
                self._after["mode"] = "%04o" % self.ownership.mode

    def _id_of(self, option: str, find: Callable[[str], int]) -> int | None:
        """The number of a user or group; in check mode ``None`` for one that an earlier task may well make."""
        name = self._given.get(option)
        if name is None:
            return None
        if name.isascii() and name.isdigit() and decimal(name) < _NO_ID:
            return decimal(name)
        try:
            return find(name)
        except KeyError as error:
            if self._module.check_mode:
                warning = "%s: There is no '%s'; in check mode, an earlier task is taken to make it"
                self._module.warn(warning % (option, name))
                self._unknown.append(option)
                return None
            raise OptionError("%s: There is no '%s' on this host" % (option, name), remedy="make it first") from error

    def _mode(self) -> int | None:
        wanted = self._given.get("mode")
        if wanted is None:
            return None
        try:
            mode = wanted if isinstance(wanted, int) else self._parsed_mode(str(wanted))
            if mode == stat.S_IMODE(mode):
                return mode
        except ValueError:
            pass
        raise OptionError("mode: '%s' is no mode" % wanted, remedy="give an octal or symbolic mode, in quotes")

    def _parsed_mode(self, text: str) -> int:
        """:raises ValueError: it is none"""
        try:
            return int(text, 8)
        except ValueError:
            pass
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            umask = os.umask(0o077)
            os.umask(umask)
            status = os.stat_result((stat.S_IFREG | (_NEW_FILE_MODE & ~umask), *[0] * 9))
        mode: int = self._module._symbolic_mode_to_octal(status, text)
        return mode

    def _compare(self) -> None:
        """Have Ansible find out what it would change."""
        found: dict[str, dict[str, Any]] = {}
        check_mode, self._module.check_mode = self._module.check_mode, True
        try:
            self._module.set_fs_attributes_if_different(self._arguments, False, found, False)
        finally:
            self._module.check_mode = check_mode
        self._before, self._after = found.get("before", {}), found.get("after", {})
        for option in self._unknown:
            # Whoever owns it now, it is somebody else.
            self._before[option] = getattr(os.stat(self._path), {"owner": "st_uid", "group": "st_gid"}[option])
            self._after[option] = self._given[option]

    @property
    def before(self) -> dict[str, Any]:
        """What would be changed of the file, as it is."""
        return _with_names(self._before)

    @property
    def after(self) -> dict[str, Any]:
        """The same, as it is to be; of a new file, all that is asked for."""
        return _with_names(self._after)

    def actions(self) -> list[str]:
        """What would be changed of a file that is there, one sentence each."""
        before, after = self.before, self.after
        return ["change %s from %s to %s" % (name, before[name], after[name]) for name in before]

    def check(self) -> None:
        """See that the file may be changed, if it has to be.

        :raises ImageInUseError: somebody is using it
        :raises StorageError: we have no right to
        """
        if not self._before:
            return
        check_unused(self._path)
        status, user = os.stat(self._path), os.geteuid()
        uid, gid = self._after.get("owner", status.st_uid), self._after.get("group", status.st_gid)
        groups = (status.st_gid, os.getegid(), *os.getgroups())
        if user != 0 and (user != status.st_uid or user != uid or gid not in groups):
            raise self._cannot_change(PermissionError(errno.EPERM, os.strerror(errno.EPERM)))

    def apply(self) -> None:
        """Change what the file is not yet; a new one has its owner and its mode already.

        :raises StorageError: the system refuses
        """
        if not self._given or self._module.check_mode:
            return
        try:
            if "owner" in self._before or "group" in self._before:
                os.chown(self._path, self._after.get("owner", -1), self._after.get("group", -1))
            if self.ownership is not None and self.ownership.mode is not None:
                os.chmod(self._path, self.ownership.mode)
        except OSError as error:
            raise self._cannot_change(error) from error
        self._module.set_fs_attributes_if_different(self._arguments, False, None, False)

    def _cannot_change(self, error: OSError) -> StorageError:
        failure = StorageError.from_os_error(error, self._path, "Could not change %s" % ", ".join(self._before))
        if error.errno == errno.EPERM:
            failure.remedy = "only root can give files to others; everybody else, his own to a group that he is in"
        return failure


def _with_names(state: dict[str, Any]) -> dict[str, Any]:
    """The same with the names of users and groups, where this host has names for their numbers."""
    named = dict(state)
    finds: tuple[tuple[str, Callable[[int], str]], ...] = (
        ("owner", lambda number: pwd.getpwuid(number).pw_name),
        ("group", lambda number: grp.getgrgid(number).gr_name),
    )
    for option, find in finds:
        if isinstance(named.get(option), int):
            try:
                named[option] = find(named[option])
            except KeyError:
                pass
    return named
