# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our documents, and real qemu-img's, are as the schemas say."""
from __future__ import annotations

import functools
import json
from pathlib import Path

import cli_images
import pytest
from generated_images import scenario
from jsonschema import Draft202012Validator

import qimg
from support import oracle
from support.in_process import qimg as run_ours
from support.side_by_side import template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.oracle

#: Document -> the command lines that print it, for an image.
_LINES = {
    "info": ["info"],
    "info-chain": ["info", "--backing-chain"],
    "map": ["map"],
    "check": ["check"],
    "measure": ["measure", "-O", "qcow2"],
}


@functools.cache
def _validator(document: str) -> Draft202012Validator:
    return Draft202012Validator(qimg.schema(document))


@pytest.mark.parametrize("document", qimg.schema_names())
def test_a_schema_is_one(document: str) -> None:
    Draft202012Validator.check_schema(qimg.schema(document))


@pytest.fixture(scope="module", params=["table", 1, 2, 3])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of all kinds."""
    base = tmp_path_factory.getbasetemp()
    if request.param == "table":
        return template(base / "cli-images", cli_images.build)
    return template(base / ("schemas-%d" % request.param), scenario(request.param).build)


def _printed(command: list[str], directory: Path) -> Iterator[object]:
    """What both print, for all images of a directory that they can open."""
    count = 0
    for path in sorted(filter(Path.is_file, directory.iterdir())):
        words = [*command, "-U", "--output=json", "./" + path.name]
        for answer in (oracle.run("qemu-img", *words, cwd=directory), run_ours(*words, cwd=directory)):
            if answer.stdout.startswith(("{", "[")) and answer.code in (0, 2, 3):
                count += 1
                yield json.loads(answer.stdout)
    assert count >= 6


@pytest.mark.parametrize("document", _LINES)
def test_what_is_printed_is_as_the_schema_says(document: str, directory: Path) -> None:
    for printed in _printed(_LINES[document], directory):
        _validator(document).validate(printed)


def test_comparisons_are_as_the_schema_says(images: Path) -> None:
    reasons = set()
    for second in ("data.qcow2", "empty.qcow2", "odd.raw"):
        for strict in (False, True):
            result = qimg.compare(str(images / "data.qcow2"), str(images / second), strict=strict)
            _validator("compare").validate(result.document())
            reasons.add(result.reason)
    assert reasons >= {None, "content", "size"}


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ("info", {"filename": "x", "format": "raw", "virtual-size": -1, "children": []}),
        ("info", {"filename": "x", "format": "raw", "virtual-size": 0, "children": [], "nonsense": 1}),
        ("info", {"filename": "x", "format": "raw", "virtual-size": 0}),
        ("info-chain", {"filename": "x", "format": "raw", "virtual-size": 0, "children": []}),
        ("map", [{"start": 0, "length": 1}]),
        ("check", {"filename": "x", "format": "qcow2", "check-errors": 0, "leaks": 0}),
        ("measure", {"required": 1}),
        ("compare", {"identical": False, "sizes-differ": False, "reason": "nonsense"}),
    ],
)
def test_what_is_no_such_document_is_refused(document: str, wrong: object) -> None:
    assert not _validator(document).is_valid(wrong)
