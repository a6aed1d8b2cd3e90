"""The inference engine by itself: one pass for many conversations, and each answered as if it were alone."""

import gc
import random
import subprocess
import sys
import threading
import time

import pytest
import torch
from peft import AdaLoraConfig, PeftModel, ShiraConfig
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache

from studio import hardware
from studio import workspace as names
from studio.errors import UserError
from studio.jobs.spec import ServeSpec
from studio.settings import worker_environment
from studio.worker import batching, load
from studio.worker.adapters import AdapterShelf
from studio.worker.batching import share_out
from studio.worker.budget import Budget, Leftover
from studio.worker.caches import CacheShape, RowCache, common_length
from studio.worker.generation import Engine, Request, cancelling
from studio.worker.packed_rows import can_pack
from studio.worker.sampling import Sampling, draw, draw_all
from studio.worker.text_stream import TextStream
from studio.workspace import Workspace, write_json
from tests.worker.voices import CONFIGS, copy_adapter, make_adapter

CPU = torch.device("cpu")
MIXED = ("base", "lora-a", "lora-b", "lora-c", "prefix", "prompt")
ALL = (*MIXED, "dora", "ia3")


@pytest.fixture(scope="module")
def base(tiny_model, tmp_path_factory):
    """The tiny model with weights large enough that its likeliest token changes with what it has read."""
    folder = tmp_path_factory.mktemp("lively") / "lively"
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(0, 0.12 if "embed" not in name else 0.6)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def workspace(base, tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("engine") / "workspace").prepare()
    for number, kind in enumerate(CONFIGS):
        make_adapter(workspace, base, kind, kind, seed=number)
    return workspace


def shelf_of(base, workspace, **options):
    model = load.load_model(base, dtype=torch.float32, where=CPU, spec=None)
    return AdapterShelf(model, load.load_tokenizer(base, "model"), base, workspace, **options)


@pytest.fixture(scope="module")
def shelf(base, workspace):
    shelf = shelf_of(base, workspace)
    shelf.end_tokens = set()  # so that answers are as long as they are asked to be
    return shelf


@pytest.fixture
def engine(shelf):
    return Engine(shelf, CPU)


def ids_of(length, seed=0):
    return [random.Random(seed * 1000 + i).randrange(3, 300) for i in range(length)]


def ask(shelf, name, length, tokens=20, **options):
    sampling = Sampling(temperature=0, max_tokens=tokens)
    return Request(shelf.voice(name), ids_of(length, options.pop("seed", 0)), sampling, **options)


def answer(engine, request):
    return finish(engine.submit(request))


def finish(request):
    end = time.monotonic() + 60
    while True:
        piece = request.pieces.get(timeout=max(0.1, end - time.monotonic()))
        if piece.error is not None:
            raise piece.error
        if piece.finish is not None:
            return request.generated


def settle(engine):
    end = time.monotonic() + 30
    while engine.active:
        assert time.monotonic() < end, "a slot is stuck"
        time.sleep(0.005)


