# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making new images."""
from __future__ import annotations

import errno
import os

from ..errors import FormatError, ImageError, MismatchError, OptionError, StorageError
from ..formats import get_driver
from ..formats.driver import INFO
from ..formats.new_files import target_exists
from ..formats.opening import Opener
from ..formats.options import check_values
from ..option_text import check_choice, parse_size_option
from ..references import resolve_data_file, resolve_reference, text_of
from ..storage.local import LocalFile
from ..storage.locks import REPLACE
from .new_image import creatable, creation_options, empty_image, new_files
from .plan import Altered, Plan
from .room import surely_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ..formats.base import Image
    from ..formats.driver import Driver
    from ..references import FileName
    from .plan import Progress

    Existing = Literal["overwrite", "fail", "recreate", "ignore"]
    SizePolicy = Literal["exact", "at_least"]

# What to do about a file that is there already.
OVERWRITE: Existing = "overwrite"  #: make the new image without looking, as qemu-img does
FAIL: Existing = "fail"  #: nothing if it is what is wanted, an error if not
RECREATE: Existing = "recreate"  #: nothing if it is what is wanted, a new image if not
IGNORE: Existing = "ignore"  #: nothing, whatever it is
EXISTING = (OVERWRITE, FAIL, RECREATE, IGNORE)

# When the size of an existing image is right.
EXACT: SizePolicy = "exact"
AT_LEAST: SizePolicy = "at_least"
SIZE_POLICIES = (EXACT, AT_LEAST)

#: Options that are always compared: an image without a backing file is another one than with it.
BACKING = ("backing_file", "backing_fmt")


class CreatePlan(Plan):
    """A plan that also knows the options with all defaults filled in (``options``).

    ``differences`` says in what an existing file is not what was asked for, one clause each.
    """

    options: dict[str, Any]
    differences: list[str]


def resolve_options(
    path: str,
    format: str,
    size: int | None,
    options: dict[str, Any],
    backing_file: str | None,
    backing_format: str | None,
    open_backing: bool = True,
    opener: Opener | None = None,
) -> dict[str, Any]:
    """All options of a new image: checked, with its size, its backing file and the defaults filled in.

    :param size: guest bytes; ``None``: that of the backing file
    :param open_backing: whether to look at the backing file
    :raises OptionError: in qemu-img's words
    :raises ImageError: the backing file cannot be opened
    """
    driver = creatable(format, path)
    declared = creation_options(format, path)
    values = check_values(declared, options)
    if size is not None and "size" in values:
        raise OptionError("The image size must be specified only once", path=path)
    check_backing_options(path, driver, backing_file, backing_format)
    if backing_file is not None:
        values["backing_file"] = backing_file
    if backing_format is not None:
        values["backing_fmt"] = backing_format
    if size is not None:
        values["size"] = parse_size_option("size", size)
    if "backing_file" in values:
        _check_backing(path, values, open_backing, opener or Opener())
    if "size" not in values:
        raise no_size(path)
    resolved = {}
    for option in declared:
        if option.name in values:
            resolved[option.name] = values[option.name]
        elif option.default is not None:
            resolved[option.name] = option.default
    return resolved


def no_size(path: str) -> OptionError:
    """The error for a new image of which nobody knows how large it is to be."""
    return OptionError("Image creation needs a size parameter", path=path, remedy="give the size")


def check_backing_options(path: str, driver: Driver, backing_file: str | None, backing_format: str | None) -> None:
    """Only some formats know backing files.

    :raises OptionError: one is wanted, and this format does not
    """
    if backing_file is not None and not driver.has_option("backing_file"):
        raise OptionError("Backing file not supported for file format '%s'" % driver.name, path=path)
    if backing_format is not None and not driver.has_option("backing_fmt"):
        raise OptionError("Backing file format not supported for file format '%s'" % driver.name, path=path)


def _check_backing(path: str, values: dict[str, Any], open_backing: bool, opener: Opener) -> None:
    backing_file = values["backing_file"]
    if backing_file == path or _is_same_file(path, backing_file):
        raise OptionError("Error: Trying to create an image with the same filename as the backing file", path=path)
    if not backing_file:
        raise OptionError("Expected backing file name, got empty string", path=path)
    backing_format = values.get("backing_fmt")
    if open_backing:
        # Only its size and format are of interest, whoever may be using it: as qemu-img, without locks.  What it lies
        # on must be there all the same.
        looking = opener.variant(force_share=True)
        target = resolve_reference(path, backing_file)
        try:
            with looking.open(target, backing_format, INFO) as backing:
                values.setdefault("size", backing.size)
                detected = backing.format
        except ImageError as error:
            error.path = path
            error.while_opening = None
            error.hint = "\n".join(filter(None, (error.hint, "Could not open backing image.")))
            error.remedy = error.remedy or "this is the backing file that it is to have"
            raise
        if backing_format is None:
            raise OptionError(
                "Backing file specified without backing format",
                path=path,
                hint="Detected format of %s." % detected,
                remedy="say which format the backing file has (it seems to be %s)" % detected,
            )
    elif backing_format is None:
        raise OptionError(
            "Backing file specified without backing format", path=path, remedy="say which format the backing file has"
        )


