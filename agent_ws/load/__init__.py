"""How a server bears a load: `agent-ws bench`.

The one rule: users don't wait for the server. What they do has its time in advance, and lateness counts from that time:
a server that stalls is seen to stall by everybody who came meanwhile, not only by who was being served.
"""
