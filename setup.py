"""The modules that are compiled: the very same sources, turned into C where there is a compiler.

Without one, or with ``ZQUEUE_INTERPRETED=1`` in the environment of the installation, they are run
by the interpreter like all others.
"""

import os
import sysconfig

from setuptools import Extension, setup

COMPILED = [
    "zqueue/core/batch.py",
    "zqueue/core/confirm.py",
    "zqueue/core/counters.py",
    "zqueue/core/histogram.py",
    "zqueue/core/lease.py",
    "zqueue/core/liveness.py",
    "zqueue/core/memory_queue.py",
    "zqueue/core/meter.py",
    "zqueue/core/ready.py",
    "zqueue/net/channel.py",
    "zqueue/protocol/broker.py",
    "zqueue/protocol/codec.py",
    "zqueue/protocol/dispatch.py",
    "zqueue/protocol/intake.py",
    "zqueue/protocol/messages.py",
    "zqueue/protocol/peers.py",
    "zqueue/protocol/unpacking.py",
    "zqueue/calls.py",
    "zqueue/lane.py",
]

PER_TASK = {
    "zqueue/core/histogram.py",
    "zqueue/core/memory_queue.py",
    "zqueue/protocol/codec.py",
    "zqueue/protocol/unpacking.py",
    "zqueue/calls.py",
    "zqueue/lane.py",
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


def extensions() -> list[Extension]:
    """What to build. Whatever cannot be built is left out."""
    if os.environ.get("ZQUEUE_INTERPRETED"):
        return []
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []  # They rely on the interpreter's lock, and say so where they do.
    from Cython.Build import cythonize

    modules = [
        Extension(
            path.removesuffix(".py").replace("/", "."),
            [path],
            define_macros=MACROS,
            extra_compile_args=["-O3" if path in PER_TASK else "-O1", "-g0", "-fno-plt"],
            optional=True,
        )
        for path in COMPILED
    ]
    built: list[Extension] = cythonize(
        modules, build_dir="build/cython", compiler_directives=DIRECTIVES
    )
    return built


setup(ext_modules=extensions())
