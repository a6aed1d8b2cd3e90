"""One base model in memory, adapters that come and go over it, and answers that nobody else's chat changes."""

import json
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
import torch
import uvicorn

from studio import workspace as names
from studio.base_models import fingerprint
from studio.errors import UserError
from studio.jobs.events import Stopped
from studio.jobs.launchers import local
from studio.jobs.servers import Endpoint
from studio.jobs.spec import ServeSpec
from studio.playground.client import ChatClient, Settings
from studio.worker import load, serve
from studio.worker.adapters import AdapterShelf
from studio.worker.generation import Engine, Request, Sampling, cancelling
from tests.worker.conftest import PATIENCE, run_worker, wait_for_end

pytestmark = pytest.mark.slow
QUESTION = [{"role": "user", "content": "what is question 3"}]
# A random model's likeliest token is always the same one; drawn answers tell one set of weights from another.
DRAWN = {"temperature": 1.0, "top_p": 1.0, "seed": 5}
PICTURE = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}


@pytest.fixture(scope="module")
def adapters(lab):
    """Two adapters of the base that answer differently."""
    first = lab.spec("lora", max_steps=12, learning_rate=0.05, save_steps=1000)
    second = lab.spec("dpo", max_steps=12, learning_rate=0.05, save_steps=1000, seed=3)
    return [lab.train(first).name, lab.train(second).name]


@pytest.fixture(scope="module")
def stranger(lab, other_model):
    """An adapter of another base of the same shape."""
    return lab.train(lab.spec("lora", model=other_model)).name


class Talk:
    """One server process and how to speak with it."""

    def __init__(self, lab):
        self.folder = lab.folder(ServeSpec(base_model=str(lab.model)), "server")
        self.process = local.launch("studio.worker", self.folder)
        self.base, self.token = "", ""

    def wait(self):
        end = time.monotonic() + PATIENCE
        while not (self.folder / names.ENDPOINT).exists():
            assert self.process.poll() is None, (self.folder / names.LOG).read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        value = json.loads((self.folder / names.ENDPOINT).read_text())
        self.base, self.token = f"http://127.0.0.1:{value['port']}", value["token"]
        return self

    def get(self, path, token=None):
        headers = {"authorization": f"Bearer {self.token if token is None else token}".strip()}
        return httpx.get(self.base + path, headers=headers, timeout=30)

    def post(self, model="base", messages=QUESTION, token=None, **options):
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 24, **options}
        headers = {"authorization": f"Bearer {self.token if token is None else token}".strip()}
        return httpx.post(f"{self.base}/v1/chat/completions", json=body, headers=headers, timeout=60)

    def say(self, model="base", messages=QUESTION, **options):
        response = self.post(model, messages, **options)
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def server(lab, adapters, stranger):
    talk = Talk(lab)
    try:
        yield talk.wait()
        talk.process.send_signal(signal.SIGTERM)
        ended = wait_for_end(talk.process, talk.folder)
        assert ended.code == 0, ended.log
        assert isinstance(ended.last, Stopped)
        assert not (talk.folder / names.ENDPOINT).exists()
        assert "Traceback" not in ended.log
    finally:
        local.kill(local.read_record(talk.folder))


def test_only_who_knows_the_word_is_answered(server):
    for token in ("", "wrong", server.token[:-1]):
        assert server.get("/health", token).status_code == 401
        assert server.get("/v1/models", token).status_code == 401
        assert server.post(token=token).status_code == 401
    assert httpx.get(f"{server.base}/health").status_code == 401
    assert server.get("/health").json()["alive"] is True
    assert (server.folder / names.ENDPOINT).stat().st_mode & 0o077 == 0
    assert server.token not in (server.folder / names.LOG).read_text()


def test_it_listens_on_this_machine_alone(server):
    listening = [one.laddr for one in psutil.Process(server.process.pid).net_connections() if one.status == "LISTEN"]
    assert [(address.ip, f"http://127.0.0.1:{address.port}") for address in listening] == [("127.0.0.1", server.base)]


def test_it_says_which_base_it_holds(lab, server):
    assert server.get("/health").json()["fingerprint"] == fingerprint(lab.model)


