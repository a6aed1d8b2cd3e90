"""Elastic weight consolidation: weights that matter for general text move less, and the loss says so."""

import pytest
import torch

from studio.errors import UserError
from studio.jobs.preflight import check_forgetting
from studio.worker import train as train_module
from studio.worker.forgetting import Consolidation, fisher_diagonal
from tests.conftest import import_rows, write_rows
from tests.worker.conftest import values_of

pytestmark = pytest.mark.slow


class Odds(torch.nn.Module):
    """Two tokens with logits θ and −θ, whatever came before: the Fisher information is known."""

    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor([0.3]))

    def forward(self, input_ids, attention_mask, labels):
        logits = torch.stack([self.theta, -self.theta], -1).expand(*input_ids.shape, 2)
        following = logits[:, :-1].reshape(-1, 2)
        return type("Output", (), {"loss": torch.nn.functional.cross_entropy(following, labels[:, 1:].reshape(-1))})


def test_the_fisher_information_is_that_of_a_case_done_by_hand():
    """d log p(0) / dθ = 2·(1 − p), d log p(1) / dθ = −2·p, with p = σ(2θ)."""
    model = Odds()
    rows = [{"input_ids": [0, 0], "labels": [0, 0]}, {"input_ids": [0, 1], "labels": [0, 1]}]
    [fisher] = fisher_diagonal(model, [model.theta], rows)
    p = float(torch.sigmoid(2 * model.theta.detach()))
    assert float(fisher) == pytest.approx(((2 * (1 - p)) ** 2 + (2 * p) ** 2) / 2)


def test_the_penalty_grows_with_the_square_of_the_way_by_the_fisher_information():
    model = Odds()
    held = Consolidation(model, [{"input_ids": [0, 0], "labels": [0, 0]}], strength=10)
    assert float(held.penalty()) == 0
    with torch.no_grad():
        model.theta += 2
    assert float(held.penalty()) == pytest.approx(10 / 2 * float(held.fisher[0]) * 4)
    held.penalty().backward()
    assert float(model.theta.grad) == pytest.approx(10 * float(held.fisher[0]) * 2)


@pytest.fixture(scope="module")
def general(lab):
    rows = [{"instruction": f"say the sea {i}", "output": f"fog and gulls {i} in the sea log book"} for i in range(16)]
    return import_rows(lab.workspace, write_rows(lab.workspace.root / "general.jsonl", rows))


def spec_of(lab, general, strength, **changes):
    return lab.spec(
        "full", general_dataset=general, general_share=0.0, ewc_lambda=strength, ewc_rows=12, eval_share=0.0,
        learning_rate=2e-3, max_steps=8, dtype="float32", warmup_steps=0, lr_scheduler_type="constant", **changes,
    )  # fmt: skip


def test_what_matters_for_general_text_moves_less_and_the_loss_tells_of_it(lab, general, monkeypatch):
    held, moved = {}, {}

    class Seen(Consolidation):
        def __init__(self, *args):
            super().__init__(*args)
            held["it"] = self

    monkeypatch.setattr(train_module, "Consolidation", Seen)
    losses = {}
    for strength in (1e-9, 1e5):
        folder = lab.train(spec_of(lab, general, strength))
        it = held["it"]
        way = torch.cat([(weight - old).abs().flatten() for weight, old in zip(it.trained, it.before, strict=True)])
        fisher = torch.cat([one.flatten() for one in it.fisher])
        important = fisher > fisher.quantile(0.9) if len(fisher) < 2**24 else fisher > 0
        moved[strength] = (float(way[important].mean()), float(way[~important].mean()))
        losses[strength] = values_of(folder, "loss")
        penalties = values_of(folder, "ewc_penalty")
        assert len(penalties) == 8
        assert penalties[0] == 0
    free, kept = moved[1e-9], moved[1e5]
    assert kept[0] < free[0] / 2, moved
    assert kept[0] / free[0] < kept[1] / free[1], moved
    assert losses[1e5][-1] > losses[1e-9][-1]


def test_two_batches_a_step_share_the_penalty(lab, general):
    folder = lab.train(spec_of(lab, general, 1e3, gradient_accumulation_steps=2))
    assert all(penalty >= 0 for penalty in values_of(folder, "ewc_penalty"))


def test_ewc_without_general_data_or_with_a_new_adapter_is_refused(lab, general):
    with pytest.raises(UserError, match="needs general data"):
        check_forgetting(lab.spec("full", ewc_lambda=1.0))
    with pytest.raises(UserError, match="a new adapter has none"):
        check_forgetting(lab.spec("lora", ewc_lambda=1.0, general_dataset=general))
    check_forgetting(spec_of(lab, general, 1.0))
