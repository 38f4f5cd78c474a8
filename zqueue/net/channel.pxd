# C types of channel.py, for the compiler.

cimport cython

cdef extern from "Python.h":
    Py_ssize_t PyList_GET_SIZE(object items)
    str PyUnicode_FromString(const char* text)
    bytes PyBytes_FromStringAndSize(const char* data, Py_ssize_t size)
    char* PyBytes_AS_STRING(object data)
    Py_ssize_t PyBytes_GET_SIZE(object data)

cdef extern from "string.h":
    void* memcpy(void* to, const void* source, size_t size)

cdef extern from "errno.h":
    const int EAGAIN, EINTR

cdef extern from *:
    """
    /* As in zmq.h, which is not there when this is compiled: its interface has been the same since
       libzmq 4.2. */
    typedef union { unsigned char bytes[64]; void *aligned; } message_t;

    static void *functions[10];  /* As `_FUNCTIONS` in channel.py has them. */

    #define zmq_msg_init(part) ((int (*)(message_t *)) functions[0])(part)
    #define zmq_msg_init_size(part, size) ((int (*)(message_t *, size_t)) functions[1])(part, size)
    #define zmq_msg_data(part) ((void *(*)(message_t *)) functions[2])(part)
    #define zmq_msg_size(part) ((size_t (*)(const message_t *)) functions[3])(part)
    #define zmq_msg_more(part) ((int (*)(const message_t *)) functions[4])(part)
    #define zmq_msg_close(part) ((int (*)(message_t *)) functions[5])(part)
    #define zmq_msg_send(part, socket, flags) \
        ((int (*)(message_t *, void *, int)) functions[6])(part, socket, flags)
    #define zmq_msg_recv(part, socket, flags) \
        ((int (*)(message_t *, void *, int)) functions[7])(part, socket, flags)
    #define zmq_errno() ((int (*)(void)) functions[8])()
    #define zmq_msg_gets(part, name) \
        ((const char *(*)(const message_t *, const char *)) functions[9])(part, name)
    """
    ctypedef struct message_t:
        pass
    void* functions[10]
    int zmq_msg_init(message_t* part)
    int zmq_msg_init_size(message_t* part, size_t size)
    void* zmq_msg_data(message_t* part)
    size_t zmq_msg_size(message_t* part)
    bint zmq_msg_more(message_t* part)
    int zmq_msg_close(message_t* part)
    int zmq_msg_send(message_t* part, void* socket, int flags)
    int zmq_msg_recv(message_t* part, void* socket, int flags)
    int zmq_errno()
    const char* zmq_msg_gets(const message_t* part, const char* name)

cdef bint _is_direct
cdef int _MORE, _NOBLOCK


@cython.final
cdef class Channel:
    cdef readonly object socket
    cdef readonly str user
    cdef bint _asks_user
    cdef Py_ssize_t _frames_max
    cdef void* _handle

    cpdef send(self, list frames)
    cpdef receive(self)


@cython.locals(message=message_t, last=Py_ssize_t, i=Py_ssize_t, frame=bytes, size=size_t, code=int)
cdef bint _send_direct(Channel channel, list frames) except -1

@cython.locals(message=message_t, frames=list, user="const char*")
cdef object _receive_direct(Channel channel)

@cython.locals(code=int)
cdef bint _next_part(Channel channel, message_t* part) except -1

cdef bytes _taken(message_t* part)