def test_an_answer_has_the_shape_of_openais(server):
    answer = server.post(max_tokens=5).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "base"
    [choice] = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in ("length", "stop")
    usage = answer["usage"]
    assert usage["completion_tokens"] <= 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_streamed_answer_is_the_whole_one_in_pieces(server, adapters):
    client = ChatClient(Endpoint(server.base, server.token))
    for model in ("base", adapters[0]):
        pieces = list(client.stream(model, QUESTION, Settings(temperature=0, max_tokens=24)))
        assert "".join(pieces) == server.say(model)
        assert len(pieces) > 1


def test_the_stream_ends_as_openais_does(server):
    body = {"messages": QUESTION, "stream": True, "temperature": 0, "max_tokens": 4}
    headers = {"authorization": f"Bearer {server.token}"}
    lines = httpx.post(f"{server.base}/v1/chat/completions", json=body, headers=headers).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] in ("length", "stop")
    assert set(reasons[:-1]) <= {None}


def test_temperature_0_says_the_same_and_a_seed_draws_the_same(server):
    assert server.say() == server.say()
    drawn = {"temperature": 1.5, "top_p": 1.0}
    assert server.say(seed=7, **drawn) == server.say(seed=7, **drawn)
    assert len({server.say(seed=seed, **drawn) for seed in range(4)}) > 1


def test_adapters_are_switched_back_and_forth_without_a_trace(server, adapters):
    models = ["base", *adapters]
    answers = {model: server.say(model, **DRAWN) for model in models}
    assert len(set(answers.values())) == 3
    for model in (adapters[0], "base", adapters[1], adapters[0], "base"):
        assert server.say(model, **DRAWN) == answers[model]
    health = server.get("/health").json()
    assert (health["alive"], health["loaded"]) == (True, models)


def test_an_adapters_answer_is_what_peft_and_transformers_give(lab, server, adapters):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = lab.workspace.job(adapters[0]) / names.ADAPTER
    dtype = load.half_precision(torch.device("cpu")) or torch.float32
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(lab.model, dtype=dtype), folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert server.say(adapters[0]) == tokenizer.decode(written, skip_special_tokens=True)


def test_chats_at_the_same_time_do_not_mix(server, adapters):
    wanted = [(model, {**DRAWN, "seed": seed}) for seed in range(3) for model in ("base", *adapters)]
    alone = [server.say(model, **options) for model, options in wanted]
    assert len(set(alone)) == len(wanted)
    with ThreadPoolExecutor(len(wanted)) as pool:
        together = list(pool.map(lambda one: server.say(one[0], **one[1]), wanted))
    assert together == alone


def refusal(server, model="base", messages=QUESTION, **options):
    response = server.post(model, messages, **options)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["hint"]
    return error["message"]


def test_an_adapter_of_another_base_is_refused_by_name(server, stranger, other_model):
    message = refusal(server, stranger)
    assert stranger in message
    assert str(other_model) in message
    assert stranger not in server.get("/health").json()["loaded"]


def test_a_damaged_adapter_is_refused_naming_the_file(lab, server, adapters):
    folder = lab.copy(lab.workspace.job(adapters[0]))
    file = folder / names.ADAPTER / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "adapter/adapter_model.safetensors is damaged" in refusal(server, folder.name)


@pytest.mark.parametrize(
    ("model", "content", "word"),
    [
        ("base", " \n", "message is empty"),
        ("base", "fog " * 600, "this model reads at most 512"),
        ("nobody", "hello", "nobody has no adapter"),
        ("../../etc", "hello", "not the id of a job"),
    ],
    ids=["empty", "too long", "unknown", "a path"],
)
def test_what_cannot_be_answered_is_told_with_a_hint(server, model, content, word):
    assert word in refusal(server, model, [{"role": "user", "content": content}])


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"temperature": -1},
        {"max_tokens": 0},
        {"top_p": 0},
        {"messages": [{"role": "stranger", "content": "x"}]},
        {"messages": [{"role": "user", "content": [PICTURE]}]},
    ],
)
def test_a_request_out_of_bounds_is_refused_and_the_server_lives(server, wrong):
    assert server.post(**wrong).status_code == 422
    assert server.say(max_tokens=2)


