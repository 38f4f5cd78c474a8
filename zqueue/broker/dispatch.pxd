# C types of dispatch.py, for the compiler.

cimport cython

from ..core.batch cimport Batch, Published
from ..core.lease cimport Lease, LeaseTable
from ..core.ready cimport ReadyQueue
from ..wire.unpacking cimport index_bodies
from .book cimport Book
from .peers cimport ProducerPeer, Queue, WorkerPeer
from .settling cimport Settling


@cython.final
cdef class Dispatch:
    cdef readonly LeaseTable leases
    cdef Book _book
    cdef Settling _settling
    cdef object _send, _crashes_max, _origin
    cdef public bint is_closed

    @cython.locals(frame=Published)
    cdef _retries_left(self, WorkerPeer worker, queue, Batch batch)

    @cython.locals(with_work=dict, queue=Queue)
    cpdef hand_out(self)
    cpdef set_credit(self, WorkerPeer worker, Py_ssize_t credit)
    @cython.locals(queues=list, queue=Queue)
    cpdef offer_to(self, WorkerPeer worker)
    @cython.locals(ready=ReadyQueue, hungry=dict, worker=WorkerPeer, batches=list)
    cdef _feed(self, Queue queue)
    @cython.locals(ready=ReadyQueue, hungry=dict, worker=WorkerPeer, batches=list)
    cdef _feed_sorted(self, Queue queue)
    @cython.locals(ready=ReadyQueue, worker=WorkerPeer, freed=WorkerPeer, suspects=Batch)
    cdef _feed_suspects(self, Queue queue)
    @cython.locals(lease=Lease, batch=Batch, frame=Published, headers=list, frames=list, sound=list,
                   producer=ProducerPeer)
    cdef _deliver(self, WorkerPeer worker, Queue queue, list batches, bint alone)


@cython.locals(worker=WorkerPeer)
cdef WorkerPeer _next_hungry(dict hungry)
cdef Py_ssize_t _room(WorkerPeer worker)
cdef Py_ssize_t _cut_min(WorkerPeer worker)
