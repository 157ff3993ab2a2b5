"""`agent-ws chat`: a conversation in a terminal, or one question over a pipe.

`transcript.py` decides what is shown, `render.py` how it looks; `screen.py` and `pipe.py` are the two ways to show it.
"""
