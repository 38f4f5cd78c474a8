# C types of segments.py, for the compiler.

cimport cython

cdef Py_ssize_t _ROW_BYTES
cdef object _pack_row


@cython.final
cdef class Segment:
    cdef readonly unsigned long long stamp
    cdef readonly long long number, first
    cdef readonly int stream
    cdef readonly tuple before
    cdef public Py_ssize_t end, live, live_bytes, reserve
    cdef public bytearray open
    cdef public long long highest
    cdef readonly dict classes
    cdef readonly list totals
    cdef readonly set touched, stated
    cdef public object load
    cdef bytearray _rows
    cdef object _numbers

    @cython.locals(totals=list)
    cpdef add(self, long long number, Py_ssize_t at, Py_ssize_t size, key, Py_ssize_t tasks,
              Py_ssize_t body)
    cpdef tuple row(self, Py_ssize_t row)
    cpdef close(self, Py_ssize_t row, Py_ssize_t size, int how=*)


cdef class Ledger:
    cdef readonly tuple streams
    cdef public dict runs
    cdef public long long next_entry
    cdef public Py_ssize_t live_bytes
    cdef Py_ssize_t _segment_bytes
    cdef list _firsts
    cdef dict _cold

    @cython.locals(segment=Segment, index=Py_ssize_t, row=Py_ssize_t)
    cpdef tuple find(self, long long number)
    @cython.locals(segment=Segment)
    cpdef tuple find_cold(self, long long number)
    cpdef put(self, Segment segment, Py_ssize_t at, Py_ssize_t size, key, Py_ssize_t tasks,
              Py_ssize_t body)
    @cython.locals(number=cython.longlong, first=Py_ssize_t, tasks=Py_ssize_t, size=Py_ssize_t,
                   all_tasks=Py_ssize_t)
    cpdef over(self, Segment segment, Py_ssize_t row, over, Segment said)
    cpdef bint is_wasteful(self)
