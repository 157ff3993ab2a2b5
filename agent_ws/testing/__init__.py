"""What helps to test, for third parties too: the stores' conformance suite, a client without a socket, the promises as
functions, and a proxy that does what networks do.
"""
