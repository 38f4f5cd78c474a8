# C types of ready.py, for the compiler.

cimport cython

from .batch cimport Batch


@cython.final
cdef class Budget:
    cdef public Py_ssize_t bytes, bytes_max, held, keys, unsent


@cython.final
cdef class ReadyQueue:
    cdef public object name
    cdef public Budget budget
    cdef public Py_ssize_t tasks_max, bytes_max
    cdef public Py_ssize_t ready_tasks, ready_bytes, leased_tasks, leased_bytes
    cdef public Py_ssize_t suspect_tasks, far_tasks, delayed_tasks, delayed_bytes, delayed_memory
    cdef readonly object far, delayed
    cdef readonly object _new, _returned, _suspects
    cdef object _index, _array_header
    cdef readonly object _names
    cdef readonly dict _rows
    cdef public bint is_sorted

    @cython.locals(beside_tasks=Py_ssize_t, beside_bytes=Py_ssize_t)
    cpdef bint is_full(self)
    @cython.locals(all_tasks=Py_ssize_t, all_bytes=Py_ssize_t)
    cpdef bint is_over(self, Py_ssize_t tasks, Py_ssize_t nbytes)
    cpdef bint is_below_low_water(self)
    cpdef put(self, Batch batch)
    cpdef list take(
        self, Py_ssize_t tasks_max, Py_ssize_t cut_min, Py_ssize_t bytes_max,
        Py_ssize_t batches_max)
    @cython.locals(batch=Batch, taken=list, fits=Py_ssize_t, share=Py_ssize_t)
    cdef list _take(
        self, object first, object second, Py_ssize_t tasks_max, Py_ssize_t cut_min,
        Py_ssize_t bytes_max, Py_ssize_t batches_max)
    @cython.locals(batch=Batch)
    cdef _sort_some(self, Py_ssize_t batches)
    cdef _row_of(self, Batch batch)
    cpdef Batch take_next(self, Py_ssize_t bytes_max)
    @cython.locals(batch=Batch, place=Py_ssize_t)
    cpdef Batch take_suspects(self, Py_ssize_t tasks_max, Py_ssize_t crashes_max, names, bint rest)
    @cython.locals(batch=Batch, rest=Batch)
    cdef Batch _cut(self, object source, Py_ssize_t tasks)
    cdef Batch _lease(self, Batch batch)
    cpdef settle(self, Py_ssize_t tasks)
    cpdef release(self, Batch batch)
    @cython.locals(part=Batch)
    cpdef give_back(self, list parts)
    cdef _count_ready(self, Batch batch)
    cdef _discount_ready(self, Batch batch)
