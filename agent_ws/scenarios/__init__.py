"""Scripted clients: what they do and what they expect, in a text file.

    agent-ws play hello.scenario.yaml http://127.0.0.1:8000

    scenario: A Stop in mid-answer is acknowledged
    steps:
      - connect:
      - send: Tell me everything
      - interrupt: {seen: 20}
        after: {chars: 40}
      - expect: {type: interrupted, reason: user}
        within: 1

The one rule: a scenario knows the wire and nothing of the server's inside, so it holds for any server that speaks it.
"""
