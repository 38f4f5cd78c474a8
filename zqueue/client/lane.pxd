# C types of lane.py, for the compiler.

cimport cython

from ..wire.codec cimport Packer


@cython.final
cdef class Lane:
    cdef object _owner, _lock, _stream, _futures, _dropped, __weakref__
    cdef Packer _packer
    cdef readonly object queue, task, window, options, key
    cdef public object home
    cdef readonly bint reply, is_alone, is_delayed, resubmit
    cdef readonly int state
    cdef readonly Py_ssize_t in_flight
    cdef bint _is_empty, _is_hurried
    cdef double _since

    cpdef add(self, object body, object timeout=*)
    cpdef put(self, object body, object future=*)


@cython.final
cdef class Entrance:
    cdef object _find, _wait, _arguments, __weakref__
    cdef Lane _lane
    cdef Py_ssize_t _forgotten, _least, _most
    cdef tuple _shape
    cdef readonly object __name__, __doc__, __signature__

    @cython.locals(shape=tuple, names=Py_ssize_t, place=Py_ssize_t)
    cdef bint _is_as_before(self, tuple args, dict named)

    @cython.locals(lane=Lane)
    cpdef add(self, object body)