def test_an_answer_ends_where_the_models_memory_ends(server):
    long = [{"role": "user", "content": "fog " * 450}]
    answer = server.post(messages=long, max_tokens=4000).json()
    assert answer["usage"]["total_tokens"] <= 512


def test_a_base_that_is_not_here_is_told(lab):
    spec = ServeSpec(base_model="nobody/nothing")
    with pytest.raises(UserError, match="nobody/nothing is not on this machine") as caught:
        serve.run(lab.folder(spec, "server"), spec)
    assert caught.value.hint


def test_a_server_that_nobody_asks_ends_by_itself(lab):
    folder = lab.folder(ServeSpec(base_model=str(lab.model), idle_seconds=0.2), "server")
    ended = run_worker(folder)
    assert ended.code == 0, ended.log
    assert isinstance(ended.last, Stopped)
    assert not (folder / names.ENDPOINT).exists()


# The engine by itself, in this process.


@pytest.fixture(scope="module")
def shelf(lab, adapters):
    model = load.load_model(lab.model, dtype=torch.float32, where=torch.device("cpu"), spec=None)
    return AdapterShelf(model, load.load_tokenizer(lab.model, "model"), lab.model, lab.workspace)


@pytest.fixture(scope="module")
def engine(shelf):
    return Engine(shelf, torch.device("cpu"))


def ask(shelf, adapter="base", *, max_tokens=400):
    tokenizer = shelf.tokenizer(adapter)
    ids = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True)["input_ids"]
    return Request(adapter, ids, tokenizer, Sampling(temperature=0, max_tokens=max_tokens))


def test_who_leaves_frees_the_engine(shelf, engine):
    with cancelling(engine.submit(ask(shelf))) as request:
        next(iter(request.stream()))
    pieces = []
    while not pieces or pieces[-1].finish is None:
        pieces.append(request.pieces.get(timeout=30))
    assert pieces[-1].finish == "cancelled"
    assert len(request.generated) < 400


def test_a_reader_that_closes_the_connection_frees_the_engine(shelf, monkeypatch):
    """Over HTTP: the server notices the closed stream and takes the request out of its round."""
    serving = serve.Server(shelf, "word", torch.device("cpu"))
    taken = []
    submit = serving.engine.submit
    monkeypatch.setattr(serving.engine, "submit", lambda request: taken.append(request) or submit(request))
    monkeypatch.setattr(shelf, "end_tokens", set())  # so that it would write to the very end
    http = uvicorn.Server(uvicorn.Config(serving.app(), port=0, log_level="error"))
    thread = threading.Thread(target=http.run, daemon=True)
    thread.start()
    try:
        while not http.started:
            time.sleep(0.01)
        port = http.servers[0].sockets[0].getsockname()[1]
        answer = ChatClient(Endpoint(f"http://127.0.0.1:{port}", "word")).stream(
            "base", QUESTION, Settings(temperature=0, max_tokens=450)
        )
        next(answer)
        answer.close()
        assert taken[0].cancelled.wait(30)
        assert len(taken[0].generated) < 450
    finally:
        http.should_exit = True
        thread.join(20)


def test_an_error_reaches_the_one_who_asked_and_nobody_else(lab, shelf, engine, adapters):
    gone = lab.copy(lab.workspace.job(adapters[1]))
    broken = ask(shelf, gone.name, max_tokens=5)
    shutil.rmtree(gone)
    fine = engine.submit(ask(shelf, max_tokens=5))
    engine.submit(broken)
    with pytest.raises(UserError, match="has no adapter"):
        list(broken.stream())
    assert list(fine.stream())[-1].finish == "length"
    assert engine.is_alive


def test_a_character_of_several_tokens_is_never_sent_in_halves(shelf, engine, monkeypatch):
    tokens = iter([*shelf.tokenizer("base")("茶ü")["input_ids"], *shelf.end_tokens])
    monkeypatch.setattr(engine, "_next_token", lambda model, request: next(tokens))
    pieces = [piece.text for piece in engine.submit(ask(shelf)).stream()]
    assert "".join(pieces) == "茶ü"
    assert not any("\ufffd" in piece for piece in pieces)
