# C types of headers.py, for the compiler.

cimport cython

from .codec cimport pack


cdef bint _is_int(value)

cdef bint _are_ints(list values, Py_ssize_t first)

cdef bint _is_id(value)

cdef bint _fits(long field, value)

cdef bint _is_row(long field, row)

cpdef bytes encode(message)

@cython.locals(header=list, fields=tuple, defaults=tuple, i=Py_ssize_t, missing=Py_ssize_t)
cpdef decode(bytes frame)

cpdef list unpack_header(bytes frame)
cpdef make(message, tuple fields)
