"""One base model in memory, adapters that come and go over it, and answers that nobody else's chat changes."""

import contextlib
import json
import random
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
from studio.worker.generation import Engine
from studio.workspace import write_json
from tests.worker.conftest import PATIENCE, run_worker, wait_for_end

pytestmark = pytest.mark.slow
QUESTION = [{"role": "user", "content": "what is question 3"}]
# A random model's likeliest token is always the same one; drawn answers tell one set of weights from another.
DRAWN = {"temperature": 1.0, "top_p": 1.0, "seed": 5}
STUDIO = {"first_token_seconds", "seconds", "shared_batch", "context", "cached_tokens", "notes"}
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

    def post(self, model="base", messages=QUESTION, token=None, path="chat/completions", **options):
        drawn = {"temperature": 0, "max_tokens": 24} if path == "chat/completions" else {}
        body = {"model": model, "messages": messages, **drawn, **options}
        headers = {"authorization": f"Bearer {self.token if token is None else token}".strip()}
        return httpx.post(f"{self.base}/v1/{path}", json=body, headers=headers, timeout=60)

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
    told = answer["studio"]
    assert told.keys() == STUDIO
    assert 0 < told["first_token_seconds"] <= told["seconds"]
    assert (told["shared_batch"], told["context"], told["notes"]) == (True, 512, [])


def test_a_streamed_answer_is_the_whole_one_in_pieces(server, adapters):
    client = ChatClient(Endpoint(server.base, server.token))
    for model in ("base", adapters[0]):
        pieces = list(client.stream(model, QUESTION, Settings(temperature=0, max_tokens=24)))
        assert "".join(pieces) == server.say(model)
        assert len(pieces) > 1


def test_a_conversation_that_goes_on_is_not_read_again(server):
    answer = server.post(max_tokens=6).json()
    said = answer["choices"][0]["message"]
    more = [*QUESTION, said, {"role": "user", "content": "and tea"}]
    again = server.post(messages=more, max_tokens=6).json()
    assert again["studio"]["cached_tokens"] >= answer["usage"]["prompt_tokens"] - 1
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == again["studio"]["cached_tokens"]


def test_tokens_are_counted_and_answers_scored(server, adapters):
    prompt = server.post(max_tokens=1).json()["usage"]["prompt_tokens"]
    assert server.post(path="tokens").json() == {"tokens": prompt, "context": 512}
    scores = {
        (model, text): server.post(model, path="score", answer=text).json()
        for model in ("base", adapters[0])
        for text in ("the lamp is lit", "the lamp is lit and tea")
    }
    assert all(score["logprob"] < 0 < score["tokens"] for score in scores.values())
    assert len({score["logprob"] for score in scores.values()}) == 4
    assert scores["base", "the lamp is lit and tea"]["logprob"] < scores["base", "the lamp is lit"]["logprob"]
    assert server.post(path="score", answer="").json() == {"logprob": 0.0, "tokens": 0}
    assert "this model reads at most" in refusal(server, path="score", answer="fog " * 600)


def test_health_tells_what_the_memory_holds(server, adapters):
    server.say(adapters[0])
    health = server.get("/health").json()
    assert health["base_bytes"] > health["adapter_bytes"] > 0
    assert health["cache_bytes"] > 0
    assert health["active"] == 0
    models = server.get("/v1/models").json()["data"]
    assert [model["id"] for model in models] == health["loaded"]


