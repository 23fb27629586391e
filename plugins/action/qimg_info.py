# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a module of this collection, and add what it found out about images to what the host's facts already hold.

Ansible replaces facts by their top-level name, so that each task would make the facts of all earlier ones be forgotten.
"""
from __future__ import annotations

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
        result.update(self._execute_module(task_vars=task_vars, wrap_async=asynchronous))
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


def merged(known: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Both, the newer winning; an image that was found to be absent is in neither."""
    return {path: documents for path, documents in {**known, **found}.items() if documents is not None}
