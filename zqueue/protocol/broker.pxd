# C types of broker.py, for the compiler.

cimport cython

from ..core.counters cimport Counters
from ..core.liveness cimport Liveness
from .dispatch cimport Dispatch
from .intake cimport Intake
from .messages cimport decode, encode
from .peers cimport Worker


@cython.final
cdef class BrokerProtocol:
    cdef public object id, limits, about, pauses, dead, figures
    cdef public Counters counters
    cdef public Intake intake
    cdef public Dispatch dispatch
    cdef readonly list _out
    cdef readonly dict _peers, _producers, _former, _workers, _tasks, _says
    cdef readonly Liveness _liveness, _away
    cdef readonly object _pauses
    cdef bint _ending

    cpdef receive(self, peer, list frames, double now)
    @cython.locals(worker=Worker)
    cpdef bint is_saturated(self)
    cpdef list to_send(self)
    cdef _receive(self, peer, message, list frames, double now)
