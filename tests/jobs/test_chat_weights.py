"""How base models are held for chats: the choice is kept, servers follow it when they are idle, memory is counted."""

import logging

import pytest

from studio import hardware
from studio.errors import UserError
from studio.hardware import Gpu
from studio.jobs import servers, sharing
from studio.jobs.chat_weights import ChatWeights
from studio.jobs.launchers import local
from studio.jobs.running_server import find_server
from studio.jobs.servers import ServerPool
from studio.jobs.sharing import Ledger, Space, chat_needs
from studio.jobs.spec import ServeSpec, read_spec
from studio.memory.estimate import GIB
from studio.workspace import SPEC, read_json, write_json
from tests.jobs.test_sharing import A, B, forget, is_open, load, machine, pool, until, visit

__all__ = ["machine", "pool"]  # fixtures
FAKE = "tests.jobs.fake_server"


@pytest.fixture
def weights(workspace):
    return ChatWeights(workspace)


def held(workspace):
    """{base model: how it is held} of the servers that live."""
    found = [find_server(folder) for folder in workspace.servers.iterdir()]
    return {one.spec.base_model: one.spec.quantization for one in found if one is not None and one.is_alive}


def visited(workspace, endpoint):
    """A connection that the server has accepted."""
    connection = visit(endpoint)
    found = [find_server(folder) for folder in workspace.servers.iterdir()]
    until(lambda: None, lambda: any(one.has_visitors for one in found if one is not None))
    return connection


def test_a_choice_is_kept_for_everybody(workspace, weights):
    assert weights.read() == "none"
    for value in ("nf4", "int8", "none", "nf4"):
        weights.choose(value)
        assert weights.read() == ChatWeights(workspace).read() == value


@pytest.mark.parametrize("value", ["nf8", "", None, 4, ["nf4"], {"quantization": "nf4"}, "nf4\n"])
def test_a_strange_choice_is_refused_and_the_last_one_stays(weights, value):
    weights.choose("int8")
    with pytest.raises(UserError, match="cannot be held"):
        weights.choose(value)
    assert weights.read() == "int8"


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"quantization": "nf8"}', b'"nf4"'])
def test_a_damaged_file_counts_as_no_choice_and_the_log_says_so_once(workspace, weights, damage, caplog):
    workspace.chat_weights.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert [weights.read(), weights.read()] == ["none", "none"]
    assert len(caplog.records) == 1
    weights.choose("nf4")
    assert weights.read() == "nf4"


def test_a_server_that_is_idle_is_let_go_and_started_as_chosen(workspace, pool, machine, weights):
    first = load(pool, A)
    assert held(workspace) == {A: "none"}
    forget(pool, A)
    pool.tend()
    assert pool.running() == [A]  # nothing has changed
    weights.choose("nf4")
    pool.tend()
    assert pool.running() == []  # its memory is free, whether somebody wants it again or not
    assert load(pool, A) != first
    until(pool.tend, lambda: held(workspace) == {A: "nf4"})


def test_an_answer_in_progress_goes_on_and_newcomers_are_answered_by_the_same_server(
    workspace, pool, machine, weights, monkeypatch
):
    endpoint = load(pool, A)
    connection = visited(workspace, endpoint)
    forget(pool, A)
    weights.choose("int8")
    pool.tend()
    assert pool.want(A) == endpoint
    assert is_open(connection)
    monkeypatch.setattr(servers, "ASKING", 60.0)
    connection.close()
    assert pool.want(A) == endpoint  # somebody has just been told where to ask
    pool.tend()
    assert pool.want(A) == endpoint
    monkeypatch.setattr(servers, "ASKING", 0.0)
    until(pool.tend, lambda: pool.running() == [])
    assert load(pool, A) != endpoint
    until(pool.tend, lambda: held(workspace) == {A: "int8"})


def test_a_server_that_only_loads_makes_way_at_once(workspace, pool, machine, weights, monkeypatch):
    monkeypatch.setattr(servers, "ASKING", 60.0)
    monkeypatch.setattr(servers.RunningServer, "endpoint", None)
    assert pool.want(A) is None
    pool.tend()
    assert pool.running() == [A]
    weights.choose("nf4")
    pool.tend()
    assert pool.running() == []
    assert pool.want(A) is None
    until(pool.tend, lambda: held(workspace) == {A: "nf4"})


def test_a_studio_that_starts_again_compares_what_it_finds(workspace, pool, machine, weights):
    connection = visited(workspace, load(pool, A))
    weights.choose("nf4")
    load(pool, B)
    later = ServerPool(workspace, worker=FAKE)
    later.tend()
    assert sorted(later.running()) == [A, B]  # who answers, and who is as chosen
    connection.close()
    forget(later, A)
    until(later.tend, lambda: later.running() == [B])
    assert held(workspace).get(B) == "nf4"