@torch.inference_mode()
def plainly(base, workspace, name, ids, tokens):
    """The likeliest tokens as PEFT and transformers write them, one after another without our code."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    if name != "base":
        model = PeftModel.from_pretrained(model, workspace.adapter_folder(name)).eval()
    given = torch.tensor([ids])
    written = model.generate(
        input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=tokens, do_sample=False,
        eos_token_id=None, pad_token_id=2,
    )  # fmt: skip
    return written[0, -tokens:].tolist()


@pytest.fixture
def passes(monkeypatch):
    """The voices of every pass."""
    seen = []
    advance = batching.advance

    def watch(shelf, rows):
        seen.append([row.request.voice.name for row in rows])
        return advance(shelf, rows)

    monkeypatch.setattr("studio.worker.generation.advance", watch)
    return seen


def test_everyone_is_answered_as_peft_answers_alone_and_most_share_a_pass(base, workspace, shelf, engine, passes):
    asked = [ask(shelf, name, 9 + 7 * i, 16 + i, seed=i) for i, name in enumerate(ALL)]
    together = [finish(request) for request in [engine.submit(one) for one in asked]]
    wanted = [plainly(base, workspace, one.voice.name, one.input_ids, one.sampling.max_tokens) for one in asked]
    assert together == wanted
    assert len({tuple(tokens[:8]) for tokens in together}) == len(ALL), "or nothing is compared"
    assert sorted(MIXED) in [sorted(names) for names in passes]
    assert all(set(names) <= set(MIXED) or len(set(names)) == 1 for names in passes)
    assert [one.voice.mixes for one in asked] == [name in MIXED for name in ALL]
    assert "take their own turn" in asked[-1].voice.notes[-1]


def test_who_comes_late_or_leaves_early_changes_nobodys_answer(shelf, engine, monkeypatch):
    monkeypatch.setitem(batching.READ_BESIDE, "cpu", 16)  # long texts are read in pieces
    chance = random.Random(3)
    plan = [(name, chance.randrange(3, 90), chance.randrange(1, 25), i) for i, name in enumerate(ALL * 2)]
    alone = [answer(Engine(shelf, CPU), ask(shelf, *one[:3], seed=one[3])) for one in plan]
    running = []
    for one in plan:
        running.append(engine.submit(ask(shelf, *one[:3], seed=one[3])))
        leaver = engine.submit(ask(shelf, one[0], 30, 400, seed=77))
        time.sleep(chance.random() * 0.02)
        leaver.cancelled.set()
    assert [finish(one) for one in running] == alone
    settle(engine)


def test_drawn_answers_follow_their_seed_alone(shelf, engine):
    def request(seed):
        drawn = Sampling(temperature=4.0, top_p=0.95, max_tokens=12, seed=seed)
        return Request(shelf.voice(MIXED[seed % 4]), ids_of(10), drawn)

    alone = [answer(engine, request(seed)) for seed in range(6)]
    assert len({tuple(one) for one in alone}) == 6
    assert [finish(one) for one in [engine.submit(request(seed)) for seed in range(6)]] == alone


def test_the_next_turn_reads_only_what_is_new_and_answers_the_same(shelf, engine):
    for name in MIXED:
        first = ask(shelf, name, 40, 10)
        written = answer(engine, first)
        longer = [*first.input_ids, *written, *ids_of(9, seed=5)]
        again = Request(shelf.voice(name), longer, first.sampling)
        forgetful = Engine(shelf, CPU, budget=Budget(0))
        anew = Request(shelf.voice(name), longer, first.sampling)
        assert answer(engine, again) == answer(forgetful, anew)
        assert (again.cached_tokens, anew.cached_tokens) == (49, 0)
        edited = Request(shelf.voice(name), [*longer[:30], *ids_of(20, seed=6)], first.sampling)
        fresh = Request(shelf.voice(name), edited.input_ids, first.sampling)
        assert answer(engine, edited) == answer(forgetful, fresh)
        assert edited.cached_tokens == 30
    assert engine.pool.size > 0
    assert forgetful.pool.size == 0


def test_a_speaker_never_gets_what_another_remembers(shelf, engine):
    answer(engine, ask(shelf, "lora-a", 40))
    other = ask(shelf, "lora-b", 40)
    answer(engine, other)
    assert other.cached_tokens == 0


def test_the_memory_of_conversations_stays_within_its_limit(shelf):
    limit = 300 * CacheShape(shelf.base_model).token_bytes
    engine = Engine(shelf, CPU, budget=Budget(limit))
    for seed in range(12):
        answer(engine, ask(shelf, "base", 60, 5, seed=seed))
        assert engine.cache_size <= limit
    known = ask(shelf, "base", 60, 5, seed=11)
    answer(engine, known)
    gone = ask(shelf, "base", 60, 5, seed=0)
    answer(engine, gone)
    assert (known.cached_tokens, gone.cached_tokens) == (59, 0)


def test_a_score_is_the_log_probability_of_the_answer(base, workspace, shelf, engine, monkeypatch):
    monkeypatch.setitem(batching.READ_ALONE, "cpu", 24)
    prompt, said = ids_of(33), ids_of(21, seed=9)
    for name in ("base", "lora-a", "prefix", "dora"):
        with shelf.use(name) as voice, torch.inference_mode():
            cache, inputs = voice.begin(torch.tensor([[*prompt, *said]]))
            logits = voice.model(**inputs, past_key_values=cache, use_cache=True).logits[0, -22:-1]
        wanted = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None]).sum()
        request = Request(shelf.voice(name), prompt, Sampling(max_tokens=1), answer=said)
        answer(engine, request)
        assert request.logprob == pytest.approx(float(wanted), abs=1e-3)
        assert request.generated == []
    again = Request(shelf.voice("base"), prompt, Sampling(max_tokens=1), answer=said)
    answer(engine, again)
    assert again.cached_tokens == 32
    assert again.logprob != pytest.approx(request.logprob, abs=1e-2)


def test_nobody_waits_behind_a_long_answer_or_a_long_text(shelf, monkeypatch):
    monkeypatch.setitem(batching.READ_BESIDE, "cpu", 32)
    engine = Engine(shelf, CPU, max_batch=2)
    long = [engine.submit(ask(shelf, "base", 5, 300, seed=i)) for i in range(2)]
    reader = engine.submit(ask(shelf, "base", 480, 4, seed=4))
    short = engine.submit(ask(shelf, "lora-a", 5, 3, seed=3))
    finish(short)
    finish(reader)
    assert max(len(one.generated) for one in long) < 250
    for one in long:
        finish(one)


def test_of_a_batch_that_is_full_of_readers_the_first_always_comes_on():
    lengths = [500, 1, 30, 40, 1]
    assert share_out(lengths, 0, beside=64, alone=512) == [16, 1, 30, 18, 1]
    assert share_out([500, 30], 1, beside=64, alone=100) == [70, 30]
    assert share_out([1, 1], 0, beside=64, alone=512) == [1, 1]
    while lengths[0] > 1:
        shares = share_out(lengths, 0, beside=64, alone=512)
        assert shares[0] >= 16 or shares[0] == lengths[0]
        assert sum(share for share, length in zip(shares, lengths, strict=True) if length > 1) <= 64
        lengths[0] -= shares[0]


def test_two_hundred_readers_who_leave_at_random_leave_no_slot_behind(shelf):
    engine = Engine(shelf, CPU, max_batch=8)
    chance = random.Random(0)
    threads, asked = [], []

    def read(request, pieces, wait):
        with cancelling(engine.submit(request)):
            if wait:
                time.sleep(wait)
            for _, piece in zip(range(pieces), request.stream(), strict=False):
                if piece.is_last:
                    return

    for number in range(200):
        name = "dora" if number % 25 == 0 else MIXED[number % len(MIXED)]
        request = ask(shelf, name, chance.randrange(1, 60), chance.randrange(1, 300), seed=number % 5)
        asked.append(request)
        threads.append(
            threading.Thread(target=read, args=(request, chance.randrange(0, 4), chance.choice([0, 0, 0.01])))
        )
        threads[-1].start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    settle(engine)
    assert engine.is_alive
    assert answer(engine, ask(shelf, "base", 10)) == answer(Engine(shelf, CPU), ask(shelf, "base", 10))
    assert engine._live == []
    assert not engine._waiting


def test_two_hundred_adapters_come_and_go_without_growth(base, workspace, tmp_path):
    shelf = shelf_of(base, workspace)
    size = shelf.voice("lora-a").size
    shelf = shelf_of(base, workspace, budget=Budget(3 * size))
    engine = Engine(shelf, CPU, budget=Budget(0))
    first = []
    for number in range(200):
        name = "dora" if number % 100 == 99 else f"many-{number % 10}"
        if number < 10:
            copy_adapter(workspace, workspace.adapter_folder(("lora-a", "prompt")[number % 5 == 0]), name)
        answer(engine, ask(shelf, name, 4, 1))
        assert shelf.size <= 3 * size
        if number in (41, 191):  # of the same adapters; in between one of another kind came and went
            gc.collect()
            kinds = [type(one) for one in gc.get_objects()]
            found = [sum(issubclass(kind, wanted) for kind in kinds) for wanted in (torch.Tensor, torch.nn.Module)]
            first = first or found
    assert found[0] <= first[0] + 40
    assert found[1] <= first[1]


def test_the_adapter_used_longest_ago_makes_room_and_comes_back(base, workspace):
    probe = shelf_of(base, workspace)
    sizes = {name: probe.voice(name).size for name in ("lora-a", "lora-b", "lora-c")}
    shelf = shelf_of(base, workspace, budget=Budget(sizes["lora-a"] + max(sizes["lora-b"], sizes["lora-c"])))
    for name in ("lora-a", "lora-b", "lora-a", "lora-c"):
        shelf.voice(name)
    assert shelf.loaded == ["base", "lora-a", "lora-c"]
    engine = Engine(shelf, CPU)
    assert answer(engine, ask(shelf, "lora-b", 10)) == plainly(base, workspace, "lora-b", ids_of(10), 20)


def test_memory_that_is_promised_to_a_job_is_not_taken(base, workspace, shelf):
    """Conversations that rest are forgotten for it first; an answer ends where only promised memory is left."""
    left = [10**9]
    engine = Engine(shelf, CPU, budget=Budget(10**9, lambda: left[0]))
    rests = ask(shelf, "base", 40, 4)
    answer(engine, rests)
    assert engine.pool.size > 0
    left[0] = 0
    short = ask(shelf, "lora-a", 30, 8, seed=1)  # what it needs was taken when it came in
    assert answer(engine, short) == plainly(base, workspace, "lora-a", short.input_ids, 8)
    with pytest.raises(UserError, match="promised to the job"):
        answer(engine, ask(shelf, "lora-a", 30, 150, seed=2))
    assert engine.pool.size == 0
    left[0] = 10**9
    long = ask(shelf, "lora-a", 30, 150, seed=2)
    assert answer(engine, long) == plainly(base, workspace, "lora-a", long.input_ids, 150)


HEAP = """
import psutil, torch
from studio.worker.budget import give_back
taken = lambda: psutil.Process().memory_info().rss >> 20
kept = [torch.ones(1 << 18) for _ in range(300)]
last = torch.ones(1 << 18)
full = taken()
del kept
freed = taken()
give_back(torch.device("cpu"))
print(full, freed, taken())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked to return what a process has freed")
def test_what_is_forgotten_goes_back_to_the_system():
    """A worker's heap keeps what it freed: the job beside it would gain nothing."""
    command = [sys.executable, "-c", HEAP]
    done = subprocess.run(command, capture_output=True, text=True, env=worker_environment(), check=True)
    full, freed, given_back = (int(word) for word in done.stdout.split())
    assert freed > full - 100, "the heap keeps it"
    assert given_back < full - 200  # of 300 MB


