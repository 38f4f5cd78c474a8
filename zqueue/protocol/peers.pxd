# C types of peers.py, for the compiler.

cimport cython

from ..core.confirm cimport Taken
from ..core.counters cimport Counters
from ..core.histogram cimport Histogram
from ..core.ready cimport ReadyQueue


@cython.final
cdef class Queue:
    cdef public ReadyQueue ready
    cdef public bint egress, paused, draining
    cdef public Counters counters
    cdef public Histogram wait, batches
    cdef public Py_ssize_t workers
    cdef public dict hungry
    cdef public object withheld, reserved


@cython.final
cdef class Producer:
    cdef public object id, number, peer, held
    cdef public Taken taken
    cdef public bint is_new
    cdef public dict refused, open, report
    cdef public list to_confirm
    cdef public set withheld
    cdef public Py_ssize_t held_bytes


@cython.final
cdef class Worker:
    cdef public object id, peer, supervisor, reserved
    cdef public dict about, leases, report
    cdef public list queues
    cdef public Py_ssize_t credit, in_flight
    cdef public bint alone, cut_off

    cpdef bint is_saturated(self)
