# C types of counters.py, for the compiler.

cimport cython


@cython.final
cdef class Counters:
    cdef public long long published, ingested, delivered, egressed, done, failed, redelivered
    cdef public long long returned, dead, duplicates, stale, refused, postponed, garbage
    cdef public long long results, results_lost, workers_lost
