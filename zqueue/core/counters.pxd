# C types of counters.py, for the compiler.

cimport cython


@cython.final
cdef class Counters:
    cdef public long long published, ingested, delivered, egressed, done, failed, cancelled, redelivered
    cdef public long long expired, retried
    cdef public long long returned, dead, duplicates, deduplicated, stale, refused, postponed, garbage
    cdef public long long dead_failed, dead_timeout, dead_crashed, dead_malformed, dead_expired
    cdef public long long replayed, forbidden
    cdef public long long results, results_lost, workers_lost

    cpdef count(self, name, Py_ssize_t tasks)
