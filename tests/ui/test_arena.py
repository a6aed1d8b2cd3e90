"""The Arena's answers without a browser: what it tells before a vote, who may vote, and what becomes of the votes."""

import json
import shutil
import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest
from fastapi import FastAPI

from studio import workspace as names
from studio.adapters.record import AdapterRecord, ImportSource
from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.jobs.studio import open_studio
from studio.playground.client import Chunk
from studio.playground.feedback_data import make_rows
from studio.playground.votes import Contender, Shown, Vote, VoteStore
from studio.settings import Settings
from studio.ui import panes
from studio.ui.arena_data import only_answer, starts, training_values
from studio.ui.arena_routes import ArenaRoutes
from studio.ui.data_room import DataRoom
from studio.ui.dataset_routes import DatasetRoutes
from studio.ui.feedback import user_error_response
from studio.ui.menus import job_menu
from studio.ui.tabs.arena import filled
from tests.conftest import instruction_rows, preference_rows, write_rows
from tests.jobs.adapter_files import matrices, write_adapter
from tests.ui.conftest import visitor

ANSWERS = {"base": "Gulls.", "keeper": "The lamp is lit.", "plain": "Fog & <b>sea</b>."}
ENDS = {}
NAMES = {"keeper": "Keeper of the lamp", "plain": "Plain talker"}


