# C types of composer.py, for the compiler.

cimport cython

from .format cimport pack
from .segments cimport Ledger, Segment

cdef Py_ssize_t _HEAD_BYTES, _BEHIND_BYTES


@cython.final
cdef class Tail:
    cdef readonly int stream
    cdef public Segment segment
    cdef public Py_ssize_t start
    cdef public list parts, moves, writes
    cdef public bint has_begun

    cpdef append(self, bytes head, bytes body=*)
    cpdef list take(self)


@cython.final
cdef class Composer:
    cdef readonly tuple tails
    cdef readonly long begun, opened, moved
    cdef Ledger _ledger
    cdef object _spares, _up_to
    cdef Py_ssize_t _segment_bytes, _put_bytes
    cdef bint _sync, _needs_facts
    cdef list _moving
    cdef long _move_begun, _synced
    cdef object _ticket

    @cython.locals(segment=Segment, size=Py_ssize_t, name=bytes, meta=bytes, body=bytes,
                   ledger=Ledger, number=cython.longlong)
    cpdef _put(self, Tail tail, entry)
    @cython.locals(said=Segment, segment=Segment, some=list)
    cpdef _overs(self, Tail tail, list overs)
    cpdef bint _is_over(self, Segment segment, Py_ssize_t size)
    @cython.locals(segment=Segment)
    cpdef Segment _room(self, Tail tail, Py_ssize_t size)
    @cython.locals(segment=Segment)
    cpdef Segment _next_segment(self, Tail tail)
    cpdef bint _may_drop(self, int stream)
