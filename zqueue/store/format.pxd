# C types of format.py, for the compiler.

cimport cython

cdef object _pack_rest, _pack_crc, _unpack_head, _make_parsed, crc32
cdef Py_ssize_t _CRC_BYTES


@cython.locals(rest=bytes)
cpdef bytes pack(stamp, kind, number=*, tasks=*, bytes name=*, bytes meta=*, bytes body=*)

@cython.locals(meta_at=Py_ssize_t, name_end=Py_ssize_t, body_at=Py_ssize_t,
               name_bytes=Py_ssize_t, meta_bytes=Py_ssize_t)
cpdef parse(bytes data, Py_ssize_t at, stamp)

@cython.locals(body_at=Py_ssize_t, end=Py_ssize_t, last=Py_ssize_t, nbytes=Py_ssize_t,
               name_bytes=Py_ssize_t, meta_bytes=Py_ssize_t)
cpdef last_of(bytes data, Py_ssize_t at, stamp, kind)
