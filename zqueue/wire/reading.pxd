# C types of reading.py, for the compiler.

cimport cython

from .clib cimport *


cdef enum:
    MIXER = 0x9E3779B1  # Knuth's multiplicative hashing.

cdef list _names


cdef class Cursor:
    cdef bytes _frame
    cdef const unsigned char* _data
    cdef Py_ssize_t _at, _stop
    cdef int _keys
    cdef Py_ssize_t _owed


cdef object read_value(Cursor reader, int depth)
cdef int skip(Cursor reader) except? -1
cdef object unpack_plain(bytes packed, int keys)
