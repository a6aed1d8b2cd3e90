"""Which model a name in a request means."""

import pytest

from studio.base_models import STARTER, STARTER_FOLDER
from studio.playground import api_models
from studio.playground.api_models import NoSuchModel, api_target
from studio.playground.client import Target
from studio.starter_model import HUB_ID


@pytest.mark.parametrize("name", ["starter", STARTER, HUB_ID])
@pytest.mark.parametrize("prefix", ["", "base:"])
def test_the_starter_answers_to_all_its_names_as_one_model(studio, monkeypatch, name, prefix):
    with pytest.raises(NoSuchModel):
        api_target(studio, prefix + name)
    folder = studio.workspace.models / STARTER_FOLDER
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert api_target(studio, prefix + name) == Target("starter", "base")
    monkeypatch.setattr(api_models, "model_folder", lambda name, models, roots: folder)  # the Hub's own copy is here
    assert api_target(studio, HUB_ID) == Target(HUB_ID, "base")
