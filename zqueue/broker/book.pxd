# C types of book.py, for the compiler.

cimport cython

from ..core.batch cimport Batch, Published
from ..core.counters cimport Counters
from ..core.ready cimport Budget
from .outcomes cimport Outcome
from .peers cimport Queue


@cython.final
cdef class Book:
    cdef readonly dict queues
    cdef public dict with_work
    cdef readonly Budget budget
    cdef readonly Counters counters
    cdef public double now, wall_s
    cdef public bint has_unused
    cdef public object store_full
    cdef readonly object timers, journal, overflow, other_wait, other_batches
    cdef object _limits, _egress

    cpdef Queue queue(self, name)
    cpdef put(self, Queue queue, Batch batch)
    cpdef bint is_expired(self, Published frame)
    cpdef over(self, Queue queue, Batch batch, Py_ssize_t first, Py_ssize_t count, Outcome outcome)
    @cython.locals(part=Batch)
    cpdef again(self, Queue queue, list parts)
