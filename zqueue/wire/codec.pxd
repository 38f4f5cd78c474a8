# C types of codec.py, for the compiler.

cimport cython

from .clib cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE, memcpy, memmove
from .writing cimport Buffer, give_back, pack_plain, put_data, write_body


@cython.final
cdef class Packer(Buffer):
    cdef Py_ssize_t _end, _tasks, _bytes_max
    cdef public Py_ssize_t tasks_max
    cdef public bint is_eager
    cdef readonly bint is_full
    cdef object _full

    cpdef bint add(self, object body) except -1


cpdef bytes pack(object value)
cpdef Py_ssize_t array_length(bytes frame) except -1
