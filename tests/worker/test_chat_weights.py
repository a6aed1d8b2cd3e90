"""A base model in 4 bits, from the choice to the answers: the studio's own pool, a real server, an adapter over it."""

import time

import httpx
import pytest

from studio.jobs.chat_weights import ChatWeights
from studio.jobs.launchers import local
from studio.jobs.servers import ServerPool
from studio.playground.client import ChatClient, Settings
from tests.worker.adapters_made import base_of, make_adapter
from tests.worker.conftest import PATIENCE

pytestmark = pytest.mark.slow
QUESTION = [{"role": "user", "content": "what is question 3"}]


@pytest.fixture
def pool(lab):
    made = ServerPool(lab.workspace)
    yield made
    made.end_all()
    for folder in lab.workspace.servers.iterdir():
        record = local.read_record(folder)
        if record:
            local.kill(record)


def test_a_server_of_the_pool_holds_the_base_as_chosen_and_answers_with_an_adapter(lab, pool):
    adapter = make_adapter(lab, "wild", scale=2.0)
    ChatWeights(lab.workspace).choose("nf4")
    end = time.monotonic() + PATIENCE
    while (endpoint := pool.want(str(lab.model))) is None:
        assert time.monotonic() < end
        pool.tend()
        time.sleep(0.1)
    headers = {"authorization": f"Bearer {endpoint.token}"}
    told = httpx.get(f"{endpoint.url}/health", headers=headers, timeout=30).json()
    assert told["base_bytes"] < 0.75 * 2 * base_of(lab.model).num_parameters()  # less than 16 bits each
    client, drawn = ChatClient(endpoint), Settings(temperature=0, max_tokens=8)
    said = {model: "".join(client.stream(model, QUESTION, drawn)) for model in ("base", adapter)}
    assert said["base"]
    assert said[adapter]
    assert said["base"] != said[adapter]
    assert "".join(client.stream("base", QUESTION, drawn)) == said["base"]
