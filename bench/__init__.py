"""How fast the server is, beside other servers measured in the same run on the same machine: `python -m bench`.

The one rule: a figure alone says nothing. Each one is shown as a ratio to the floor, the cheapest server that can be
written on the same event loop, and to what people would use instead.
"""
