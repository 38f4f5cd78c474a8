# C types of batch.py, for the compiler.

cimport cython

cdef Py_ssize_t _spare, _reused, _made


@cython.final
cdef class Published:
    cdef public object queue, task, body, origin, offsets, damage, options
    cdef public Py_ssize_t count, base
    cdef public long long sequence, entry
    cdef public bint reply
    cdef public double at
    cdef public long long age_us

    @cython.locals(copy=Published)
    cpdef Published copy(self, object body, Py_ssize_t first, Py_ssize_t count)


@cython.final
cdef class Batch:
    cdef public Published frame
    cdef public Py_ssize_t first, count, nbytes
    cdef public long attempt, crashes, failures, timeouts
    cdef public bint fresh

    cpdef Batch part(self, Py_ssize_t start, Py_ssize_t count)
    @cython.locals(frame=Published)
    cpdef own(self, object index, object array_header, bint always=*)
    cpdef object body(self, object index, object array_header)
