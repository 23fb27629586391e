# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Every public name says what it is, and every argument of a function what it means, with its unit."""
from __future__ import annotations

import inspect
import re

import pytest

import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Arguments that mean the same everywhere: docs/sdk.md explains them.
COMMON = {"reference", "format", "opener", "progress"}
#: Arguments that count bytes.
BYTES = {"size", "offset", "length", "granularity", "rate", "sparse_grain"}

PUBLIC = sorted(name for name in qimg.__all__ if not name.startswith("_"))


def parameters(docstring: str) -> dict[str, str]:
    """What a docstring says of each parameter."""
    return {
        name: " ".join(text.split())
        for name, text in re.findall(r":param (\w+):(.*?)(?=\n\s*:|\Z)", docstring, re.DOTALL)
    }


def described(function: Any) -> dict[str, str]:
    """The parameters of a function, also those that it says are the ones of another function."""
    docstring = inspect.getdoc(function) or ""
    found = parameters(docstring)
    for other in re.findall(r":func:`~?(?:[\w.]*\.)?(\w+)`", docstring):
        if hasattr(qimg, other):
            found = {**parameters(inspect.getdoc(getattr(qimg, other)) or ""), **found}
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_docstring(name: str) -> None:
    public = getattr(qimg, name)
    if not callable(public):
        return
    assert inspect.getdoc(public), name
    if not inspect.isclass(public):
        return
    for member, value in vars(public).items():
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(getattr(public, member)), "%s.%s" % (name, member)


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isfunction(getattr(qimg, name))])
def test_each_argument_is_explained(name: str) -> None:
    function = getattr(qimg, name)
    told = described(function)
    asked = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    assert [each for each in asked if each not in told and each not in COMMON] == []
    assert [each for each in asked if each in BYTES and each in told and "byte" not in told[each]] == []


def test_the_common_arguments_are_explained_once() -> None:
    told = [parameters(inspect.getdoc(getattr(qimg, name)) or "") for name in PUBLIC]
    for common in sorted(COMMON):
        assert any(common in each for each in told), common
