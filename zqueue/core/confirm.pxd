# C types of confirm.py, for the compiler.

cimport cython


@cython.final
cdef class Taken:
    cdef readonly long long highest
    cdef readonly set _missing

    cpdef begin(self, long long first)
    cpdef bint is_too_far(self, long long sequence)
    cpdef bint add(self, long long sequence)
