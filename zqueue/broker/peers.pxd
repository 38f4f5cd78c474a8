# C types of peers.py, for the compiler.

cimport cython

from ..core.confirm cimport Taken
from ..core.counters cimport Counters
from ..core.ready cimport ReadyQueue
from ..stats.histogram cimport Histogram


@cython.final
cdef class Queue:
    cdef public ReadyQueue ready
    cdef public bint egress, paused, draining
    cdef public Counters counters
    cdef public Histogram wait, batches
    cdef public dict servers, hungry
    cdef public object withheld, reserved, skills, taken


cdef class Peer:
    cdef readonly object role, id
    cdef public object peer
    cdef public str user
    cdef public str key
    cdef public dict about, report
    cdef public double heard_at


@cython.final
cdef class ProducerPeer(Peer):
    cdef public object number
    cdef public long long first
    cdef public Taken taken
    cdef public object moved
    cdef public bint is_new, is_forgotten
    cdef public dict refused, open, held
    cdef public list to_confirm
    cdef public set withheld
    cdef public Py_ssize_t held_bytes


@cython.final
cdef class WorkerPeer(Peer):
    cdef public dict retries
    cdef public object supervisor, reserved, policies
    cdef public dict leases
    cdef public list queues
    cdef public Py_ssize_t credit, in_flight
    cdef public bint alone, cut_off

    cpdef bint is_saturated(self)


@cython.final
cdef class SupervisorPeer(Peer):
    pass


@cython.final
cdef class ObserverPeer(Peer):
    pass
