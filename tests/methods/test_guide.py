"""The method guide: every table says in both languages what the document compares, and names real methods."""

import re

import pytest

from studio.methods.guide import Topic, read_guide
from studio.methods.tuners import TUNERS

CHINESE = re.compile(r"[\u4e00-\u9fff]")
NEEDED = {"full_or_adapter", "tuners", "ranks", "quantization", "alignment", "dpo_or_rlhf", "pitfalls", "forgetting"}


def test_the_documents_tables_are_all_there():
    assert set(read_guide()) >= NEEDED


@pytest.mark.parametrize("name", read_guide())
def test_a_topic_is_whole_in_both_languages(name):
    topic = read_guide()[name]
    english, chinese = topic.told("en"), topic.told("zh")
    assert english["rows"]
    assert english["section"] == chinese["section"]
    for told in (english, chinese):
        assert all(len(row) == len(told["columns"]) for row in told["rows"])
        assert told["title"]
        assert told["why"]
    assert CHINESE.search(chinese["title"] + chinese["why"])
    assert not CHINESE.search(str(english))
    assert len(english["today"]) == len(chinese["today"])


def test_a_crooked_table_is_refused():
    text = {"en": "a", "zh": "甲"}
    with pytest.raises(ValueError, match="cells"):
        Topic(section="1", title=text, why=text, columns=["a", "b"], rows=[["a"]])


def test_every_adapter_of_the_menu_has_its_row():
    said = str([row[0] for row in read_guide()["tuners"].told("en")["rows"]]).lower().replace("-", " ")
    words = {"partial": "some layers", "shira": "sparse", "ia3": "(ia)³", "full": "", "p_tuning": "p tuning"}
    for name in TUNERS:
        assert words.get(name, name.replace("_", " ")) in said, name
