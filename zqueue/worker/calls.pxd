# C types of calls.py, for the compiler.

cimport cython
from cpython.object cimport PyObject

from ..stats.histogram cimport Histogram
from ..stats.meter cimport TaskMeter
from ..wire.unpacking cimport Reader, has_single, read_items, read_single


cdef extern from "Python.h":
    PyObject** PySequence_Fast_ITEMS(object items)
    Py_ssize_t PyList_GET_SIZE(object items)
    object PyObject_Vectorcall(object function, PyObject** args, size_t count, PyObject* names)
    void Py_DECREF(object thing)

cdef extern from *:
    """
    #ifdef ZQUEUE_UNMETERED
    #define METERED 0
    #else
    #define METERED 1
    #endif
    """
    const bint METERED

cdef enum:
    ITEMS = 8  # Arguments that are called with as they are read.

cdef extern from "time.h":
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* instant) nogil

cdef object _EXTENSION
cdef double QUICK_S
cdef Py_ssize_t QUICK_TASKS, STRIDE


@cython.final
cdef class Calls:
    cdef readonly Py_ssize_t total, position, given_up
    cdef readonly object values
    cdef readonly list failures
    cdef Py_ssize_t _stop, _first, _taken
    cdef object _function, _lock
    cdef bint _named
    cdef Reader _reader
    cdef TaskMeter _meter
    cdef double _sent_at, _began, _until
    cdef Py_ssize_t _count, _untimed, _stride, _traced
    cdef str _traceparent

    cdef bint _begin(self) except -1
    cdef bint _claim(self) except -1
    cdef object _call(self, object body)
    cdef object _read(self)
    @cython.locals(now=double, elapsed_s=double, tasks=Py_ssize_t)
    cdef _measure(self)


@cython.locals(count=int)
cdef inline _call_directly(Calls calls)
