"""What the client makes of what servers say."""

import threading

import pytest

from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.playground.client import ChatClient, Score, Settings, TokenCount
from studio.playground.conversations import facts_of
from studio.playground.servers import wait_for_endpoint
from tests.playground.fake_server import FakeServer

MESSAGES = [{"role": "user", "content": "Who?"}]


def last_of(server):
    told = None
    for chunk in ChatClient(server.endpoint).answer("base", MESSAGES, Settings()):
        told = chunk if told is None else told.followed_by(chunk)
    return told


def test_an_answer_comes_in_pieces_and_ends_with_what_is_known_about_it(server):
    chunks = list(ChatClient(server.endpoint).answer("job-1", MESSAGES, Settings(temperature=0, max_tokens=9)))
    assert [chunk.text for chunk in chunks] == ["The ", "lamp.", ""]
    assert chunks[-1].finish == "stop"
    assert chunks[-1].usage == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    facts = facts_of("job-1", last_of(server))
    assert (facts.tokens, facts.prompt_tokens, facts.context, facts.cached_tokens) == (2, 10, 2048, 4)
    assert (facts.seconds, facts.first_token_seconds, facts.shared_batch, facts.finish) == (0.5, 0.25, True, "stop")
    (body,) = server.bodies()[:1]
    assert (body["model"], body["messages"], body["stream"]) == ("job-1", MESSAGES, True)
    assert (body["temperature"], body["max_tokens"]) == (0, 9)


def test_stream_is_the_text_alone(server):
    assert list(ChatClient(server.endpoint).stream("base", MESSAGES, Settings())) == ["The ", "lamp."]


def test_what_a_server_does_not_say_is_not_known(server):
    server.tells = server.has_routes = False
    facts = facts_of("base:starter", last_of(server))
    assert (facts.finish, facts.tokens, facts.seconds, facts.context) == ("stop", None, None, None)
    assert ChatClient(server.endpoint).score("base", MESSAGES, "a") == Score(None, None)
    assert ChatClient(server.endpoint).tokens("base", MESSAGES) == TokenCount(None, None)


def test_what_a_server_says_wrongly_is_not_known(server):
    server.answer = lambda model, messages: ["x"]
    told = last_of(server)
    told.usage["completion_tokens"], told.studio["shared_batch"], told.studio["seconds"] = "many", 1, True
    facts = facts_of("base:starter", told)
    assert (facts.tokens, facts.shared_batch, facts.seconds) == (None, None, None)


def test_notes_are_kept_as_sentences_and_nothing_else(server):
    server.notes = ["Takes turns.", 3, "x" * 9999, *["more"] * 50]
    notes = facts_of("base:starter", last_of(server)).notes
    assert notes[:2] == ["Takes turns.", "x" * 500]
    assert len(notes) == 10
    server.notes = "a text"
    assert facts_of("base:starter", last_of(server)).notes == []


def test_scores_and_lengths(server):
    client = ChatClient(server.endpoint)
    assert client.score("job", MESSAGES, "The lamp.") == Score(-4.5, 3)
    assert client.tokens("job", MESSAGES) == TokenCount(12, 2048)
    assert server.bodies("/v1/score") == [{"model": "job", "messages": MESSAGES, "answer": "The lamp."}]


def test_an_error_in_the_middle_is_the_servers_own_sentence(server):
    server.answer = lambda model, messages: ["Half", ValueError("Too long.")]
    with pytest.raises(UserError, match="Too long. Shorten it."):
        list(ChatClient(server.endpoint).stream("base", MESSAGES, Settings()))


def test_a_refusal_without_a_sentence_is_one_of_ours(server):
    stranger = ChatClient(Endpoint(server.endpoint.url, "guessed"))
    with pytest.raises(UserError, match="refused"):
        list(stranger.stream("base", MESSAGES, Settings()))
    with pytest.raises(UserError, match="refused"):
        stranger.score("base", MESSAGES, "a")


def test_a_server_that_is_gone_is_a_sentence():
    with FakeServer().running() as gone:
        pass
    with pytest.raises(UserError, match="ended"):
        list(ChatClient(gone.endpoint).stream("base", MESSAGES, Settings()))
    with pytest.raises(UserError, match="ended"):
        ChatClient(gone.endpoint).tokens("base", MESSAGES)


def test_who_left_does_not_wait_for_a_model(talking):
    left = threading.Event()
    left.set()
    with pytest.raises(UserError, match="did not load"):
        wait_for_endpoint(talking, "starter", left)


def test_who_waits_is_told_for_what(talking, monkeypatch):
    there, told = talking.servers.want("starter"), []
    answers = iter([None, None, there])
    monkeypatch.setattr(talking.servers, "want", lambda base_model: next(answers))
    monkeypatch.setattr(talking.servers, "why", lambda base_model: "Somebody is chatting.", raising=False)
    assert wait_for_endpoint(talking, "starter", threading.Event(), told.append) == there
    assert told == ["Somebody is chatting."] * 2
    monkeypatch.setattr(talking.servers, "want", lambda base_model: None)
    monkeypatch.setattr("studio.playground.servers.START_PATIENCE", 0)
    with pytest.raises(UserError, match=r"did not load in time\. Somebody is chatting"):
        wait_for_endpoint(talking, "starter", threading.Event())
