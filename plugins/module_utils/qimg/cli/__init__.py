# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The qemu-img compatible command line.

* ``main.py`` finds the command, turns errors into messages and exit codes;
* ``options.py`` reads options as GNU ``getopt_long`` does, from one table per command, and writes the help from it;
* ``arguments.py`` holds what several commands have in common: the shared options, sizes, cache modes, ``-o`` lists;
* ``console.py`` is the only place that prints; ``tables.py`` lays out the human texts; ``progress.py`` counts;
* ``commands/<name>.py`` is one command.

How a command is added
----------------------

1. Write ``commands/<name>.py`` with two names::

       COMMAND = Command("resize", "Resize the image to the new size", "FILENAME [+ | -]SIZE", OPTIONS)

       def run(console: Console, arguments: Arguments) -> int: ...

   ``OPTIONS`` is a tuple of :class:`~.options.Option`; take those that other commands have too from ``arguments.py``
   (``FORMAT``, ``IMAGE_OPTS``, ``OBJECT``, ``QUIET``, ``FORCE_SHARE``, …).  A ``convert`` function of an option turns
   its text into a value, in the order of the command line, and raises :class:`~.options.UsageError` or an
   ``ImageError``; the result is an attribute of ``arguments`` with the option's ``name`` (``None``, ``False`` or
   ``()`` if it was not given), the rest is ``arguments.operands``.
2. Add its name to ``_COMMANDS`` in ``main.py``.
3. ``run`` calls one function of ``qimg.operations`` and prints its typed result; it returns the exit code.  An
   ``ImageError`` may pass through: ``main`` prints it and exits with 1.  Where an error belongs to opening an image,
   its ``while_opening`` says which, and the message begins ``Could not open '…': `` as qemu-img's does.
4. Add rows for it to ``tests/interop/cli_cases.py``; what must differ from qemu-img goes to ``docs/differences.md``.
"""
