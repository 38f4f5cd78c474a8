# C types of outcomes.py, for the compiler.

cimport cython


@cython.final
cdef class Outcome:
    cdef readonly long status
    cdef readonly object counter
    cdef readonly bint carries, final, kept
