# C types of dispatch.py, for the compiler.

cimport cython

from ..core.batch cimport Batch, Frame
from ..core.counters cimport Counters
from ..core.lease cimport Lease, LeaseTable
from ..core.ready cimport ReadyQueue
from .codec cimport pack
from .unpacking cimport index_bodies
from .intake cimport Intake
from .peers cimport Producer, Queue, Worker


@cython.final
cdef class Dispatch:
    cdef public LeaseTable leases
    cdef Intake _intake
    cdef Counters _counters
    cdef object _dead, _send, _crashes_max, _origin

    @cython.locals(changed=dict, queue=Queue)
    cpdef hand_out(self)
    cpdef set_credit(self, Worker worker, Py_ssize_t credit)
    @cython.locals(queues=list, queue=Queue)
    cdef _hunger(self, Worker worker)
    @cython.locals(ready=ReadyQueue, hungry=dict, worker=Worker, freed=Worker, batches=list)
    cdef _feed(self, Queue queue)
    @cython.locals(lease=Lease, batch=Batch, frame=Frame, headers=list, frames=list, sound=list,
                   producer=Producer)
    cdef _deliver(self, Worker worker, Queue queue, list batches, bint alone)
    @cython.locals(lease=Lease, batch=Batch, queue=Queue, index=Py_ssize_t, first=Py_ssize_t,
                   count=Py_ssize_t, status=long)
    cpdef settle(self, Worker worker, message, list frames)
    cdef _end(self, Worker worker, Lease lease)
    cdef _close(self, Queue queue, Batch batch, Py_ssize_t first, Py_ssize_t count, long status, frame)


@cython.locals(worker=Worker)
cdef Worker _next_hungry(dict hungry, bint idle)
cdef Py_ssize_t _room(Worker worker)
