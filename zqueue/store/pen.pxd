# C types of pen.py, for the compiler.

cimport cython

cdef extern from "Python.h":
    char* PyBytes_AS_STRING(object data)

cdef extern from "errno.h":
    int errno
    const int EINTR

cdef extern from "poll.h":
    cdef struct pollfd:
        int fd
        short events
    const short POLLIN
    int poll(pollfd* fds, unsigned long count, int timeout_ms) nogil

cdef extern from "stdlib.h":
    void* realloc(void* old, size_t size)
    void free(void* memory)

cdef extern from "sys/uio.h":
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    Py_ssize_t pwritev(int fd, const iovec* parts, int count, long long at) nogil

cdef extern from "unistd.h":
    int fdatasync(int fd) nogil
    Py_ssize_t get "read"(int fd, void* to, size_t size) nogil
    Py_ssize_t put "write"(int fd, const void* data, size_t size) nogil


cdef Py_ssize_t PARTS_MAX


@cython.final
cdef class Pen:
    cdef readonly int bell
    cdef int _call, _fd
    cdef list _parts
    cdef long long _at
    cdef bint _sync
    cdef readonly long begun, ended
    cdef readonly int error
    cdef iovec* _vector
    cdef Py_ssize_t _count, _room

    cpdef call(self)
    cpdef hush(self)
    cpdef serve(self, int timeout_ms)


@cython.locals(count=Py_ssize_t, i=Py_ssize_t, part=bytes, memory=cython.p_void)
cdef int _fill(Pen pen, list parts) except -1

@cython.locals(one=cython.ulonglong)
cdef void _call(Pen pen) noexcept

@cython.locals(calls=cython.ulonglong)
cdef void _hush(Pen pen) noexcept

@cython.locals(wanted=pollfd, ready=int, calls=cython.ulonglong, one=cython.ulonglong, is_over=bint)
cdef void _serve(Pen pen, int timeout_ms) noexcept nogil

@cython.locals(at=cython.longlong, first=Py_ssize_t, count=Py_ssize_t, written=Py_ssize_t,
               base=cython.p_char)
cdef int _write(Pen pen) noexcept nogil
