# C types of unpacking.py, for the compiler.

cimport cython
from cpython.object cimport PyObject

from .clib cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, Py_DECREF, Py_INCREF
from .reading cimport Cursor, read_value, skip, unpack_plain


@cython.final
cdef class Reader(Cursor):
    cdef readonly Py_ssize_t left
    cdef bint _broken
    cdef Py_ssize_t _body
    # Where the body begins that was read last.

    cpdef object read(self)


cpdef object index_bodies(bytes frame)

cdef int read_items(Reader reader, PyObject** items, int room) except? -2

cdef bint has_single(Reader reader, bint wrapped) noexcept

cdef object read_single(Reader reader, bint wrapped)
