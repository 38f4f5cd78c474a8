"""What the processes say to one another: messages, codec, and one machine per role.

Every machine is pure. The contract with whoever drives it: after any call, send what
``to_send()`` returns, handle what ``next_event()`` gives until it gives None, and call
``tick(now)`` no later than ``next_deadline()``. docs/protocol.md is the same in prose.
"""
