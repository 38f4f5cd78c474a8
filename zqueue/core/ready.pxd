# C types of ready.py, for the compiler.

cimport cython

from .batch cimport Batch


@cython.final
cdef class Budget:
    cdef public Py_ssize_t bytes, bytes_max


@cython.final
cdef class ReadyQueue:
    cdef public object name
    cdef public Budget budget
    cdef public Py_ssize_t tasks_max, bytes_max
    cdef public Py_ssize_t ready_tasks, ready_bytes, leased_tasks, leased_bytes
    cdef readonly object _new, _returned

    cpdef bint is_full(self)
    @cython.locals(all_tasks=Py_ssize_t, all_bytes=Py_ssize_t)
    cpdef bint is_over(self, Py_ssize_t tasks, Py_ssize_t nbytes)
    cpdef bint is_below_low_water(self)
    cpdef bint has_suspect(self)
    cpdef put(self, Batch batch)
    @cython.locals(batch=Batch, taken=list, fits=Py_ssize_t, share=Py_ssize_t)
    cpdef list take(
        self, Py_ssize_t tasks_max, Py_ssize_t cut_min, Py_ssize_t bytes_max,
        Py_ssize_t batches_max)
    cpdef Batch take_next(self, Py_ssize_t bytes_max)
    cpdef Batch take_suspects(self, Py_ssize_t tasks_max, Py_ssize_t crashes_max)
    @cython.locals(batch=Batch, rest=Batch)
    cdef Batch _cut(self, object source, Py_ssize_t tasks)
    cdef Batch _lease(self, Batch batch)
    cpdef settle(self, Py_ssize_t tasks)
    cpdef release(self, Batch batch)
    cpdef give_back(self, list parts)
    cdef _count_ready(self, Batch batch)
    cdef _discount_ready(self, Batch batch)
