# C types of batch.py, for the compiler.

cimport cython

cdef Py_ssize_t _spare, _reused, _made


@cython.final
cdef class Frame:
    cdef public object queue, task, body, origin, offsets, damage
    cdef public Py_ssize_t count
    cdef public long long sequence
    cdef public bint reply
    cdef public double at
    cdef public long long age_us


@cython.final
cdef class Batch:
    cdef public Frame frame
    cdef public Py_ssize_t first, count, nbytes
    cdef public long attempt, crashes
    cdef public bint fresh

    cpdef Batch part(self, Py_ssize_t start, Py_ssize_t count)
    cpdef object body(self, object index, object array_header)
