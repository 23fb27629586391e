# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options that the modules share."""
from __future__ import annotations


class ModuleDocFragment:
    # What an image may make a module open, and whose images it may look at.
    DOCUMENTATION = r"""
options:
  reference_policy:
    description:
      - Which other files an image may make the module open.
        An image can name a backing file or a data file, and whoever wrote the image chose these names.
      - Files that you name yourself in an option are never asked about.
      - V(same_directory) allows files in or below the directory of the image that names them, or one of
        O(trusted_dirs), after symbolic links have been followed.
        Where several users keep their disks in one directory, an image can name a neighbour's disk, and so have it
        read as if it were its own.
        A hard link in that directory is a file of that directory, wherever the file's other names are. Whoever may make
        one there can have an image open the file that it leads to.
      - V(follow) allows everything, as C(qemu-img) does.
      - V(deny) allows nothing. It is right for images that come from somebody else, who has no reason to name any file
        of this host, above all before they are converted or moved into a directory that others use too.
    type: str
    choices:
      - follow
      - same_directory
      - deny
    default: same_directory
  trusted_dirs:
    description:
      - Further directories whose files may be opened under O(reference_policy=same_directory).
    type: list
    elements: path
    default: []
  force_share:
    description:
      - Read images although a running virtual machine, or somebody else, is writing to them.
      - What is read from such an image can be out of date or contradict itself.
        A check of an image in use can report errors that do not exist.
      - Headers are read without this, so that a task that has nothing to change, and V(info), do not mind a running
        virtual machine. It is needed to compare, map or check what somebody is writing to.
      - M(qimg.disk.qimg_convert) also copies a source in use with it, without checking it, and warns.
      - An image in use is never changed, whatever this says.
    type: bool
    default: false
"""

    # What to find out about an image.
    GATHER = r"""
options:
  gather:
    description:
      - What to find out about the image, for the return values of the same names.
      - V(info) reads the image's header, V(map) its tables, V(check) reads all of its metadata.
    type: list
    elements: str
    choices:
      - info
      - map
      - check
    default:
      - info
  map_limit:
    description:
      - The number of extents after which the C(map) document is cut off.
      - V(0) means no limit.
    type: int
    default: 100
"""

    # The image that a module changes.
    PATH = r"""
options:
  path:
    description:
      - The image.
    type: path
    required: true
  format:
    description:
      - The format of the image, for instance V(qcow2) or V(raw).
      - By default, it is detected, and a task that changes something warns of that.
        The guest of a raw image can write whatever it wants to its beginning, and so have it taken for another format.
        An image that seems to be raw is therefore only changed if this is given.
    type: str
"""

    # The images that lie on the one that a module changes.
    DEPENDANTS = r"""
options:
  dependants_dirs:
    description:
      - Further directories of the managed host where images may be that depend on this one, for instance because it is
        their backing file. Subdirectories are not looked at.
      - The directory of the image is always looked at, and so are the images that the fact C(qimg_images) of the host
        names; see the option O(qimg.disk.qimg_info#module:facts) of M(qimg.disk.qimg_info).
        What depends on an image through other images counts, too, if all of them are looked at.
      - Only the first bytes of files are read. Files that cannot be read are left out.
    type: list
    elements: path
    default: []
  allow_dependants:
    description:
      - Change the image although other images depend on it.
        B(What the disks of those read is something else afterwards,) and their file systems are most likely damaged.
      - Without this, the task fails and names them, before anything has been changed, and in check mode too.
        A task that leaves the content of the disk as it is does not fail.
    type: bool
    default: false
"""
