from __future__ import annotations

import hashlib
import json

from pirtad.inference.report.prompt import SYSTEM, chat_messages, prompt_sha256
from pirtad.inference.report.report import Registry

# PIRTA table 3, with the findings of its generated part in the places of [#Top-1 ... finding].
TABLE_3 = """\
Provide proper clinical report based on Registry and Similar patient reports.
### Registry: 75-year-old, Female, Altered Mentality, 32.0, HTN, Afib,
### Similar patient reports:
[1] There is mild wedge-shaped vascular territorial diffusion restriction in the anterior circulation territory.
[2] There is mild wedge-shaped vascular territorial diffusion restriction in the anterior circulation territory.
[3] There is mild large vascular territorial diffusion restriction in the anterior circulation territory.
[4] There is mild large vascular territorial diffusion restriction in the anterior circulation territory.
[5] There is mild wedge-shaped vascular territorial diffusion restriction in the anterior circulation territory."""


def test_the_users_message_is_table_3(registry, table_3):
    system, user = chat_messages(registry, table_3)
    assert (system["role"], system["content"]) == ("system", SYSTEM)
    assert (user["role"], user["content"]) == ("user", TABLE_3)


def test_scores_and_case_ids_stay_out(registry, table_3):
    text = json.dumps(chat_messages(registry, table_3))
    assert "0.8" not in text
    assert "c1" not in text


def test_no_more_than_five_cases(registry, table_3):
    assert chat_messages(registry, table_3 * 2) == chat_messages(registry, table_3)


def test_the_digest_is_of_both_messages(registry, table_3):
    messages = chat_messages(registry, table_3)
    rendered = (
        '[{"content":' + json.dumps(SYSTEM) + ',"role":"system"},{"content":' + json.dumps(TABLE_3) + ',"role":"user"}]'
    )
    assert prompt_sha256(messages) == hashlib.sha256(rendered.encode()).hexdigest()
    assert prompt_sha256(messages) != prompt_sha256(chat_messages(Registry(), table_3))
    assert prompt_sha256(messages) != prompt_sha256(messages[1:])
