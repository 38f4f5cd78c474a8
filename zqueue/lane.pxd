# C types of lane.py, for the compiler.

cimport cython

from .protocol.codec cimport Packer


@cython.final
cdef class Lane:
    cdef object _producer, _lock
    cdef Packer _packer
    cdef readonly object queue, task
    cdef public object futures
    cdef readonly bint reply
    cdef public bint idle, blocked
    cdef bint _is_empty
    cdef public double since
    cdef public Py_ssize_t in_flight

    cpdef add(self, object body, object timeout=*)
    cpdef put(self, object body, object future=*)


@cython.final
cdef class Entrance:
    cdef object _find, _wait, __weakref__
    cdef Lane _lane

    @cython.locals(lane=Lane)
    cpdef add(self, object body)