def _is_same_file(path: str, backing_file: str) -> bool:
    if not os.path.exists(path):
        return False
    other = resolve_reference(path, backing_file)
    return os.path.exists(other) and os.path.samefile(path, other)


def plan_create(
    path: FileName,
    format: str = "raw",
    size: int | None = None,
    options: dict[str, Any] | None = None,
    backing_file: FileName | None = None,
    backing_format: str | None = None,
    open_backing: bool = True,
    existing: Existing = FAIL,
    size_policy: SizePolicy = EXACT,
    sync: bool = True,
    opener: Opener | None = None,
) -> CreatePlan:
    """Plan a new image.

    :param path: the new image
    :param format: its format
    :param size: guest bytes; ``None``: that of the backing file
    :param options: creation options of the format, by name; texts are parsed
    :param backing_file: its backing file, by the name that it is to store, relative to its own directory
    :param backing_format: the format of that
    :param open_backing: whether to look at the backing file, which must be there then
    :param existing: what to do about a file that is there: ``OVERWRITE``, ``FAIL``, ``RECREATE`` or ``IGNORE``
    :param size_policy: whether an existing image may be larger (``AT_LEAST``)
    :param sync: whether the image must be on the medium before it takes its name
    :param opener: which files may be opened, and how
    :raises MismatchError: something else is there, and ``existing`` is ``FAIL``
    :raises ImageError: the image cannot be made as asked
    """
    opener = opener or Opener()
    check_choice("existing", existing, EXISTING)
    check_choice("size_policy", size_policy, SIZE_POLICIES)
    path = text_of(path)
    backing_file = None if backing_file is None else text_of(backing_file)
    explicit = dict(options or {})
    is_new = not target_exists(path, opener.rehearsal, creatable(format, path).protocol)
    keeps_size = not is_new and existing != OVERWRITE and size is None and backing_file is None
    keeps_size = keeps_size and not {"size", "backing_file"} & explicit.keys()
    resolved = resolve_options(
        path, format, 0 if keeps_size else size, explicit, backing_file, backing_format, open_backing, opener
    )
    before: dict[str, Any] = {}
    differences: dict[str, str] = {}
    actions = ["create a %s image of %d bytes" % (format, resolved["size"])]
    if not is_new and existing != OVERWRITE:
        asked = {*explicit, "size"} if size is not None else set(explicit)
        wanted = {name: resolved[name] for name in resolved if name in asked}
        before, differences = existing_differences(path, format, resolved, wanted, size_policy, opener)
        actions = _actions_over_existing(path, existing, differences)
        if keeps_size and actions:
            raise no_size(path)
        if keeps_size:
            resolved["size"] = before.get("size", 0)
    if actions and existing in (FAIL, IGNORE):
        keep_further_files(path, format, resolved, opener)

    def run(opener: Opener, _progress: Progress) -> None:
        try:
            with new_files(path, format, resolved, opener, sync) as files:
                if not surely_fits(creatable(format, path), resolved, files, ()):
                    with empty_image(path, format, files.trial(), resolved, opener):
                        pass
                with empty_image(path, format, files, resolved, opener):
                    pass
                if is_new and existing != OVERWRITE:
                    files.require_new()
                if existing in (FAIL, IGNORE):
                    files.require_new_others()
                files.commit()
        except StorageError as error:
            if error.errno == errno.EFBIG:
                error.reason = _too_large(format)
            raise

    after = before
    if actions:
        after = {"format": format, **resolved}
        # What nobody asked for is not compared, and gets whatever the format thinks best.
        before = {name: value for name, value in before.items() if name in after or (name in BACKING and value)}
    plan = CreatePlan(path, actions, before, after, run, opener)
    plan.options = resolved
    plan.differences = list(differences.values())
    if actions:
        plan.altered = (Altered(path),)
    return plan


def _actions_over_existing(path: str, existing: Existing, differences: dict[str, str]) -> list[str]:
    """What is done about a file that is there.

    :param differences: in what it is not what was asked for, from :func:`existing_differences`
    :raises MismatchError: it has to be what was asked for, and is not
    """
    if not differences or existing == IGNORE:
        return []
    reason = "; ".join(differences.values())
    if existing == FAIL:
        error = MismatchError(
            "The existing file is not what was asked for: %s" % reason,
            path=path,
            remedy="change it with the module or command for that, or say that it may be recreated or ignored",
        )
        error.differing = tuple(differences)
        raise error
    return ["replace the existing file: %s" % reason]


