# C types of memory_queue.py, for the compiler, and how references are moved.

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

cdef extern from *:
    Py_ssize_t PyList_GET_SIZE(PyObject* slots)
    PyObject* PyList_GET_ITEM(PyObject* slots, Py_ssize_t slot)
    void PyList_SET_ITEM(PyObject* slots, Py_ssize_t slot, PyObject* item)
    object _owned "(PyObject *)" (PyObject* item)

ctypedef PyObject* Reference


cdef class _Ring:
    cdef cython.pymutex _lock
    cdef list _slots
    cdef Py_ssize_t _mask, _head, _tail, _bound, _limit
    cdef bint _is_shut

    @cython.locals(slots=list, size=Py_ssize_t, needed=Py_ssize_t, i=Py_ssize_t)
    cdef bint _grow(self, Py_ssize_t more) except -1


# Every slot owns what lies in it, a None too. Sizes are looked at since a list may be emptied
# behind our back, if only by the garbage collector and just before it is gone.

cdef inline bint _push(_Ring ring, object item) except -1:
    cdef PyObject* slots = <PyObject*>ring._slots
    cdef Py_ssize_t slot = ring._tail & ring._mask
    if slot >= PyList_GET_SIZE(slots):
        raise IndexError
    Py_INCREF(item)
    PyList_SET_ITEM(slots, slot, <PyObject*>item)
    Py_DECREF(None)
    ring._tail += 1
    return True


cdef inline Reference _pop(_Ring ring) except NULL:
    cdef PyObject* slots = <PyObject*>ring._slots
    cdef Py_ssize_t slot = ring._head & ring._mask
    if slot >= PyList_GET_SIZE(slots):
        raise IndexError
    item = PyList_GET_ITEM(slots, slot)
    Py_INCREF(None)
    PyList_SET_ITEM(slots, slot, <PyObject*>None)
    ring._head += 1
    return item


cdef inline bint _swap(_Ring ring, Py_ssize_t count, list batch, Py_ssize_t i) except -1:
    cdef PyObject* slots = <PyObject*>ring._slots
    cdef PyObject* others = <PyObject*>batch
    cdef Py_ssize_t slot = count & ring._mask
    if slot >= PyList_GET_SIZE(slots) or i >= PyList_GET_SIZE(others):
        raise IndexError
    item = PyList_GET_ITEM(others, i)
    PyList_SET_ITEM(others, i, PyList_GET_ITEM(slots, slot))
    PyList_SET_ITEM(slots, slot, item)
    return True


@cython.no_gc_clear
cdef class MemoryQueue(_Ring):
    cdef object __weakref__
    cdef object _maxsize
    cdef Py_ssize_t _done
    cdef list _getters, _putters, _joiners

    cdef inline bint _store(self, object item) except -1

    @cython.locals(item=Reference)
    cdef inline object _take(self)

    @cython.locals(count=Py_ssize_t, i=Py_ssize_t)
    cdef Py_ssize_t _store_batch(self, list batch, Py_ssize_t first) except -1

    @cython.locals(batch=list, count=Py_ssize_t, i=Py_ssize_t)
    cdef list _take_batch(self, Py_ssize_t most)

    @cython.locals(is_shut=bint, bound=Py_ssize_t)
    cdef object _put_slowly(self, object item, bint block, object timeout)

    @cython.locals(is_shut=bint, is_over=bint)
    cdef object _get_slowly(self, bint block, object timeout)

    @cython.locals(awake=bint)
    cdef bint _wait(self, list line, object deadline) except -1
    cdef bint _blocked(self, list line) except -1
    cdef object _give_up(self, list line, object lock)

cdef object _wake(list line, Py_ssize_t count)
cdef Py_ssize_t _to_bound(object maxsize) except -1
