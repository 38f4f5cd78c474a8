# C types of permissions.py, for the compiler.

cpdef bint permits(kind, role)
