# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules share: a module is its documentation, its options, and a function that plans what it does."""
from __future__ import annotations

import errno
import os

from ansible.module_utils.basic import AnsibleModule

from .qimg.errors import (
    DependantsError,
    ImageError,
    ImageInUseError,
    OptionError,
    UnknownContentError,
    UnsupportedOperationError,
)
from .qimg.formats.driver import INFO
from .qimg.formats.opening import Opener
from .qimg.operations.check import check
from .qimg.operations.dependants import altered_dependants
from .qimg.operations.info import info
from .qimg.operations.map import map_image
from .qimg.policy import MODES, SAME_DIRECTORY, ReferencePolicy
from .qimg.references import protocol_of, resolve_reference
from .qimg.sizes import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._file_options import FileOptions
    from .qimg.operations.plan import Plan
    from .qimg.storage.ownership import Ownership
    from .qimg.storage.scratch import Rehearsal

    Documents = dict[str, Any]
    Planner = Callable[["ImageModule", Opener], Plan]
    Describer = Callable[["ImageModule", Plan, Any], Documents]
    FindFileOptions = Callable[["ImageModule", str], FileOptions]
    Look = Callable[["ReadingModule", Opener], Documents]

_BECOME = "run the task with become, as root or as a user who has the right"
#: In check mode.
NOT_MADE_YET = "What this task would find cannot be foretold, because there is no %s yet"
ASSUMED = "There is no %s; in check mode, an earlier task is taken to make it, and this one to succeed with it"

DETECTED = (
    "'%s': Its format was detected as %s, because '%s' does not say it. The guest of a raw image can write what it "
    "wants to the beginning of its disk, and so have it taken for another format: name the format in '%s'"
)
READ_DIFFERENTLY = "'%s' was changed although other images depend on it, which read something else now: %s"

#: What formats call an option that modules have under another name.
_OPTION_NAMES = {"backing_fmt": "backing_format"}

READING = {
    "reference_policy": {"type": "str", "choices": list(MODES), "default": SAME_DIRECTORY},
    "trusted_dirs": {"type": "list", "elements": "path", "default": []},
    "force_share": {"type": "bool", "default": False},
}
GATHERING = {
    "gather": {
        "type": "list",
        "elements": "str",
        "choices": ["info", "map", "check"],
        "default": ["info"],
    },
    "map_limit": {"type": "int", "default": 100},
}
DEPENDANTS = {
    "dependants_dirs": {"type": "list", "elements": "path", "default": []},
    "allow_dependants": {"type": "bool", "default": False},
}
IMAGE = {"path": {"type": "path", "required": True}, "format": {"type": "str"}}


