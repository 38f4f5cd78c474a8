# C types of meter.py, for the compiler.

cimport cython

from .histogram cimport Histogram


@cython.final
cdef class TaskMeter:
    cdef public long long done, failed, quick
    cdef public Histogram run, total
