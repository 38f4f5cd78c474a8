"""What the sidecar and the gateway share: an ASGI application, served by uvicorn under our rules.

uvicorn speaks HTTP and TLS. `listening` opens the socket, `connections` adds limits to uvicorn's
protocols, by the rules of `patience`, and `serving` runs it. `asgi` has what an application needs
to read a request and to answer it; `hosts` tells which names it may come for, `credentials` what it
shows.
"""