class ReadingModule(AnsibleModule):
    """A module of this collection.

    :param options: its own options; those of the fragment ``image`` are added
    :param rules: what else AnsibleModule takes
    """

    #: Whether the image itself need not be there yet.
    makes_image = False
    #: Whether there is anything that it could change.
    may_change = True
    #: Whether a task that finds nothing to change may have looked at an image in use.
    looks_at_used_images = True
    #: Whether force_share also lets a change read other images in use.
    reads_used_images = False

    def __init__(self, options: dict[str, Any], **rules: Any) -> None:
        super().__init__(argument_spec={**READING, **options}, supports_check_mode=True, **rules)
        self.rehearsal: Rehearsal | None = None
        if self.check_mode:
            self._begin_rehearsal()

    def _load_params(self) -> None:
        """Take out what is not for the user to say: our action plugin adds it, the rehearsals in check mode only."""
        super()._load_params()
        #: The images that the host's facts know.
        self.known_images: list[str] = self.params.pop("_known_images", [])
        self._left_by_earlier_tasks: Documents | None = self.params.pop("_rehearsal", None)

    def _begin_rehearsal(self) -> None:
        from .qimg.storage.scratch import Rehearsal

        self.rehearsal = Rehearsal(self._left_by_earlier_tasks)
        self.rehearsal.assumed_directories = []

    def add_path_info(self, kwargs: Documents) -> Documents:
        """Add whose the image's file is, where that is among the return values."""
        if "mode" not in self.argument_spec:
            return kwargs
        found: Documents = super().add_path_info({"path": kwargs["path"]})
        for name in ("mode", "uid", "owner", "gid", "group", "secontext"):
            if name in found:
                kwargs[name] = found[name]
        return kwargs

    def is_there(self, name: str) -> bool:
        """Whether there is anything of that name; of what is not a local file, only opening it tells."""
        if protocol_of(name) is not None:
            return True
        return os.path.exists(name) if self.rehearsal is None else self.rehearsal.exists(name)

    def missing_inputs(self) -> list[str]:
        """The images that the user names, that have to be there, and that are not."""
        named = [self.params.get(option) for option in ("base", "merge_image", "other_path")]
        named += self.params.get("source") or []
        backing_file = self.params.get("backing_file")
        if backing_file and not self.params.get("unsafe") and protocol_of(self.image_name()) is None:
            named.append(resolve_reference(self.image_name(), backing_file))
        if not self.makes_image:
            path = self.params["path"]
            named += path if isinstance(path, list) else [path]
        return [name for name in map(absolute, filter(None, named)) if not self.is_there(name)]

    def image_name(self) -> str:
        """The image that is asked about."""
        return absolute(self.params["path"])

    def size(self, option: str, value: Any = None) -> int | None:
        """A size in bytes, from a number or a text such as ``10G``.

        :param value: what is given for the option; ``None``: what the user has given
        :raises OptionError: it is none
        """
        if value is None:
            value = self.params[option]
        if value is None:
            return None
        try:
            if isinstance(value, (bool, float)):
                raise OptionError("'%s' is not a size" % value)
            return parse_size(str(value))
        except OptionError as error:
            raise OptionError(
                "%s: %s" % (option, error.reason), remedy="give a number of bytes, or a text such as 512M or 10G"
            ) from error

    def opener(self, force_share: bool = False) -> Opener:
        """Opens images as the user's options allow it, including those that he named himself."""
        files = [absolute(name) for name in self.params.get("source") or []]
        if self.params.get("base"):
            files.append(absolute(self.params["base"]))
        if self.params.get("backing_file"):
            files.append(resolve_reference(self.image_name(), self.params["backing_file"]))
        policy = ReferencePolicy(
            self.params["reference_policy"], tuple(self.params["trusted_dirs"]), trusted_files=tuple(files)
        )
        opener = Opener(policy, force_share=force_share)
        opener.rehearsal = self.rehearsal
        return opener

    def report(self, look: Look) -> None:
        """Exit with what ``look`` returns; nothing is changed.

        ``failure`` in it is a sentence with which the task fails in spite of the rest.
        """
        self.may_change = False
        try:
            result = look(self, self.opener(self.params["force_share"]))
        except UnknownContentError as error:
            self.exit_json(changed=False, skipped=True, msg=printable(str(error)))
        except (ImageError, OSError) as error:
            if self._lacks_inputs(error):
                self.skip()
            self.fail(error, {"changed": False})
        failure = result.pop("failure", None)
        if failure is not None:
            self.fail_json(msg=printable(failure), changed=False, **printable(result))
        self.exit_json(changed=False, **printable(result))

    def _lacks_inputs(self, error: ImageError | OSError) -> bool:
        """Whether a task cannot be rehearsed, because an image is not there that earlier tasks may well make."""
        return self.check_mode and error.errno == errno.ENOENT and bool(self.missing_inputs())

    def skip(self, missing: list[str] | None = None) -> None:
        """Exit without having looked, in check mode.

        :param missing: what has to be there first; ``None``: :meth:`missing_inputs`
        """
        self.exit_json(changed=False, skipped=True, msg=NOT_MADE_YET % _shown(missing or self.missing_inputs()))

    def fail(self, error: ImageError | OSError, result: Documents) -> None:
        """Exit with an error in one sentence, its parts, and what was done before it."""
        path = self.params["path"]
        named = self.image_name() if isinstance(path, str) and path else None
        self.fail_json(**printable({**result, **self.failure_of(error, named)}))

    def failure_of(self, error: ImageError | OSError, path: str | None) -> Documents:
        """An error in one sentence (``msg``), and its parts.

        :param path: the image that it is about, if the error does not say so
        """
        if isinstance(error, OSError):
            lacks_rights = error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0
            return {"msg": "%s; %s" % (error, _BECOME) if lacks_rights else str(error)}
        error.path = error.path or path
        if isinstance(error, ImageInUseError) and not self.params["force_share"] and self._may_be_shared(error):
            error.remedy = "%s; with force_share it can be read all the same" % error.remedy
        elif error.errno in (errno.EACCES, errno.EPERM) and not error.remedy and os.geteuid() != 0:
            error.remedy = _BECOME
        return {"msg": str(error), **error.details()}

    def _may_be_shared(self, error: ImageInUseError) -> bool:
        """Whether the image in use is one that is only read."""
        return not self.may_change or (self.reads_used_images and error.path != self.image_name())