def _too_large(format: str) -> str:
    """What a file that may not become so long means for its image."""
    reason = "The image size is too large for file format '%s'" % format
    if get_driver(format).has_option("cluster_size"):
        reason += " (try using a larger cluster size)"
    return reason


def keep_further_files(path: str, format: str, options: dict[str, Any], opener: Opener) -> None:
    """Refuse to overwrite a file that would become a data file or an extent: it may hold somebody's data.

    :param path: the new image
    :param options: its creation options
    :raises MismatchError: such a file exists
    """
    for role, name in creatable(format, path).further_files(path, options):
        if target_exists(resolve_data_file(path, name), opener.rehearsal):
            raise MismatchError(
                "Its %s '%s' is there already, and would be overwritten" % (role, name),
                path=path,
                remedy="name another %s, or remove that one" % role,
            )


def existing_differences(
    path: str, format: str, resolved: dict[str, Any], explicit: dict[str, Any], size_policy: SizePolicy, opener: Opener
) -> tuple[dict[str, Any], dict[str, str]]:
    """What is at ``path``, and in what it differs from what is wanted.

    :returns: its format, size and options; and one clause for each difference, by the name of the option, or by
        ``format``, ``larger`` or ``smaller``
    """
    try:
        found = open_existing(path, format, opener)
    except StorageError:
        # It may be all that was asked for: we are not allowed to look, or somebody is using it.
        raise
    except ImageError as error:
        return {}, {"format": "it cannot be opened as an image (%s)" % error.reason}
    with found as image:
        return image_differences(image, format, resolved, explicit, size_policy)


def image_differences(
    image: Image, format: str, resolved: dict[str, Any], explicit: dict[str, Any], size_policy: SizePolicy
) -> tuple[dict[str, Any], dict[str, str]]:
    """The same for an image that is open."""
    before: dict[str, Any] = {"format": image.format, "size": image.size}
    before.update(image.creation_options())
    if image.format != format:
        return before, {"format": "its format is %s, not %s" % (image.format, format)}
    size = get_driver(format).disk_size(resolved["size"], resolved)
    differences = {}
    if "size" in explicit and (image.size < size or (image.size > size and size_policy == EXACT)):
        name = "larger" if image.size > size else "smaller"
        differences[name] = "its size is %d bytes, not %d" % (image.size, size)
    wanted: dict[str, Any] = {}
    declared = {option.name: option for option in get_driver(format).options}
    for name in BACKING:
        if name in declared:
            wanted[name] = resolved.get(name)
    wanted.update({name: value for name, value in explicit.items() if name in before and name != "size"})
    for name, value in wanted.items():
        if not declared[name].same(before.get(name), value):
            differences[name] = _difference(name, before.get(name), value)
    return before, differences


def open_existing(path: str, format: str, opener: Opener) -> Image:
    """What is at ``path``: by what its beginning tells, or as the wanted format, if that is told by the end of the file
    only."""
    image = opener.open(path, None, INFO, backing=False)
    if image.format == format or not image.is_plain:
        return image
    try:
        wanted = opener.open(path, format, INFO, backing=False)
    except FormatError:
        return image
    image.abandon()
    return wanted


def _difference(name: str, found: Any, wanted: Any) -> str:
    name = shown_name(name)
    if wanted is None:
        return "its %s is %s, and should not be set" % (name, shown(found))
    if found is None:
        return "its %s is not set, and should be %s" % (name, shown(wanted))
    return "its %s is %s, not %s" % (name, shown(found), shown(wanted))


def shown_name(option: str) -> str:
    """What messages call an option: its argument, where it has one of its own."""
    return "backing_format" if option == "backing_fmt" else option


def shown(value: Any) -> str:
    """The value of an option, for a message."""
    return repr(value) if isinstance(value, str) else str(value).lower()


def create(
    path: FileName,
    format: str = "raw",
    size: int | None = None,
    options: dict[str, Any] | None = None,
    backing_file: FileName | None = None,
    backing_format: str | None = None,
    *,
    open_backing: bool = True,
    existing: Existing = FAIL,
    size_policy: SizePolicy = EXACT,
    sync: bool = True,
    opener: Opener | None = None,
) -> None:
    """Make a new image; arguments and errors as for :func:`plan_create`."""
    plan_create(
        path, format, size, options, backing_file, backing_format, open_backing, existing, size_policy, sync, opener
    ).apply()


def check_unused(path: str) -> None:
    """See that nobody is writing the file at ``path``, if there is one, or counts on its content.

    :raises ImageInUseError: somebody is
    """
    if os.path.exists(path):
        with LocalFile.open(path) as storage:
            storage.lock(REPLACE)
