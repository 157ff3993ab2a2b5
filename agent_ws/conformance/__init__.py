"""The wire's conformance suite: cases under the eight promises, as scenarios, for any server that speaks the protocol.

    agent-ws serve obedient                      # or the same agent behind another server
    agent-ws check http://127.0.0.1:8000

The one rule: a case asks only for what PROTOCOL.md says. What it needs of a server beyond that, it names (`needs`), and
where the server hasn't it, the case is skipped and said to be.
"""
