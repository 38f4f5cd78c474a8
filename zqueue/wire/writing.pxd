# C types of writing.py, for the compiler.

cimport cython
from cpython.object cimport PyObject

from .clib cimport *


cdef class Buffer:
    cdef unsigned char* _data
    cdef bytearray _bytes
    cdef Py_ssize_t _at, _room


cdef bint write_body(Buffer buffer, object body, bint wrapped) except? -1
cdef int put_data(Buffer buffer, const char* data, Py_ssize_t size) except? -1
cdef int give_back(Buffer buffer) except? -1
cdef object pack_plain(object value)
