"""The modules that are compiled: the very same sources, turned into C where there is a compiler.

Without one that works, or without Python's headers, or with ``ZQUEUE_INTERPRETED=1`` in the
environment of the installation, they are run by the interpreter like all others: all of them, for
their C types depend on one another.
"""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from textwrap import shorten

from setuptools import Distribution, Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

COMPILED = [
    "zqueue/core/batch.py",
    "zqueue/core/confirm.py",
    "zqueue/core/counters.py",
    "zqueue/core/dead.py",
    "zqueue/stats/histogram.py",
    "zqueue/core/lease.py",
    "zqueue/memory_queue.py",
    "zqueue/memory_ring.py",
    "zqueue/stats/meter.py",
    "zqueue/core/ready.py",
    "zqueue/net/channel.py",
    "zqueue/store/composer.py",
    "zqueue/store/format.py",
    "zqueue/store/pen.py",
    "zqueue/store/segments.py",
    "zqueue/store/survey.py",
    "zqueue/broker/aside.py",
    "zqueue/broker/journal.py",
    "zqueue/broker/machine.py",
    "zqueue/wire/codec.py",
    "zqueue/broker/book.py",
    "zqueue/broker/dispatch.py",
    "zqueue/broker/intake.py",
    "zqueue/wire/headers.py",
    "zqueue/broker/outcomes.py",
    "zqueue/broker/peers.py",
    "zqueue/broker/overflow.py",
    "zqueue/broker/permissions.py",
    "zqueue/broker/settling.py",
    "zqueue/wire/reading.py",
    "zqueue/wire/unpacking.py",
    "zqueue/wire/writing.py",
    "zqueue/worker/calls.py",
    "zqueue/client/lane.py",
]

PER_TASK = {
    "zqueue/stats/histogram.py",
    "zqueue/memory_queue.py",
    "zqueue/memory_ring.py",
    "zqueue/wire/codec.py",
    "zqueue/wire/reading.py",
    "zqueue/wire/unpacking.py",
    "zqueue/wire/writing.py",
    "zqueue/worker/calls.py",
    "zqueue/client/lane.py",
}
"""Run for every task, and worth the compiler's time. The others run for every batch."""

DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # Annotations are for people and mypy; C types are asked for.
    "binding": True,
    "embedsignature": False,
}


MACROS = [("ZQUEUE_UNMETERED", None)] if os.environ.get("ZQUEUE_UNMETERED") else []
"""Nothing is timed then: for `perf/metering.py`, which tells what it costs to time every task."""


REASON_CHARS = 120
"""Of what the compiler is called with: its name, and no more."""


class NotCompiled(Exception):
    """Why nothing is compiled."""


class BuildExt(build_ext):
    """Compiles all or nothing."""

    def run(self) -> None:
        """Raises `NotCompiled` for whatever the compiler, or its absence, is answered with."""
        try:
            super().run()
        except Exception as error:  # Of many classes: they depend on the version of setuptools.
            why = shorten(str(error), REASON_CHARS)
            headers = Path(sysconfig.get_config_var("INCLUDEPY"), "Python.h")
            if not headers.exists():
                why += f"; {headers} is not there"
            raise NotCompiled(f"{why}. Install gcc and python3-dev to compile it") from error


class Build(build):
    """Packs only what was made now."""

    def run(self) -> None:
        """Build, and remove what an earlier build left: a module that was compiled then, and is
        not any more, would run in the place of its source."""
        super().run()
        commands = map(self.get_finalized_command, self.get_sub_commands())
        made = {Path(output) for command in commands for output in command.get_outputs()}
        for path in Path(self.build_lib).rglob("*"):
            if path.is_file() and path not in made:
                path.unlink()


def extension(name: str, source: str, *flags: str) -> Extension:
    """One module, and how it is compiled."""
    flags = (*flags, "-g0", "-fno-plt")
    return Extension(name, [source], define_macros=MACROS, extra_compile_args=list(flags))


def try_compiler() -> None:
    """Compile a module that needs nothing but Python's headers. Raises `NotCompiled`.

    Translating all modules to C takes half a minute: first see what that is good for.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\nPyMODINIT_FUNC PyInit_probe(void) {return NULL;}\n")
        modules = [extension("probe", str(source), "-O1")]
        command = BuildExt(Distribution({"ext_modules": modules}))
        command.build_lib = command.build_temp = folder
        command.ensure_finalized()
        command.run()


def extensions() -> list[Extension]:
    """What to compile. Raises `NotCompiled` if that is nothing."""
    if os.environ.get("ZQUEUE_INTERPRETED"):
        raise NotCompiled("ZQUEUE_INTERPRETED is set")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        # They rely on the interpreter's lock, and say so where they do.
        raise NotCompiled("this Python has no interpreter lock")
    try_compiler()
    from Cython.Build import cythonize

    modules = [
        extension(
            path.removesuffix(".py").replace("/", "."),
            path,
            "-O3" if path in PER_TASK else "-O1",
        )
        for path in COMPILED
    ]
    built: list[Extension] = cythonize(
        modules, build_dir="build/cython", compiler_directives=DIRECTIVES, nthreads=os.cpu_count()
    )
    return built


def set_up() -> None:
    """Compiled, or else interpreted: then as a package that never had anything to compile."""
    commands = {"build": Build, "build_ext": BuildExt}
    try:
        setup(ext_modules=extensions(), cmdclass=commands)
    except NotCompiled as why:
        if "build_ext" in sys.argv:
            raise  # Who asks for just this wants to hear that it failed.
        print(f"zqueue: nothing is compiled, all is interpreted: {why}", file=sys.stderr)
        setup(cmdclass=commands)


set_up()