def test_a_pool_of_its_own_kind_leaves_the_others_alone(workspace, pool, machine, weights):
    """`studio chat --quantization` beside the page's servers."""
    first = load(pool, A)
    forget(pool, A)
    own = ServerPool(workspace, worker=FAKE, quantization="nf4")
    assert own.running() == []
    load(own, A)
    own.tend()
    pool.tend()
    assert sorted(read_spec(folder / SPEC).quantization for folder in workspace.servers.iterdir()) == ["nf4", "none"]
    assert pool.running() == own.running() == [A]
    assert ServerPool(workspace, worker=FAKE).want(A) == first  # of two, the one that is as chosen
    assert ServerPool(workspace, worker=FAKE, quantization="nf4").want(A) == own.want(A) != first
    own.end(A)
    until(own.tend, lambda: held(workspace) == {A: "none"})


LLAMA_7B = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096}  # fmt: skip
PARAMETERS = 6_738_415_616
LINEAR = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)


@pytest.fixture
def model(tmp_path):
    """A 7B model as far as its size goes: config.json, and a weight file's header without the weights."""
    folder = tmp_path / "seven"
    folder.mkdir()
    write_json(folder / "config.json", LLAMA_7B)
    write_json(folder / "tokenizer.json", {})
    (folder / "tokenizer_config.json").write_text("{}")
    header = b'{"all": {"dtype": "BF16", "shape": [%d], "data_offsets": [0, 0]}}' % PARAMETERS
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def needs(model, workspace, space, quantization):
    return chat_needs(ServeSpec(base_model=str(model), quantization=quantization), workspace, space)


def test_the_memory_of_a_chat_is_that_of_its_weights_as_they_are_held(workspace, model, monkeypatch):
    card = Gpu(name="NVIDIA GeForce RTX 4090", total_bytes=24 * GIB, used_bytes=0)
    monkeypatch.setattr(hardware, "gpus", lambda: [card])
    there = sharing.look_around()
    beside = needs(model, workspace, there, "none") - 2 * PARAMETERS
    assert beside > 0.2 * PARAMETERS  # keys and values, which are not quantized, and what a process takes at any rate
    rest = 2 * (PARAMETERS - LINEAR)  # embeddings, head and norms stay as they are
    eight = needs(model, workspace, there, "int8") - rest - beside
    assert LINEAR < eight < 1.002 * LINEAR  # and a scale for every row
    four = needs(model, workspace, there, "nf4") - rest - beside
    assert four / LINEAR == pytest.approx(0.516, abs=0.001)


def test_on_a_processor_the_rest_is_as_wide_as_its_arithmetic(workspace, model, monkeypatch):
    here = Space(free=64 * GIB)
    found = {}
    for bf16 in (True, False):
        monkeypatch.setattr(hardware, "cpu", lambda bf16=bf16: hardware.Cpu(name="x", cores=2, bf16=bf16))
        found[bf16] = [needs(model, workspace, here, one) / GIB for one in ("none", "int8", "nf4")]
    assert found[True] == sorted(found[True], reverse=True)
    assert found[False] == sorted(found[False], reverse=True)
    assert found[False][0] > 1.8 * found[True][0]
    assert found[False][2] - found[True][2] == pytest.approx(
        (2 * (PARAMETERS - LINEAR) + 0.2 * PARAMETERS) / GIB, rel=1e-3
    )


def test_a_model_that_no_formula_knows_is_counted_as_it_is(workspace, model):
    write_json(model / "config.json", {**LLAMA_7B, "model_type": "gpt_neox"})
    here = Space(free=64 * GIB)
    assert needs(model, workspace, here, "nf4") == needs(model, workspace, here, "none")


def test_a_chat_that_loads_is_counted_as_it_will_be_held(workspace, pool, model, weights, monkeypatch):
    monkeypatch.setattr(sharing, "look_around", lambda: Space(free=64 * GIB))
    monkeypatch.setattr(sharing, "held", lambda record, space: 0)
    monkeypatch.setattr(servers.RunningServer, "endpoint", None)
    space, promised = sharing.look_around(), {}
    for quantization in ("none", "nf4"):
        weights.choose(quantization)
        pool.tend()
        pool.want(str(model))
        pool.tend()
        [folder] = [one for one in workspace.servers.iterdir() if read_spec(one / SPEC).quantization == quantization]
        until(lambda: None, lambda folder=folder: read_json(folder / "endpoint.json"))
        (folder / "endpoint.json").unlink()
        [growing] = Ledger(workspace).workers(space)
        promised[quantization] = growing.promised
        local.kill(local.read_record(folder))
        until(pool.tend, lambda: not pool.running())
    assert promised == {one: needs(model, workspace, space, one) for one in promised}