def test_an_adapter_makes_room_where_the_rest_is_promised(base, workspace):
    left = [10**9]
    shelf = shelf_of(base, workspace, budget=Budget(10**9, lambda: left[0]))
    shelf.voice("lora-a")
    left[0] = -shelf.voice("lora-b").size  # the next one was loaded into what is not there
    shelf.voice("lora-c")
    assert "lora-a" not in shelf.loaded
    assert "lora-c" in shelf.loaded


def test_what_is_left_is_what_is_free_without_what_is_promised(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "available_memory", lambda: 1000)
    left = Leftover(tmp_path, CPU)
    assert left() == 1000
    for promised, wanted in ((300, 700), (5000, 0)):
        write_json(tmp_path / names.PROMISED, {"bytes": promised})
        assert left() == wanted
    assert Budget(500, left).most(held=20) == 20
    assert not Budget(500, left).has_left
    assert Budget(500).most(held=20) == 500


def test_other_architectures_are_answered_one_at_a_time_and_right(tmp_path, tiny_model, passes):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=384, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=8, max_position_embeddings=256,
        layer_types=["sliding_attention", "full_attention"] * 2,
    )  # fmt: skip
    torch.manual_seed(0)
    folder = tmp_path / "gemma"
    model = Gemma3ForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(0, 0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    workspace = Workspace(tmp_path / "workspace").prepare()
    make_adapter(workspace, folder, "lora-a", "lora-a", strength=0.2)
    shelf = shelf_of(folder, workspace)
    shelf.end_tokens = set()
    assert not shelf.packs
    engine = Engine(shelf, CPU)
    asked = [engine.submit(ask(shelf, name, 30 + i, 12, seed=i)) for i, name in enumerate(["base", "lora-a"] * 2)]
    together = [finish(one) for one in asked]
    assert together == [plainly(folder, workspace, one.voice.name, one.input_ids, 12) for one in asked]
    assert not any(one.voice.mixes for one in asked)
    assert all(len(names) == 1 for names in passes)
    scored = Request(shelf.voice("base"), ids_of(20), Sampling(max_tokens=1), answer=ids_of(6, seed=1))
    answer(engine, scored)
    with torch.inference_mode():
        logits = model(torch.tensor([[*scored.input_ids, *scored.answer]])).logits[0, -7:-1].log_softmax(-1)
    assert scored.logprob == pytest.approx(
        float(logits.gather(1, torch.tensor(scored.answer)[:, None]).sum()), abs=1e-3
    )


def test_a_base_in_four_bits_answers_in_mixed_passes_too(base, workspace, passes):
    spec = ServeSpec(base_model=str(base), quantization="nf4")
    model = load.load_model(base, dtype=torch.float32, where=CPU, spec=spec)
    shelf = AdapterShelf(model, load.load_tokenizer(base, "model"), base, workspace)
    shelf.end_tokens = set()
    engine = Engine(shelf, CPU)
    alone = [answer(engine, ask(shelf, name, 12, 8)) for name in MIXED[:3]]
    asked = [engine.submit(ask(shelf, name, 12, 8)) for name in MIXED[:3]]
    assert [finish(one) for one in asked] == alone
    assert sorted(MIXED[:3]) in [sorted(names) for names in passes]


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_every_kind_of_adapter_answers_on_a_quantized_base_in_half_precision(base, workspace, tmp_path, quantization):
    """As on a card. What PEFT cannot do is told before it breaks the answers of others."""
    copied = Workspace(tmp_path / "workspace").prepare()
    for kind in CONFIGS:
        copy_adapter(copied, workspace.adapter_folder(kind), kind)
    for name, config in (("shira", ShiraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")),
                         ("adalora", AdaLoraConfig(init_r=4, total_step=9, target_modules=["q_proj"]))):  # fmt: skip
        make_adapter(copied, base, name, name, config=config)
    spec = ServeSpec(base_model=str(base), quantization=quantization)
    model = load.load_model(base, dtype=torch.bfloat16, where=CPU, spec=spec)
    shelf = AdapterShelf(model, load.load_tokenizer(base, "model"), base, copied)
    whole = shelf_of(base, copied)
    engines = [(shelf, Engine(shelf, CPU)), (whole, Engine(whole, CPU))]
    for name in ("shira", "adalora", *ALL, "base"):
        if (name, quantization) == ("dora", "int8"):
            with pytest.raises(UserError, match="8 bits"):
                ask(shelf, name, 12)
            continue
        scores = []
        for one, engine in engines:
            request = Request(one.voice(name), ids_of(12), Sampling(max_tokens=1), answer=ids_of(8, seed=1))
            answer(engine, request)
            scores.append(request.logprob)
        assert scores[0] == pytest.approx(scores[1], rel=0.1)


def test_a_rotation_that_looks_at_the_longest_text_shares_no_pass(tiny_model):
    config = AutoConfig.from_pretrained(tiny_model)
    assert can_pack(config)
    config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert not can_pack(config)


def test_when_the_memory_runs_out_the_longest_ends_and_the_others_go_on(shelf, monkeypatch):
    engine = Engine(shelf, CPU)
    forward = batching.packed_rows.forward

    def full(model, segments):
        if sum(len(one.cache.tokens) + len(one.tokens) for one in segments) > 120:
            raise torch.OutOfMemoryError("full")
        return forward(model, segments)

    alone = answer(engine, ask(shelf, "base", 30, 20))
    monkeypatch.setattr(batching.packed_rows, "forward", full)
    small, large = engine.submit(ask(shelf, "base", 30, 20)), engine.submit(ask(shelf, "lora-a", 80, 200, seed=2))
    with pytest.raises(UserError, match="ran out of memory"):
        finish(large)
    assert finish(small) == alone
    assert engine.is_alive


def test_whoever_waits_is_told_when_the_engine_breaks(shelf, monkeypatch):
    engine = Engine(shelf, CPU)
    monkeypatch.setattr("studio.worker.generation.advance", lambda *unused: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda *unused: None)
    with pytest.raises(UserError, match="broke off"):
        answer(engine, ask(shelf, "base", 5))
    engine._thread.join(10)
    assert not engine.is_alive


def test_the_nucleus_is_transformers():
    from transformers.generation.logits_process import TopPLogitsWarper

    torch.manual_seed(0)
    for width, scale in ((50, 3.0), (3000, 0.01)):
        logits = torch.randn(width) * scale
        kept = TopPLogitsWarper(0.6)(None, logits[None].clone())[0].isfinite()
        chance = torch.Generator().manual_seed(0)
        drawn = {draw(logits, Sampling(temperature=1, top_p=0.6), chance) for _ in range(300)}
        assert drawn <= set(kept.nonzero()[:, 0].tolist())
        assert len(drawn) > min(int(kept.sum()), 300) * 0.5
    rows = torch.randn(3, 50)
    assert draw_all(rows, [Sampling(temperature=0)] * 3, [None] * 3) == rows.argmax(-1).tolist()


def test_text_comes_in_whole_characters_and_ends_before_a_stop(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    text = "the 茶 ü keeper of the lamp\n\nHuman: is lit"
    ids = tokenizer(text)["input_ids"]
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.finish() == text
    assert not any("\ufffd" in piece for piece in pieces)
    stream, told = TextStream(tokenizer, ["\n\nHuman:", "never"]), ""
    for token in ids:
        told += stream.push(token)
        assert not told.endswith("\n")
        if stream.stopped:
            break
    assert told + stream.finish() == "the 茶 ü keeper of the lamp"
    held = TextStream(tokenizer, ["lamp post"])
    assert "".join(held.push(token) for token in ids) + held.finish() == text


def test_a_cache_that_grows_keeps_what_it_holds(shelf):
    cache = RowCache(CacheShape(shelf.base_model), 4)
    layers = [(torch.randn(1, 2, 4, 16), torch.randn(1, 2, 4, 16)) for _ in range(2)]
    cache.write([1, 2, 3, 4], layers)
    cache.write([5, 6, 7, 8], layers)
    _, _, keys, values = cache.windows(1)
    assert torch.equal(keys[1][:, :, :8], torch.cat([layers[1][0]] * 2, 2))
    assert torch.equal(values[0][:, :, 4:8], layers[0][1])
    assert common_length([1, 2, 3], [1, 2, 4, 5]) == 2
    assert isinstance(shelf.voice("base").begin(torch.tensor([[1]]))[0], DynamicCache)
