# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Which class opens a local file: the page cache is used, or it is not."""
from __future__ import annotations

from .local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cache import CacheMode


def file_class(cache: CacheMode) -> type[LocalFile]:
    """The storage of local files for a cache mode."""
    if cache.direct:
        from .direct import DirectFile

        return DirectFile
    return LocalFile
