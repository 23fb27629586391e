# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an image is as a file, for the modules that make images."""
from __future__ import annotations


class ModuleDocFragment:
    # As in ansible.builtin.files, but for unsafe_writes.
    DOCUMENTATION = r"""
options:
  mode:
    description:
      - The permissions of the image file, as an octal number in quotes (V("0640")), or symbolic (V(u=rw,g=r,o=)).
      - A new file has them, and its owner and group, before it takes its name. The same goes for its data file, if it
        has one.
      - The default for a new file is V("0644") without what the umask takes away, and for a file that replaces another
        one, the permissions of that. A file that stays keeps what it has.
    type: raw
  owner:
    description:
      - The name or number of the user who is to own the image file.
      - The default for a new file is the user who runs the module, and for a file that replaces another one, the owner
        of that. A file that stays keeps what it has.
      - The owner, group and permissions of an image in use are never changed. libvirt gives the image of a running
        machine to the user that the machine runs as, and takes it back afterwards, unless its C(dynamic_ownership) is
        off. Name that user here, or leave this out, for tasks that shall run meanwhile.
    type: str
  group:
    description:
      - The name or number of the group of the image file; see O(owner).
    type: str
  seuser:
    description:
      - The user part of the SELinux context of the image file.
      - V(_default) is what the policy says.
    type: str
  serole:
    description:
      - The role part of the SELinux context of the image file.
      - V(_default) is what the policy says.
    type: str
  setype:
    description:
      - The type part of the SELinux context of the image file.
      - V(_default) is what the policy says.
    type: str
  selevel:
    description:
      - The level part of the SELinux context of the image file.
      - V(_default) is what the policy says.
    type: str
  attributes:
    description:
      - The attributes of the image file, as C(chattr) has them, in the order in which C(lsattr) shows them.
      - V(=) is assumed if they do not begin with V(=), V(+) or V(-).
    type: str
    aliases: [attr]
"""
