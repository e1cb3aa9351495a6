"""What may be secret is nowhere in the text of a scenario that is kept, and the rest of it stays as it was."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.about import setting_names
from simulator.platform.secret_names import SECRET_NAME
from simulator.scenario.redacting import REDACTED, without_assignments, without_secrets
from tests.support.tiers import examples

SECRET = [name for name in setting_names() if SECRET_NAME.search(name)]
PUBLIC = [name for name in setting_names() if not SECRET_NAME.search(name)]
VALUES = ['"hunter2"', "'hunter2'", '"""\nhunter2 "" """', "'''hunter2\n''b'''", '"a\\" hunter2"', '"""""hunter2"""""']


def test_a_key_of_an_application_is_a_secret_as_passwords_are() -> None:
    assert {"MOLTBOOK_APP_KEY", "REDIS_PASSWORD", "GITHUB_CLIENT_SECRET", "HATCHFARM_API_TOKEN"} <= {*SECRET}


@pytest.mark.parametrize("name", SECRET)
@pytest.mark.parametrize(
    "line",
    [
        "[server.settings]\n{} = {}\nA = 1",
        '[server.settings]\n"{}"={} # it\'s fine\nA = 1',
        "server.settings.{} = {}\nserver.settings.A = 1",
        "server . settings . '{}' = {}\nserver.settings.A = 1",
        "server = {{ settings = {{ {} = {}, A = 1 }} }}",
    ],
)
def test_no_setting_that_may_be_secret_is_kept_however_it_is_written(name: str, line: str) -> None:
    for value in VALUES:
        kept = without_secrets("name = 'it'\n" + line.format(name, value))
        assert "hunter2" not in kept
        assert tomllib.loads(kept) == {"name": "it", "server": {"settings": {name: REDACTED, "A": 1}}}
        assert without_secrets(kept) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('X_TOKEN = 12345678 # 12"\n', 'X_TOKEN = "[redacted]" # 12"\n'),
        ('X_TOKEN = "${FARM}"\n', 'X_TOKEN = "${FARM}"\n'),
        ('X_TOKEN = "${FARM:-hunter2}"\n', 'X_TOKEN = "[redacted]"\n'),
        ('"X\\u005fTOKEN" = "hunter2"\n', '"X\\u005fTOKEN" = "[redacted]"\n'),
        ('"X_TOKEN = "hunter2"\n', '"X_TOKEN = "hunter2"\n'),
        ('X_KEYS = [["hunter2"], 5]\nA = ["b"]', 'X_KEYS = [["[redacted]"], "[redacted]"]\nA = ["b"]'),
        ('# """\nX_KEY = "hunter2"', '# """\nX_KEY = "[redacted]"'),
        ('# X_KEY = "hunter2 hunter2" or so', "# X_KEY = [redacted] or so"),
        ('a = "X_KEY=hunter2"', 'a = "X_KEY=[redacted]"'),
        ('a = "X_KEY=\\"hunter2 b\\" c"', 'a = "X_KEY=[redacted] c"'),
        ("a = ['sh', '-c', 'X_KEY=hunter2 farm']", "a = ['sh', '-c', 'X_KEY=[redacted] farm']"),
        ("a = ['sh', '-c', 'X_KEY=\"$FARM\" farm']", "a = ['sh', '-c', 'X_KEY=\"$FARM\" farm']"),
        ('a = ["--key", "X_KEY={public_name}"]', 'a = ["--key", "X_KEY={public_name}"]'),
        ('PUBLIC_KEY = "abc"\nKEY_FILE = "b"', 'PUBLIC_KEY = "abc"\nKEY_FILE = "b"'),
        ('X_TOKEN = hunter2"\nA = 1', 'X_TOKEN = "[redacted]""\nA = 1'),
    ],
)  # fmt: skip
def test_what_is_taken_out_of_a_text(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


def test_an_assignment_in_prose_loses_its_value() -> None:
    assert without_assignments("say A_SECRET='x y' and B=1") == "say A_SECRET=[redacted] and B=1"


texts = st.text(st.sampled_from("ab\"'#=[]{}\\\n ,.$é"), max_size=12)
scalars = texts | st.integers(0, 9) | st.booleans()
tables = st.dictionaries(st.sampled_from([*SECRET, *PUBLIC[:9]]), scalars, max_size=6)


def written(value: Any, *, literal: bool) -> str:
    if literal and isinstance(value, str) and "'''" not in value and not value.startswith("\n"):
        return f"'''{value}'''" if not value.endswith("'") else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


@given(given=tables, literal=st.booleans(), comment=texts)
@settings(deadline=None, max_examples=examples(200))
def test_all_but_secrets_is_read_as_before(given: dict[str, Any], comment: str, *, literal: bool) -> None:
    lines = [f"{name} = {written(value, literal=literal)} # {comment!r}" for name, value in given.items()]
    kept = tomllib.loads(without_secrets("\n".join(lines)))
    assert kept == {name: REDACTED if name in SECRET else value for name, value in given.items()}
