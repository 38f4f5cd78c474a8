# C types of intake.py, for the compiler.

cimport cython

from ..core.batch cimport Batch, Published
from ..wire.codec cimport array_length
from ..core.ready cimport Budget
from .book cimport Book
from .peers cimport ProducerPeer, Queue


@cython.final
cdef class Intake:
    cdef public bint draining
    cdef Book _book
    cdef object _send, _held, _keys
    cdef readonly dict _confirming, _withholding
    cdef long long _ingested

    @cython.locals(sequence=cython.longlong, queue=Queue, frame=Published, budget=Budget)
    cpdef publish(self, ProducerPeer producer, message, body, options=*, user=*)
    @cython.locals(producer=ProducerPeer)
    cpdef send_confirms(self)
    @cython.locals(queue=Queue, budget=Budget)
    cdef _release_withheld(self)
    @cython.locals(nbytes=Py_ssize_t, budget=Budget)
    cdef _why_not_now(self, Queue queue, Published frame, bint is_impatient)
    @cython.locals(queue=Queue, count=Py_ssize_t)
    cdef _why_not_stored(self, long long nbytes)
    cdef bint _was_taken(self, ProducerPeer producer, long long sequence, moved)
    cdef tuple _check(self, message, body, options=*)
    cdef _confirm(self, ProducerPeer producer, sequence)
    cdef _confirm_now(self, ProducerPeer producer, sequence)
