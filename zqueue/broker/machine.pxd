# C types of machine.py, for the compiler.

cimport cython

from ..core.counters cimport Counters
from ..wire.headers cimport decode, encode
from .book cimport Book
from .dispatch cimport Dispatch
from .intake cimport Intake
from .peers cimport Peer, WorkerPeer
from .permissions cimport permits
from .settling cimport Settling


@cython.final
cdef class BrokerProtocol:
    cdef readonly object id, limits, dead, aside, figures, held, keys, recovery, roster, teller
    cdef readonly Counters counters
    cdef readonly Book book
    cdef readonly Intake intake
    cdef readonly Settling settling
    cdef readonly Dispatch dispatch
    cdef readonly object cancelling, commands, presence, access
    cdef readonly list _out
    cdef list _awaits
    cdef dict _handlers
    cdef readonly dict strangers
    cdef readonly object _timers
    cdef dict _peers

    cpdef receive(self, peer, user, list frames, double now)
    @cython.locals(worker=WorkerPeer)
    cpdef bint is_saturated(self)
    cpdef list to_send(self)
    @cython.locals(known=Peer)
    cdef _receive(self, peer, user, message, list frames, double now)
