# C types of memory_queue.py, for the compiler.

cimport cython

from .memory_ring cimport Reference, Ring, owned, pop, push, swap


@cython.no_gc_clear
cdef class MemoryQueue(Ring):
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