class ImageModule(ReadingModule):
    """A module that also says what it finds out about the image; see ``GATHER`` of the fragment ``image``."""

    #: What can be done for other images that depend on the one that would change.
    dependants_remedy = "move them to another backing file with qimg_rebase first"

    def __init__(self, options: dict[str, Any], **rules: Any) -> None:
        super().__init__({**GATHERING, **options}, **rules)
        if self.params["map_limit"] < 0:
            self.fail_json(msg="map_limit: %d is negative; give 0 for no limit" % self.params["map_limit"])

    def change(
        self, planner: Planner, describe: Describer | None = None, file_options: FindFileOptions | None = None
    ) -> None:
        """Have a change planned, make it (or rehearse it, in check mode), and exit.

        :param planner: plans the change; gets the module and what to open images with
        :param describe: further return values, from the module, the plan and what it returned; ``failure`` among them
            is a sentence with which the task fails in spite of them
        :param file_options: finds out what the user wants the image's file to be
        """
        result: Documents = {"changed": False}
        try:
            path = self.image_name()
            file = NoFileOptions() if file_options is None else file_options(self, path)
            plan = self._plan(planner, file.ownership)
            if not plan.changed:
                file.check()
            else:
                self._check_format(path)
                self._check_dependants(plan, file, result)
            outcome = plan.rehearse() if self.check_mode else plan.apply()
            file.apply()
            for directory in self.rehearsal.assumed_directories or [] if self.rehearsal is not None else []:
                self.warn(printable(ASSUMED % ("directory '%s'" % directory)))
            actions = plan.actions + file.actions()
            result = {**result, "changed": bool(actions), "path": path, "actions": actions}
            if self._diff:
                result["diff"] = difference(plan, file, result.get("dependants"))
            described = describe(self, plan, outcome) if describe is not None else {}
            failure = described.pop("failure", None)
            result.update(described)
            if self.is_there(path):
                result.update(self.available_documents(path, self.params.get("format"), described))
            else:
                result.update(_nothing(self.params["gather"]))
        except (ImageError, OSError) as error:
            if self._lacks_inputs(error):
                self._assume()
            self.fail(error, result)
        if self.rehearsal is not None and self._left_by_earlier_tasks is not None:
            left = self._left_by_earlier_tasks
            documents = self.rehearsal.documents()
            result["_rehearsal"] = {path: documents[path] for path in documents if documents[path] != left.get(path)}
        if failure is not None:
            self.fail_json(msg=printable(failure), **printable(result))
        self.exit_json(**printable(result))

    def _assume(self) -> None:
        """Exit as if all went well, in check mode, though nothing can be said."""
        if not self.may_change:
            self.skip()
        similar = [each for name in self.missing_inputs() for each in _similar_files(name)]
        hint = "; or is %s meant?" % " or ".join("'%s'" % name for name in similar) if similar else ""
        self.warn(ASSUMED % _shown(self.missing_inputs()) + printable(hint))
        result = {"path": self.image_name(), "actions": ["whatever there is to do then"]}
        self.exit_json(changed=True, **printable({**result, **_nothing(self.params["gather"])}))

    def _plan(self, planner: Planner, ownership: Ownership | None) -> Plan:
        shared = self.params["force_share"]
        try:
            plan = planner(self, self.opener(shared).variant(ownership=ownership))
        except ImageInUseError:
            if shared or not self.looks_at_used_images:
                raise
            # Whoever finds it as it shall be does not disturb its user.
            plan = planner(self, self.opener(True).variant(ownership=ownership))
            if plan.changed:
                raise
        if plan.changed and shared and not self.reads_used_images:
            # Looking at an image in use was allowed, changing it is not.
            plan = planner(self, self.opener().variant(ownership=ownership))
        return plan

    def detected_format(self, path: str) -> str:
        """The format that an image seems to have, whoever is using it.

        :raises ImageError: it cannot be opened
        """
        with self.opener(True).open(path, None, INFO, backing=False) as image:
            return image.format

    def _check_format(self, path: str) -> None:
        """See that nothing is changed as what its guest may have made it look like, or warn of it.

        :raises OptionError: what seems to be raw may look like something else the next time
        """
        if self.params.get("format") is not None:
            return
        detected = self.detected_format(path)
        if detected == "raw":
            raise OptionError(
                "format: What seems to be a raw image is only changed if its format is named, because its guest can "
                "have it taken for another format",
                path=path,
                remedy="set format to raw if it is a raw image",
            )
        self.warn(printable(DETECTED % (path, detected, "format", "format")))

    def _check_dependants(self, plan: Plan, file: FileOptions | NoFileOptions, result: Documents) -> None:
        """Refuse a change after which other images would read something else, unless the user allows it.

        :param result: gets what is to be said of them, whether the task fails or not
        :raises DependantsError: there are such images
        """
        if "allow_dependants" not in self.params:
            return
        found = altered_dependants(plan, self.params["dependants_dirs"], self.known_images, self.opener())
        if not found:
            return
        path = plan.altered[0].path
        dependants = result["dependants"] = [each.path for each in found]
        if self._diff:
            result["diff"] = difference(plan, file, dependants)
        if not self.params["allow_dependants"]:
            error = DependantsError(path, dependants)
            error.remedy = "%s, or set allow_dependants if they may be damaged" % self.dependants_remedy
            raise error
        self.warn(printable(READ_DIFFERENTLY % (path, ", ".join("'%s'" % name for name in dependants))))

    def documents(self, path: str, format: str | None) -> Documents:
        """What the user wants to know about an image.

        :raises ImageError: it cannot be read
        """
        documents: Documents = {}
        for name in self.params["gather"]:
            documents.update(self._document(name, path, format))
        return documents

    def read_headers(self, read: Callable[[Opener], Any]) -> Any:
        """What ``read`` finds in the headers of images, also of such that somebody is using.

        :raises ImageError: they cannot be read
        """
        try:
            return read(self.opener(self.params["force_share"]))
        except ImageInUseError:
            return read(self.opener(True))

    def available_documents(self, path: str, format: str | None, known: Documents) -> Documents:
        """The same after the task has done its work, which does not fail any more because something cannot be read.

        :param known: what need not be found out again
        """
        documents: Documents = {}
        for name in self.params["gather"]:
            if name not in known:
                try:
                    documents.update(self._document(name, path, format))
                except ImageError as error:
                    self.warn(printable("The result has no '%s' of the image: %s" % (name, error)))
                    documents.update(_nothing([name]))
        return documents

    def _document(self, name: str, path: str, format: str | None) -> Documents:
        """One of the documents, by its name, and what belongs to it."""
        content = self.rehearsal.content(path) if self.rehearsal is not None else None
        if name != "info" and content is not None and content.lacks_data:
            return _nothing([name])
        opener = self.opener(self.params["force_share"])
        if name == "info":
            return {"info": self.read_headers(lambda opener: info(path, format, opener=opener)).document()}
        if name == "map":
            limit = self.params["map_limit"]
            extents = map_image(path, format, limit=limit + 1 if limit else None, opener=opener)
            return {
                "map_truncated": 0 < limit < len(extents),
                "map": [extent.document() for extent in extents[: limit or None]],
            }
        try:
            return {"check": check(path, format, opener=opener).document()}
        except UnsupportedOperationError:
            return {"check": None}


