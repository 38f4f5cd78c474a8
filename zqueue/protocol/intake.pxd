# C types of intake.py, for the compiler.

cimport cython

from ..core.batch cimport Batch, Frame
from ..core.counters cimport Counters
from ..core.ready cimport Budget, ReadyQueue
from .codec cimport array_length
from .peers cimport Producer, Queue


@cython.final
cdef class Intake:
    cdef public dict queues, changed
    cdef public Budget budget
    cdef public bint draining
    cdef public double now
    cdef public object other_wait, other_batches
    cdef Counters _counters
    cdef object _send, _queue_tasks_max, _queue_bytes_max, _queues_max, _egress
    cdef readonly dict _confirming, _withholding
    cdef long long _ingested

    cpdef Queue queue(self, name)
    @cython.locals(sequence=cython.longlong, queue=Queue, frame=Frame)
    cpdef publish(self, Producer producer, message, body)
    @cython.locals(queue=Queue)
    cpdef made_room(self)
    @cython.locals(producer=Producer)
    cpdef send_confirms(self)
    @cython.locals(queue=Queue, count=Py_ssize_t)
    cdef tuple _check(self, message, body)
    cdef _put(self, Queue queue, Frame frame)
    cdef _confirm(self, Producer producer, sequence)
