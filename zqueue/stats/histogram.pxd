# C types of histogram.py, for the compiler.

cimport cython
from libc.math cimport frexp as c_frexp

cdef double _HIGHEST
cdef double[64] _FENCE
cdef int[64] _STEP

cdef inline (double, int) _frexp(double x) noexcept:
    cdef int power
    cdef double fraction = c_frexp(x, &power)
    return fraction, power

cdef int _fine_of(double seconds) noexcept


@cython.final
cdef class Histogram:
    cdef object _kept, _high_ns
    cdef unsigned long long* _cells
    cdef unsigned long long _count, _low_ns, _max_ns
    cdef int _size, _shift

    cpdef record(self, double seconds)
    cpdef record_many(self, double seconds, n)
    @cython.locals(ns=cython.ulonglong)
    cdef bint record_some(self, double seconds, long long n)
    cpdef record_ns(self, long long ns)
    cpdef add(self, Histogram other)
    cpdef Histogram since(self, Histogram earlier)