def _shown(names: list[str]) -> str:
    """Names of images that are not there, for a message."""
    return str(printable(" and no ".join("'%s'" % name for name in names)))


def _similar_files(name: str) -> list[str]:
    """The files whose name may have been mistyped; images that are only numbered otherwise are other images."""
    from difflib import get_close_matches

    def unnumbered(base: str) -> str:
        return "".join(letter for letter in base if not letter.isdigit())

    directory, base = os.path.split(name)
    try:
        others = os.listdir(directory)
    except OSError:
        return []
    similar = get_close_matches(base, others, n=2, cutoff=0.8)
    return [os.path.join(directory, other) for other in similar if unnumbered(other) != unnumbered(base)]


def _nothing(gather: list[str]) -> Documents:
    """The documents of an image that is not there."""
    return {name: False if name == "map_truncated" else None for name in _keys(gather)}


def _keys(gather: list[str]) -> list[str]:
    """The keys of what is gathered."""
    return [*gather, "map_truncated"] if "map" in gather else gather


def absolute(name: str) -> str:
    """The name of an image as facts have it: paths are absolute, what begins with a protocol is as it is.

    :raises OptionError: it is empty
    """
    if not name:
        raise OptionError("The name of an image is empty", remedy="give the path of an image file")
    return name if protocol_of(name) is not None else os.path.abspath(name)


def is_same_file(one: str, other: str) -> bool:
    """Whether two names are of one file that is there."""
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


class NoFileOptions:
    """Of a module that does not care what the image's file is like: see :class:`FileOptions`."""

    ownership = None
    before: Documents = {}
    after: Documents = {}

    def actions(self) -> list[str]:
        """Nothing."""
        return []

    def check(self) -> None:
        """Nothing to be refused."""

    def apply(self) -> None:
        """Nothing to do."""


def difference(plan: Plan, file: FileOptions | NoFileOptions, dependants: list[str] | None = None) -> Documents:
    """What ``--diff`` shows.

    :param dependants: the other images that read something else afterwards
    """
    altered = {"altered_dependants": dependants} if dependants else {}
    return {
        "before_header": plan.path,
        "after_header": plan.path,
        "before": _named_as_options({**plan.before, **file.before}),
        "after": _named_as_options({**plan.after, **file.after, **altered}),
    }


def _named_as_options(state: Documents) -> Documents:
    """What an image is, by the names of the modules' options."""
    return printable({_OPTION_NAMES.get(name, name): value for name, value in state.items()})


def printable(value: Any) -> Any:
    """File names need not be text: what is not, Ansible could neither send nor show."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(item) for item in value]
    return value
