# What of C `writing` and `reading` use, for the compiler.

from cpython.object cimport PyObject


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    object PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)
    void* PyUnicode_DATA(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyFloat_Pack8(double value, char* data, int little_endian) except -1
    double PyFloat_Unpack8(const char* data, int little_endian) except? -1.0
    double PyFloat_Unpack4(const char* data, int little_endian) except? -1.0
    double PyFloat_AS_DOUBLE(object number)
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object number) except? 0xFFFFFFFFFFFFFFFF
    list PyList_New(Py_ssize_t size)
    Py_ssize_t PyList_GET_SIZE(object items)
    PyObject* PyList_GET_ITEM(object items, Py_ssize_t position)
    void PyList_SET_ITEM(list items, Py_ssize_t position, object item)
    Py_ssize_t PyTuple_GET_SIZE(object items)
    PyObject* PyTuple_GET_ITEM(object items, Py_ssize_t position)
    bytes PyBytes_FromStringAndSize(const char* data, Py_ssize_t size)
    char* PyBytes_AS_STRING(object data)
    Py_ssize_t PyBytes_GET_SIZE(object data)
    Py_ssize_t PyDict_Size(object map) except -1
    int PyDict_Next(object map, Py_ssize_t* position, PyObject** key, PyObject** value)
    char* PyByteArray_AS_STRING(object data)
    int PyByteArray_Resize(object data, Py_ssize_t size) except -1
    void Py_INCREF(object thing)
    void Py_DECREF(object thing)
    bint PyLong_CheckExact(object thing)
    bint PyFloat_CheckExact(object thing)
    bint PyUnicode_CheckExact(object thing)
    bint PyBytes_CheckExact(object thing)
    bint PyList_CheckExact(object thing)
    bint PyTuple_CheckExact(object thing)
    bint PyDict_CheckExact(object thing)

cdef extern from "string.h":
    void* memcpy(void* to, const void* source, size_t size)
    void* memmove(void* to, const void* source, size_t size)
    int memcmp(const void* one, const void* other, size_t size)
