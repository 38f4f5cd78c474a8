# C types of liveness.py, for the compiler.

cimport cython


@cython.final
cdef class Liveness:
    cdef public double timeout_s
    cdef object _heard

    cpdef hear(self, key, double now)
    cpdef next_deadline(self)
