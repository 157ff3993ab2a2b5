# The first stage has what building takes; the second gets the finished environment and nothing else.
FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/agent-ws && \
    /opt/agent-ws/bin/pip install --disable-pip-version-check -c constraints.txt .

FROM python:3.13-slim
# /data belongs to the server's user here, so that a new volume mounted on it does too.
RUN useradd --system --uid 10001 --no-create-home agent && install -d -o agent -g agent /data
COPY --from=build /opt/agent-ws /opt/agent-ws
ENV PATH=/opt/agent-ws/bin:$PATH PYTHONUNBUFFERED=1
USER agent
VOLUME /data
EXPOSE 8000
# http.client, because urllib.request would ask a proxy named in the environment for our own loopback address.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
# Lists, not shell lines: the server itself has to get SIGTERM, to drain. In a container it has to listen on all
# addresses, and only who publishes its port knows who can reach it: so this stops with a message until the command says
# `--tokens FILE` or `--no-login`, as docker-compose.yml does.
ENTRYPOINT ["agent-ws"]
CMD ["serve", "demo", "--host", "0.0.0.0", "--port", "8000", "--store", "sqlite:/data/agent_ws.db"]
