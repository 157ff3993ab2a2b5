"""A model's file is served by its name."""

import pytest
from processes import Open, Serve
from tiny import model


async def test_a_models_file_is_served(serve: Serve, open_tab: Open) -> None:
    tab = await open_tab(await serve(str(model()), store="memory"))
    run = await tab.say("hi")
    await tab.until("content", run=run)
    await tab.send({"type": "interrupt", "run": run})
    settled = await tab.until("settled", run=run)
    assert settled["upstream_closed"] is True


async def test_a_file_that_is_none_or_broken_is_said_at_the_start(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("models")
    (folder / "broken.gguf").write_bytes(model().read_bytes()[:5000])
    for name, said in (("broken.gguf", "could not be loaded"), ("absent.gguf", "expected a GGUF file")):
        server = await serve(str(folder / name), store="memory")
        assert await server.exit() not in (0, None)
        assert said in server.output
        assert "Traceback" not in server.output
