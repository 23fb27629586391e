# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running tasks by the real ``ansible-playbook``, as an operator does."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tasks = dict[str, dict[str, Any]]
    Results = dict[str, dict[str, Any]]

_AT_ONCE = 2


def program(name: str) -> str | None:
    """A program of Ansible: that of the Python which runs the tests, or else one on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def missing() -> str | None:
    """Why there is no Ansible to be asked; ``None``: there is."""
    if program("ansible-playbook") is None:
        return "ansible-playbook is not installed (ansible-core)"
    return None


class Ansible:
    """Runs playbooks with the collection as it was installed.

    :param collections: the directory that it was installed into
    :param directory: for whatever Ansible writes
    """

    def __init__(self, collections: Path, directory: Path) -> None:
        self._directory = directory
        #: What the last playbook said.
        self.said = ""
        (directory / "ansible.cfg").touch()
        self.environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
            "ANSIBLE_HOME": str(directory / "home"),
            # Ansible asks the system for the home directory in one place, and HOME in another.
            "ANSIBLE_REMOTE_TMP": str(directory / "remote"),
            "ANSIBLE_ASYNC_DIR": str(directory / "async"),
            "HOME": str(directory / "home"),
            "XDG_STATE_HOME": str(directory / "state"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_PIPELINING": "true",
            "LC_ALL": "C.UTF-8",
        }

    def play(
        self,
        tasks: Tasks,
        *options: str,
        keywords: dict[str, Any] | None = None,
        python: str = sys.executable,
        inventory: str = "localhost,",
    ) -> Results:
        """Run tasks on localhost, one after another, even if some of them fail.

        :param tasks: by their names, which must do as names of variables; a task may also hold keywords
        :param options: of ansible-playbook, such as ``--check``
        :param keywords: further keywords of the play
        :param python: what the modules run with
        :returns: what each task returned, by the same names
        """
        directory = Path(tempfile.mkdtemp(dir=self._directory))
        results = directory / "results.json"
        steps = [{"name": name, "register": name, "ignore_errors": True, **task} for name, task in tasks.items()]
        listed = ", ".join("'%s': %s" % (name, task.get("register", name)) for name, task in tasks.items())
        steps.append(
            {
                "name": "Write down the results",
                "ansible.builtin.copy": {"dest": str(results), "content": "{{ {%s} | to_json }}" % listed},
                "delegate_to": "localhost",
                "vars": {"ansible_python_interpreter": sys.executable},
                "check_mode": False,
                "diff": False,
                "no_log": True,
            }
        )
        play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": steps, **(keywords or {})}
        play["vars"] = {"ansible_python_interpreter": python}
        playbook = directory / "playbook.json"
        playbook.write_text(json.dumps([play]), encoding="utf-8")
        self.said = self.run(str(program("ansible-playbook")), "-i", inventory, *options, str(playbook))
        answer: Results = json.loads(results.read_text(encoding="utf-8"))
        return answer

    def play_apart(self, tasks: Tasks, *options: str, **arguments: Any) -> Results:
        """The same for tasks that do not share any image that one of them can lock: several playbooks run at once."""
        parts = [dict(list(tasks.items())[start::_AT_ONCE]) for start in range(_AT_ONCE)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(lambda part: self.play(part, *options, **arguments), parts))
        return {name: answer[name] for name in tasks for answer in answers if name in answer}

    def run(self, *command: str) -> str:
        """Run a program of Ansible, which must succeed; what it said."""
        done = subprocess.run(
            command, env=self.environment, cwd=self._directory, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, "%s\n%s%s" % (" ".join(command), done.stdout, done.stderr)
        return done.stdout + done.stderr
