# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules can do."""
from __future__ import annotations


class ModuleDocFragment:
    # What is the same for all modules.
    DOCUMENTATION = r"""
options: {}
attributes:
  platform:
    description: Target operating systems.
    platforms: Linux
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: full
  action_group:
    description: Use C(group/qimg.disk.qimg) in C(module_defaults) to set defaults for all modules of this collection.
    support: full
    membership:
      - qimg.disk.qimg
      - qimg.disk.all
"""

    # For modules that change images.
    CHANGES = r"""
options: {}
notes:
  - An image that another host, or another process on the host, is working on is refused, and left as it is.
    Have tasks for one image on storage that several hosts share run on one of them, with C(run_once), or on one after
    another, with C(throttle=1).
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - The change is planned in the same way, and rehearsed in memory, so that its errors show too.
        What depends on free space on the host is not foreseen.
      - What earlier tasks with modules of this collection would make or change on the host is known to later ones, so
        that whole plays can be checked on a new host. What a task with C(run_once) would make is known on all hosts.
      - An image or directory that does not exist is taken to be made by an earlier task of another kind (by a download,
        for instance). A warning says so. There is a change then, as far as anybody can say.
        A mistyped name can only be told from this by the warning, which names files that are called nearly the same.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
    support: full
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled or queried by the module has not changed in a relevant way.
    support: full
"""

    # For modules that only look.
    READS = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - This action does not modify state.
      - It knows the images that earlier tasks with modules of this collection would make or change, and is skipped
        where it would need data that are not there yet, or an image that somebody else has to make first.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled or queried by the module has not changed in a relevant way.
    support: full
    details:
      - This action does not modify state.
"""
