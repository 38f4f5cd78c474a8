# C types of settling.py, for the compiler.

cimport cython

from ..core.batch cimport Batch, Published
from ..core.lease cimport Lease, LeaseTable
from ..wire.codec cimport array_length, pack
from .book cimport Book
from .outcomes cimport Outcome
from .peers cimport ProducerPeer, Queue, WorkerPeer

cdef dict OUTCOMES
cdef Outcome ON_FAILED


@cython.final
cdef class Settling:
    cdef readonly LeaseTable leases
    cdef Book _book
    cdef object _aside, _held, _send, _crashes_max, _retrying

    @cython.locals(lease=Lease, batch=Batch, queue=Queue, index=Py_ssize_t, first=Py_ssize_t,
                   count=Py_ssize_t, outcome=Outcome)
    cpdef settle(self, WorkerPeer worker, message, list frames)
    cdef _end(self, Queue queue, Batch batch, Py_ssize_t first, Py_ssize_t count, Outcome outcome,
              frame, reason=*)


@cython.locals(outcome=Outcome, carrying=Py_ssize_t, values=Py_ssize_t)
cdef _check_settle(message, list frames)
