"""What the processes decide with: one noun a file, no socket, no clock, no thread.

Time is always an argument named ``now``: seconds of a monotonic clock. `MemoryQueue` is the
one part that threads may share, so it alone imports ``threading``.
"""