class Speaking:
    """In a server's place: answers by the adapter's name, in pieces."""

    asked: list = []
    free = threading.Event()
    free.set()

    def __init__(self, endpoint):
        pass

    def stream(self, model, messages, settings):
        Speaking.asked.append((model, messages, settings))
        text = next(text for name, text in ANSWERS.items() if model.startswith(name))
        if isinstance(text, Exception):
            raise text
        yield text[:3]
        Speaking.free.wait(20)
        yield text[3:]

    def answer(self, model, messages, settings):
        for text in self.stream(model, messages, settings):
            yield Chunk(text)
        yield Chunk("", finish=ENDS.get(model.split("-")[0], "stop"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A studio with two adapters, the data set that both learned from, and somebody who asks our routes alone."""
    from studio.data.isolation import import_file
    from studio.jobs.presets import read_presets
    from studio.jobs.spec import build_spec
    from studio.jobs.training_data import refer_to

    root = tmp_path_factory.mktemp("arena")
    studio, model = open_studio(Settings(workspace=root / "workspace")), root / "tiny"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    rows = instruction_rows(6)
    data = import_file(write_rows(root / "rows.jsonl", rows), studio.workspace).record.id
    jobs = {}
    for short, title in NAMES.items():
        values = read_presets()["lora"].values(refer_to(data, studio.workspace).model_dump())
        spec = build_spec({**values, "name": title, "base_model": str(model), "eval_share": 0.34})
        made = studio.store.create(spec)
        job = studio.workspace.job(made).rename(studio.workspace.job(f"{short}-00000000")).name
        folder = studio.workspace.job(job) / names.ADAPTER
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(short.encode())
        jobs[short] = job
    patch = pytest.MonkeyPatch()
    patch.setattr(panes, "ChatClient", Speaking)
    patch.setattr(panes, "YIELD_EVERY", 0.01)
    servers = SimpleNamespace(want=lambda base_model: Endpoint("http://127.0.0.1:1", "word"))
    patch.setattr(type(studio), "servers", property(lambda self: servers))
    app = FastAPI()
    app.add_exception_handler(UserError, user_error_response)
    for routes in (ArenaRoutes(studio), DatasetRoutes(DataRoom(studio))):
        app.include_router(routes.router())
    yield SimpleNamespace(studio=studio, model=model, data=data, jobs=jobs, asked=visitor(app))
    patch.undo()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(Speaking, "asked", [])


def wish(stage, *contenders, **more):
    chosen = contenders or tuple(stage.jobs.values())
    return {"voter": "ann", "contenders": list(chosen), "prompt": "Who keeps the lamp?", "max_tokens": 16} | more


def opened(stage, *contenders, **more):
    """A round whose answers are whole."""
    answer = stage.asked.post("/api/arena/rounds", json=wish(stage, *contenders, **more))
    assert answer.status_code == 200, answer.text
    return whole(stage, answer.json()["round"], more.get("voter", "ann"))


def whole(stage, round_id, voter="ann"):
    for _ in range(500):
        seen = stage.asked.get(f"/api/arena/rounds/{round_id}", params={"voter": voter}).json()
        if seen["state"] != "answering":
            return seen
        time.sleep(0.01)
    raise AssertionError("the round never ended")


def voted(stage, seen, outcome="left", voter="ann", **more):
    return stage.asked.post(
        f"/api/arena/rounds/{seen['round']}/vote", json={"voter": voter, "outcome": outcome, **more}
    )


def winner(seen, text="The lamp is lit."):
    return "left" if seen["left"] == text else "right"


def test_nothing_says_who_answers_before_the_vote(stage):
    """Every byte of every answer of ours: no id, no name, no hash, and neither order nor keys that depend on them."""
    secrets = [*stage.jobs.values(), *NAMES.values(), str(stage.model), "adapter", "choice"]
    first_sides = set()
    for _ in range(40):
        opening = stage.asked.post("/api/arena/rounds", json=wish(stage))
        seen = whole(stage, opening.json()["round"])
        for told in (opening.text, json.dumps(seen), str(opening.headers)):
            assert not [secret for secret in secrets if secret in told], told
        assert {seen["left"], seen["right"]} == {ANSWERS["keeper"], ANSWERS["plain"]}
        revealed = voted(stage, seen).json()["revealed"]
        assert ANSWERS[revealed["left"]["choice"].split("-")[0]] == seen["left"]
        assert revealed["left"]["name"].startswith(NAMES[revealed["left"]["choice"].split("-")[0]])
        first_sides.add(revealed["left"]["choice"])
        if len(first_sides) == 2:
            return
    raise AssertionError("the same one stood on the left 40 times")


def test_the_whole_page_has_the_tab_and_answers_it(site):
    """On an empty workspace the base model alone can answer."""
    told = visitor(site.app).get("/api/arena/menus").json()
    assert [one["choice"] for one in told["contenders"]][0] == "base:starter"
    (arena,) = [one for one in site.blocks.config["components"] if one["props"].get("elem_id") == "arena"]
    assert arena["props"].get("value") is None


def test_contenders_of_one_name_are_told_apart(stage):
    twin = stage.studio.workspace.job("keeper-1111abcd")
    shutil.copytree(stage.studio.workspace.job(stage.jobs["keeper"]), twin)
    try:
        told = {one["choice"]: one["name"] for one in stage.asked.get("/api/arena/menus").json()["contenders"]}
        assert (told["keeper-00000000"][-4:], told[twin.name][-4:]) == ("0000", "abcd")
        seen = opened(stage, twin.name, stage.jobs["keeper"])
        assert "abcd" not in json.dumps(seen)
        names_told = [one["name"][-4:] for one in voted(stage, seen).json()["revealed"].values()]
        assert sorted(names_told) == ["0000", "abcd"]
    finally:
        shutil.rmtree(twin)


def test_forged_rounds_second_votes_and_votes_too_early_are_refused(stage, monkeypatch):
    seen = opened(stage)
    for forged in ("0" * 32, "..%2F..%2Fvotes", seen["round"].upper()):
        assert voted(stage, {"round": forged}).status_code in (400, 404)
    assert voted(stage, seen, voter="bob").status_code == 400
    assert voted(stage, seen, outcome="first").status_code == 422
    assert voted(stage, seen).status_code == 200
    again = voted(stage, seen, outcome="right")
    assert "already" in again.json()["error"]["message"]
    monkeypatch.setattr(Speaking, "free", threading.Event())
    early = stage.asked.post("/api/arena/rounds", json=wish(stage)).json()
    assert "whole" in voted(stage, early).json()["error"]["message"]
    Speaking.free.set()
    assert whole(stage, early["round"])["state"] == "ready"


def test_a_round_that_was_left_stops_and_takes_no_vote(stage):
    seen = opened(stage)
    assert stage.asked.post(f"/api/arena/rounds/{seen['round']}/leave", json={"voter": "ann"}).status_code == 200
    assert whole(stage, seen["round"])["state"] == "stopped"
    assert voted(stage, seen).status_code == 400


def test_how_an_answer_ended_is_told_and_kept(stage, monkeypatch):
    monkeypatch.setitem(ENDS, "plain", "length")
    seen = opened(stage)
    keeper = winner(seen)
    assert seen["finish"] == {side: "stop" if side == keeper else "length" for side in ("left", "right")}
    voted(stage, seen, keeper)
    kept = VoteStore(stage.studio.workspace.votes).read().ballots[seen["round"]].vote
    assert {kept.left.finish, kept.right.finish} == {"stop", "length"}
    assert kept.shown(keeper).finish == "stop"


def test_an_error_ends_the_round(stage, monkeypatch):
    monkeypatch.setitem(ANSWERS, "plain", UserError("Too long.", "Shorten it."))
    seen = opened(stage)
    assert (seen["state"], seen["error"]) == ("failed", {"message": "Too long.", "hint": "Shorten it."})
    assert voted(stage, seen).status_code == 400


@pytest.mark.parametrize("wrong", [
    {"contenders": ["base:starter"]}, {"contenders": ["keeper-00000000", "../../etc"]}, {"prompt": ""},
    {"contenders": ["keeper-00000000", "keeper-00000000"]}, {"dataset": "../../etc", "prompt": ""},
    {"voter": "\x00"}, {"max_tokens": 10**9}, {"temperature": -1}, {"shell": "ls"}])  # fmt: skip
def test_what_cannot_be_a_round_is_refused(stage, wrong):
    answer = stage.asked.post("/api/arena/rounds", json={**wish(stage), **wrong})
    assert answer.status_code in (400, 422)
    assert Speaking.asked == []


def test_a_data_set_gives_the_prompts_that_no_contender_has_learned(stage):
    jobs = list(stage.jobs.values())
    told = stage.asked.get("/api/arena/prompts", params={"dataset": stage.data, "contender": jobs}).json()
    assert told == {"held_out": 2, "of": 6, "unknown": []}
    used = {opened(stage, prompt="", dataset=stage.data)["prompt"][-1]["content"] for _ in range(2)}
    assert len(used) == 2  # one that was shown waits until all were
    learned = {example["prompt"][-1]["content"] for example in trained(stage)}
    assert not used & learned


def test_contenders_of_which_nobody_knows_what_they_learned_are_named(stage):
    """An imported adapter, and a job whose first stage was deleted: what is known of it is left out all the same."""
    from studio.jobs.spec import build_spec
    from studio.playground.held_out import held_out_prompts

    spec = stage.studio.store.view(stage.jobs["keeper"]).spec
    later = stage.studio.store.create(build_spec({**spec.model_dump(), "start_from": "deleted-00000000"}))
    choices = ("imported-00000000", later, "base:starter", f"base:{stage.studio.workspace.job(later) / names.MODEL}")

    def told(*some):
        contenders = [Contender(choice=one, name=one[:12], base_model="starter") for one in some]
        found = held_out_prompts(stage.studio, stage.data, contenders)
        return len(found.prompts), found.unknown

    try:
        assert told(choices[0]) == (6, ["imported-000"])
        assert told(later) == (2, [later[:12]])
        assert told("base:starter") == (6, [])
        assert told(choices[3])[0] == 2  # a whole model that a job made learned what the job did
    finally:
        stage.studio.workspace.discard(stage.studio.workspace.job(later))


def trained(stage):
    from studio.jobs.training_data import gather

    return gather(stage.studio.store.view(stage.jobs["keeper"]).spec, stage.studio.workspace).train


def test_the_system_prompt_and_the_settings_reach_the_server_and_the_vote(stage):
    seen = opened(stage, system="Be brief.", prompt="What is <b> & co?")
    models = {model for model, _, _ in Speaking.asked}
    assert models == set(stage.jobs.values())
    (_, messages, settings) = Speaking.asked[0]
    assert messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is <b> & co?"}]
    assert settings.max_tokens == 16
    voted(stage, seen)
    kept = VoteStore(stage.studio.workspace.votes).read().ballots[seen["round"]].vote
    assert (kept.prompt, kept.settings["max_tokens"]) == (messages, 16)
    assert kept.left.contender.adapter_sha256 != kept.right.contender.adapter_sha256
    assert kept.left.contender.base_fingerprint == kept.right.contender.base_fingerprint != ""


def test_votes_become_a_data_set_and_the_form_of_the_job_that_follows(stage):
    stage.studio.workspace.votes.unlink(missing_ok=True)
    refused = stage.asked.post("/api/arena/data", json={"kind": "preference"})
    assert refused.status_code == 400
    for outcome in ("", "", "tie", "both_bad"):
        seen = opened(stage)
        better = winner(seen)
        voted(stage, seen, outcome or better)
        if not outcome:
            url = f"/api/arena/rounds/{seen['round']}"
            for side, good in ((better, True), ("left" if better == "right" else "right", False)):
                signed = {"voter": "ann", "side": side}
                assert stage.asked.post(f"{url}/thumb", json={**signed, "good": good}).status_code == 200
            mended = {"voter": "ann", "side": better, "text": "The lamp, always."}
            assert stage.asked.post(f"{url}/rewrite", json=mended).status_code == 200
    made = stage.asked.post("/api/arena/data", json={"kind": "preference"}).json()
    assert (made["rows"], made["left_out"], made["rewritten"]) == (2, {"tie": 1, "both_bad": 1}, 2)
    assert made["starts"][0] == {"start": stage.jobs["keeper"], "name": made["starts"][0]["name"], "preferred": 2}
    about = stage.asked.get(f"/api/datasets/{made['dataset']}").json()
    assert about["record"]["dataset_type"] == "preference"
    assert (about["origin"]["made_from"], len(about["origin"]["rounds"])) == ("arena", 2)
    row = stage.asked.get(f"/api/datasets/{made['dataset']}/rows/1").json()["example"]
    assert row["chosen"] == [{"role": "assistant", "content": "The lamp, always."}]
    assert row["rejected"] == [{"role": "assistant", "content": ANSWERS["plain"]}]
    thumbs = stage.asked.post("/api/arena/data", json={"kind": "kto"}).json()
    assert (thumbs["rows"], thumbs["good"], thumbs["bad"]) == (4, 2, 2)
    table = stage.asked.get("/api/arena/table").json()
    assert (table["votes"], table["contenders"][0]["choice"]) == (4, stage.jobs["keeper"])
    check_train_form(stage, made)


def check_train_form(stage, made):
    """One click fills the Train tab: the objective, that data set, and the adapter that was preferred."""

    from studio.jobs.presets import read_presets
    from studio.ui.option_form import OptionForm
    from studio.ui.tabs import train
    from studio.ui.training_wish import Wish, spec_of

    with gr.Blocks():
        form = train.build(stage.studio).form
    assert isinstance(form, OptionForm)
    for kind, objective in (("preference", "dpo"), ("kto", "kto")):
        values = training_values(stage.studio, kind, stage.jobs["keeper"], made["dataset"])
        dataset, base, mode, task, preset, *rest = filled(
            stage.studio, form, values, made["dataset"], SimpleNamespace(headers={})
        )
        assert (dataset.value, base.value, mode) == (made["dataset"], str(stage.model), "advanced")
        assert task == "alignment"  # the simple form asks "What should it learn?"
        assert rest[:2] == [objective, "lora"]
        controls = rest[3 : 3 + len(form.options)]
        start = next(one for option, one in zip(form.options, controls, strict=True) if option.key == "start_from")
        assert start.value == stage.jobs["keeper"]
        assert preset in read_presets()
        assert isinstance(rest[-1], gr.Tabs)
    wished = Wish(base.value, made["dataset"], preset=preset, objective=objective)
    assert spec_of(stage.studio, [], wished, ()).objective.name == objective


@pytest.fixture
def imported(stage):
    """An imported LoRA adapter of r 4 that changes q and v; its id."""
    model = {"base_model": str(stage.model), "base_fingerprint": "abc", "chat_template": "model"}
    home = stage.studio.workspace.adapter("lent-00000000")
    tensors = matrices(1)
    write_adapter(home / names.ADAPTER, tensors, {**model, "objective": "sft", "tuner": "lora"})
    record = AdapterRecord(
        id=home.name, name="Lent", base_model=str(stage.model), source=ImportSource(kind="upload", name="lent"),
        created="2026-01-01T00:00:00+00:00", tuner="lora", files=[], bytes=1,
    )  # fmt: skip
    (home / "record.json").write_text(record.model_dump_json())
    (stage.model / "config.json").write_text('{"model_type": "llama"}')
    yield home.name
    shutil.rmtree(home)
    (stage.model / "config.json").write_text("{}")


def test_an_imported_winner_can_be_started_from(stage, imported):
    store = VoteStore(stage.studio.workspace.votes)
    prompt = [{"role": "user", "content": "Who?"}]
    shown = [
        Shown(contender=Contender(choice=choice, name=choice, base_model=str(stage.model)), answer=choice)
        for choice in (imported, f"base:{stage.model}")
    ]
    store.cast(
        Vote(round="lent", voter="ann", prompt=prompt, settings={}, left=shown[0], right=shown[1], outcome="left")
    )
    offered = [one["start"] for one in starts(stage.studio, store, make_rows("preference", store.read()))]
    assert imported in offered
    assert only_answer(stage.studio, store, make_rows("preference", store.read())) == []
    values = training_values(stage.studio, "preference", imported, stage.data)
    assert (values["start_from"], values["base_model"]) == (imported, str(stage.model))
    assert (values["tuner"]["r"], values["tuner"]["target_modules"]) == (4, "q_v")
    menu = job_menu(stage.studio, "start_from", None, "none", chosen=imported)
    assert menu.value == imported
    assert imported in [value for _, value in menu.choices]
    assert imported in [value for _, value in job_menu(stage.studio, "start_from", imported, "none").choices]
    config = stage.studio.workspace.adapter(imported) / names.ADAPTER / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 4', '"r": 4, "rank_pattern": {"q_proj": 8}'))
    made = make_rows("preference", store.read())
    assert imported not in [one["start"] for one in starts(stage.studio, store, made)]
    assert only_answer(stage.studio, store, made) == [imported]


@pytest.mark.parametrize(("rows", "steps", "epochs"), [(3, 20, 20), (10, 42, 14), (400, 90, 1)])
def test_a_small_set_of_votes_is_read_so_often_that_something_is_learned(stage, tmp_path, rows, steps, epochs):
    from studio.data.isolation import import_file
    from studio.jobs.spec import build_spec
    from studio.jobs.training_data import expect, planned_steps, refer_to

    file = write_rows(tmp_path / "votes.jsonl", preference_rows(rows))
    data = import_file(file, stage.studio.workspace).record.id
    values = training_values(stage.studio, "preference", stage.jobs["keeper"], data)
    assert values["num_train_epochs"] == epochs
    spec = build_spec({**values, "dataset": refer_to(data, stage.studio.workspace).model_dump()})
    assert planned_steps(spec, expect(spec, stage.studio.workspace).train) == steps


def test_only_what_may_be_learned_on_can_be_started_from(stage):
    with pytest.raises(UserError, match="learned on"):
        training_values(stage.studio, "preference", "../../etc", stage.data)
    with pytest.raises(UserError, match="no kind"):
        training_values(stage.studio, "sft", stage.jobs["keeper"], stage.data)
    values = training_values(stage.studio, "kto", "base:starter", stage.data)
    assert (values["base_model"], values.get("start_from", "")) == ("starter", "")


def test_the_command_line_lists_and_exports_votes(stage, tmp_path, monkeypatch, capsys):
    from studio.cli.main import run

    monkeypatch.setenv("STUDIO_WORKSPACE", str(stage.studio.workspace.root))
    seen = opened(stage)
    voted(stage, seen, winner(seen))
    capsys.readouterr()
    assert run(["votes", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["votes"][-1]["round"] == seen["round"]
    assert run(["votes", "list"]) == 0
    assert "Keeper of the lamp" in capsys.readouterr().out
    file = tmp_path / "pairs.jsonl"
    assert run(["votes", "export", "--kind", "preference", "--output", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == len(file.read_text().splitlines())
    assert set(json.loads(file.read_text().splitlines()[0])) == {"prompt", "chosen", "rejected"}
    assert run(["votes", "export", "--kind", "stars", "--output", str(file)]) == 2
