"""The formulas against peaks that others measured and published (published.yaml), and PEFT's own counts."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from studio.cli.main import app
from studio.memory import models
from studio.memory.estimate import GIB, estimate
from studio.memory.setup import Setup
from studio.memory.shapes import ATTENTION, read_shape

ROWS = yaml.safe_load((Path(__file__).with_name("published.yaml")).read_text(encoding="utf-8"))
CONFIGS = {
    "mistral-7b": models.find("mistralai/Mistral-7B-v0.1"),
    "llama3-8b": models.find("meta-llama/Llama-3.1-8B-Instruct"),
    "llama3.2-3b": models.find("meta-llama/Llama-3.2-3B-Instruct"),
    "powerlm-3b": {
        "model_type": "llama", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 40,
        "num_attention_heads": 36, "num_key_value_heads": 36, "vocab_size": 49152, "tie_word_embeddings": True,
    },
}  # fmt: skip


def predicted(row):
    given = {
        key: value for key, value in row.items() if key not in ("model", "r", "targets", "measured", "meter", "plain")
    }
    method = given.pop("tuner")
    options = {
        "r": row.get("r", 16),
        "lora_dropout": 0.0 if "r" in row else 0.1,
        "target_modules": tuple(row.get("targets", ("q_proj", "k_proj", "v_proj", "o_proj"))),
    }
    setup = Setup(
        tuner="full" if method == "full" else "lora",
        options=options,
        quantization="nf4" if method == "qlora" else "none",
        optim="adamw_torch",
        loss=given.pop("loss", "full"),
        **given,
    )
    found = estimate(setup, read_shape(CONFIGS[row["model"]]))
    return (found.allocated if row["meter"] == "allocated" else found.nvidia_smi) / GIB


def asked(row, tmp_path):
    """The same row asked on the command line, with what the issue's table says of it and nothing else."""
    file = tmp_path / f"{row['model']}.json"
    file.write_text(json.dumps(CONFIGS[row["model"]]))
    tuner = "full" if row["tuner"] == "full" else "lora"
    given = ["--config", str(file), "--tuner", tuner, "--optimizer", "adamw_torch"]
    given += ["--r", str(row.get("r", 16)), "--targets", ",".join(row.get("targets", ATTENTION[:4]))]
    given += ["--dropout", "0" if "r" in row else "0.1", "--loss", "full", "--logit-bytes", str(row["logit_bytes"])]
    given += ["--batch", str(row["batch"]), "--length", str(row["length"])]
    given += ["--quantization", "nf4"] if row["tuner"] == "qlora" else []
    given += [] if row.get("checkpointing", True) else ["--no-checkpointing"]
    given += ["--float32-rest", "--adapter-dtype", "fp32"] if row.get("float32_rest") else []
    answer = CliRunner().invoke(app, ["memory", *given, "--json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.output)[row["meter"]] / GIB


def errors(plain):
    return [predicted(row) / row["measured"] - 1 for row in ROWS if row["plain"] == plain]


def test_the_plain_stack_is_met_within_two_percent_on_average_and_five_at_worst():
    found = [abs(error) for error in errors(plain=True)]
    assert len(found) == 11
    assert sum(found) / len(found) <= 0.02
    assert max(found) <= 0.05


def test_the_command_line_meets_the_plain_stack_with_the_options_of_the_published_rows_alone(tmp_path):
    found = [abs(asked(row, tmp_path) / row["measured"] - 1) for row in ROWS if row["plain"]]
    assert len(found) == 11
    assert sum(found) / len(found) <= 0.02
    assert max(found) <= 0.05


def test_stacks_with_kernels_of_their_own_are_met_within_twenty_percent():
    assert max(abs(error) for error in errors(plain=False)) <= 0.20


@pytest.mark.parametrize("name", models.well_known())
def test_every_well_known_model_has_its_published_number_of_weights(name):
    assert read_shape(models.well_known()[name]).parameters == models.parameter_counts()[name]
