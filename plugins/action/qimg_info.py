# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a module of this collection, and add what it found out about images to what the host's facts already hold.

Ansible replaces facts by their top-level name, so that each task would make the facts of all earlier ones be forgotten.
"""
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import ansible.constants
from ansible import context
from ansible.plugins.action import ActionBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FACT = "qimg_images"

#: What the loop of a task has found so far, by the task and the host: Ansible sets the facts of all items at its end.
_found_in_loop: dict[tuple[str, str], dict[str, Any]] = {}


class ActionModule(ActionBase):
    """The action of every module of this collection; ``meta/runtime.yml`` says so."""

    _supports_async = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        asynchronous = self._task.async_val and not self._connection.has_native_async
        host = self._task.delegate_to or (task_vars or {})["inventory_hostname"]
        arguments = dict(self._task.args)
        # A task that only checks, in a run that changes things, has to see what is there.
        rehearses = self._task.check_mode and bool(context.CLIARGS.get("check")) and not asynchronous
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
                    result.setdefault("warnings", []).append(_NOT_HANDED_ON % path)
        if not asynchronous:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        images = result.get("ansible_facts", {}).get(FACT)
        if images is not None:
            images = self._with_earlier_items(task_vars or {}, images)
            result["ansible_facts"][FACT] = merged(self._known_images(task_vars or {}), images)
        return result

    def _with_earlier_items(self, task_vars: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
        """What all items of the task's loop have found, up to this one."""
        if self._task.loop is None and self._task.loop_with is None:
            return images
        host = self._task.delegate_to if self._task.delegate_facts else None
        found = _found_in_loop.setdefault((self._task._uuid, host or task_vars["inventory_hostname"]), {})
        found.update(images)
        return found

    def _known_images(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The fact as it is now, of the host that the new facts will belong to."""
        host_vars = task_vars
        if self._task.delegate_to and self._task.delegate_facts:
            host_vars = task_vars["hostvars"].get(self._task.delegate_to, {})
        return dict(host_vars.get("ansible_facts", {}).get(FACT) or {})


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


def merged(known: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Both, the newer winning; an image that was found to be absent is in neither."""
    return {path: documents for path, documents in {**known, **found}.items() if documents is not None}