def test_fields_of_other_clients_are_honoured_or_refused(server):
    plain = server.say(max_tokens=12, temperature=1.0, seed=3)
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "what is "}, {"type": "text", "text": "question 3"}]}
    ]
    same = {
        "n": 1, "user": "me", "presence_penalty": 0, "logprobs": False, "tools": None, "store": False, "stop": None,
        "reasoning_effort": "medium", "top_k": -1, "session_id": "x", "audio": {},
    }  # fmt: skip
    assert server.say(messages=parts, temperature=1.0, seed=3, max_completion_tokens=12, **same) == plain
    stop = plain[3:5]
    cut = server.post(max_tokens=12, temperature=1.0, seed=3, stop=[stop]).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == (plain[: plain.index(stop)], "stop")
    tool = {"type": "function", "function": {"name": "f"}}
    for field, value in {
        "n": 2, "logprobs": True, "tools": [tool], "presence_penalty": 0.5, "logit_bias": {"5": 1}, "top_k": 5,
        "response_format": {"type": "json_object"}, "magic": 1, "stop": ["a", "b", "c", "d", "e"],
        "reasoning_effort": "high",
    }.items():  # fmt: skip
        error = server.post(**{"temperature": 1, field: value}).json()["error"]
        assert error.keys() == {"message", "hint", "type", "param", "code"}
        assert error["param"] == field, error
        assert field in error["message"]
    assert server.say(max_tokens=4, top_k=5) == server.say(max_tokens=4)  # nothing is drawn at temperature 0


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
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["usage"]["completion_tokens"] <= 4
    assert chunks[-1]["studio"].keys() == STUDIO
    body["stream_options"] = {"include_usage": True}
    lines = httpx.post(f"{server.base}/v1/chat/completions", json=body, headers=headers).text.split("\n\n")
    last, before = (json.loads(lines[place].removeprefix("data: ")) for place in (-3, -4))
    assert (last["choices"], last["usage"].keys() >= {"total_tokens"}, "usage" in before) == ([], True, False)


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
        ("../../etc", "hello", "is not the id of"),
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
    response = server.post(**wrong)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert server.say(max_tokens=2)


def test_a_server_does_not_grow_into_memory_that_a_job_was_promised(server):
    file = server.folder / names.PROMISED
    write_json(file, {"bytes": 1 << 60})
    try:
        assert "promised to the job" in refusal(server, max_tokens=400)
        assert server.say(max_tokens=8)
    finally:
        file.unlink()
    assert server.post(max_tokens=400).status_code == 200


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
def serving(shelf):
    """(where a server in this process answers, its engine); its answers go on until they are as long as was asked."""
    ends, shelf.end_tokens = shelf.end_tokens, set()
    engine = Engine(shelf, torch.device("cpu"), max_batch=4)
    http = uvicorn.Server(
        uvicorn.Config(
            serve.Server(shelf, "word", engine).app(), port=0, log_level="error", timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=http.run, daemon=True)
    thread.start()
    while not http.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{http.servers[0].sockets[0].getsockname()[1]}", engine
    http.should_exit = True
    thread.join(20)
    shelf.end_tokens = ends


def settle(engine):
    end = time.monotonic() + 30
    while engine.active:
        assert time.monotonic() < end, "a slot is stuck"
        time.sleep(0.01)


def test_readers_who_close_the_connection_at_random_free_their_slots(serving, adapters):
    """Streaming or not, served or waiting: the server notices and takes the request out of its round."""
    url, engine = serving
    chance = random.Random(5)

    def leave(number):
        body = {"model": ["base", *adapters][number % 3], "messages": QUESTION, "max_tokens": 450}
        headers = {"authorization": "Bearer word"}
        late = httpx.Timeout(5, read=chance.choice([0.02, 0.2]))
        with contextlib.suppress(httpx.ReadTimeout):
            if number % 2:
                httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=late)
                return
            target = ("POST", f"{url}/v1/chat/completions")
            with httpx.stream(*target, json={**body, "stream": True}, headers=headers, timeout=late) as response:
                for _ in zip(range(chance.randrange(4)), response.iter_lines(), strict=False):
                    pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(leave, range(40)))
    settle(engine)
    answer = ChatClient(Endpoint(url, "word")).stream("base", QUESTION, Settings(temperature=0, max_tokens=450))
    next(answer)
    assert engine.active == 1
    answer.close()
    settle(engine)


def test_openais_own_client_streams_and_does_not(serving):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{serving[0]}/v1", api_key="word", max_retries=0)
    options = {"model": "base", "messages": QUESTION, "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**options)
    streamed = client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
    chunks = list(streamed)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.total_tokens == whole.usage.total_tokens
    with pytest.raises(openai.BadRequestError, match="n can only be 1"):
        client.chat.completions.create(**options, n=2)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{serving[0]}/v1", api_key="no", max_retries=0).models.list()
