# C types of memory_ring.py, for the compiler, and how references are moved.

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

cdef extern from *:
    Py_ssize_t PyList_GET_SIZE(PyObject* slots)
    PyObject* PyList_GET_ITEM(PyObject* slots, Py_ssize_t slot)
    void PyList_SET_ITEM(PyObject* slots, Py_ssize_t slot, PyObject* item)
    object owned "(PyObject *)" (PyObject* item)

ctypedef PyObject* Reference


cdef class Ring:
    cdef cython.pymutex _lock
    cdef list _slots
    cdef Py_ssize_t _mask, _head, _tail, _bound, _limit
    cdef bint _is_shut

    @cython.locals(slots=list, size=Py_ssize_t, needed=Py_ssize_t, i=Py_ssize_t)
    cdef bint grow(self, Py_ssize_t more) except -1


# Every slot owns what lies in it, a None too. Sizes are looked at since a list may be emptied
# behind our back, if only by the garbage collector and just before it is gone.

cdef inline bint push(Ring ring, object item) except -1:
    cdef PyObject* slots = <PyObject*>ring._slots
    cdef Py_ssize_t slot = ring._tail & ring._mask
    if slot >= PyList_GET_SIZE(slots):
        raise IndexError
    Py_INCREF(item)
    PyList_SET_ITEM(slots, slot, <PyObject*>item)
    Py_DECREF(None)
    ring._tail += 1
    return True


cdef inline Reference pop(Ring ring) except NULL:
    cdef PyObject* slots = <PyObject*>ring._slots
    cdef Py_ssize_t slot = ring._head & ring._mask
    if slot >= PyList_GET_SIZE(slots):
        raise IndexError
    item = PyList_GET_ITEM(slots, slot)
    Py_INCREF(None)
    PyList_SET_ITEM(slots, slot, <PyObject*>None)
    ring._head += 1
    return item


cdef inline bint swap(Ring ring, Py_ssize_t count, list batch, Py_ssize_t i) except -1:
    cdef PyObject* slots = <PyObject*>ring._slots
    cdef PyObject* others = <PyObject*>batch
    cdef Py_ssize_t slot = count & ring._mask
    if slot >= PyList_GET_SIZE(slots) or i >= PyList_GET_SIZE(others):
        raise IndexError
    item = PyList_GET_ITEM(others, i)
    PyList_SET_ITEM(others, i, PyList_GET_ITEM(slots, slot))
    PyList_SET_ITEM(slots, slot, item)
    return True
