# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a module of this collection; let it know the images that facts and, in check mode, rehearsals have."""
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import ansible.constants
from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ActionModule(ActionBase):
    """The action of every module of this collection; ``meta/runtime.yml`` says so."""

    _supports_async = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        inventory_host = (task_vars or {})["inventory_hostname"]
        problem = self._why_no_facts(inventory_host)
        if problem is not None:
            raise AnsibleActionFail("facts: " + problem)
        asynchronous = self._task.async_val and not self._connection.has_native_async
        host = self._task.delegate_to or inventory_host
        arguments = dict(self._task.args)
        # A task that only checks, in a run that changes things, has to see what is there.
        rehearses = self._task.check_mode and bool(context.CLIARGS.get("check")) and not asynchronous
        known = _known_images(host, inventory_host, task_vars or {})
        if known:
            arguments["_known_images"] = known
        if rehearses:
            arguments["_rehearsal"] = rehearsed(host)
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=asynchronous))
        if rehearses:
            for path, document in result.pop("_rehearsal", {}).items():
                where = host
                if self._task.run_once and not self._task.delegate_to:
                    # What was known of the host alone is older.
                    forget(host, path)
                    where = EVERYWHERE
                if not remember(where, path, document):
                    Display().warning(_NOT_HANDED_ON % path)
        if not asynchronous:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _why_no_facts(self, host: str) -> str | None:
        """Why the task may not set facts: Ansible would give them to other hosts, or replace them by each other."""
        if not boolean(self._task.args.get("facts", False), strict=False):
            return None
        if self._task.loop is not None or self._task.loop_with is not None:
            return "In a loop, the facts of each item take the place of those before; give all images to one task"
        if self._task.delegate_to and self._task.delegate_facts:
            return None
        if self._task.run_once:
            return "With run_once, every host would get the facts of one; register the result instead"
        if self._task.delegate_to and self._task.delegate_to != host:
            return "The facts of '%s' would become those of '%s'; set delegate_facts, or register the result" % (
                self._task.delegate_to, host,
            )
        return None


def _known_images(host: str, inventory_host: str, task_vars: dict[str, Any]) -> list[str]:
    """The images that the facts of a host know, by their paths: some of them may depend on the one that changes."""
    variables = task_vars
    if host != inventory_host:
        # A host that is not in the inventory has no facts.
        hosts = task_vars.get("hostvars", {})
        if host not in hosts:
            return []
        variables = hosts[host]
    images = variables.get("ansible_facts", {}).get("qimg_images", {})
    return [str(path) for path in images] if isinstance(images, dict) else []


#: What a task that runs once has made is there for all hosts, if it is for any: on storage that they share.
EVERYWHERE = "*"
#: So many characters hold what is known of an image whose tables were not all allocated beforehand.
_LARGEST_DOCUMENT = 1 << 20
_NOT_HANDED_ON = (
    "What would become of '%s' is too much to be handed on; in check mode, later tasks see the image as it is now"
)


def _rehearsals(host: str) -> Path:
    """The directory for what the tasks of this run would have made on a host; Ansible removes it at its end."""
    return Path(ansible.constants.DEFAULT_LOCAL_TMP) / "qimg" / quote(host, safe="*")


def rehearsed(host: str) -> dict[str, Any]:
    """In check mode: the images that earlier tasks of this run would have made or changed on a host, by their paths."""
    images = {}
    for directory in (_rehearsals(EVERYWHERE), _rehearsals(host)):
        for file in sorted(directory.glob("*.json")):
            path, document = json.loads(file.read_text(encoding="utf-8"))
            images[path] = document
    return images


def forget(host: str, path: str) -> None:
    """Have no earlier task have changed an image."""
    (_rehearsals(host) / _file_name(path)).unlink(missing_ok=True)


def _file_name(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest() + ".json"


def remember(host: str, path: str, document: dict[str, Any]) -> bool:
    """Have later tasks of this run know what an image would be; whether that is little enough to be kept."""
    text = json.dumps([path, document])
    if len(text) > _LARGEST_DOCUMENT:
        forget(host, path)
        return False
    directory = _rehearsals(host)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / _file_name(path)
    # Several tasks may be at it, of hosts that delegate to this one.
    temporary = file.with_suffix(".%d" % os.getpid())
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    return True
