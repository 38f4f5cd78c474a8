# C types of lease.py, for the compiler.

cimport cython

from .batch cimport Batch


@cython.final
cdef class Lease:
    cdef public long long number
    cdef public object holder
    cdef public list batches
    cdef public dict stopping
    cdef public Py_ssize_t tasks
    cdef readonly list _open

    # Whole numbers of any size: a run is as many bits, and strangers choose what is added up.
    cpdef bint close(self, batch, first, count)
    cpdef bint is_closed(self, Py_ssize_t batch)


@cython.final
cdef class LeaseTable:
    cdef readonly dict _leases
    cdef long long _next

    @cython.locals(lease=Lease)
    cpdef Lease open(self, object holder, list batches)
    @cython.locals(lease=Lease)
    cpdef Lease find(self, long long number, object holder)
    cpdef end(self, Lease lease)
