"""What Schemathesis loads: it signs, as an owner does, what it has made up, so that it gets past signatures.

An agent that it calls as keeps its key: with a new one all that follows would be refused.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis

from tests.core.server_under_test import canonical, hmac_base64

TOKEN = os.environ["HATCHFARM_API_TOKEN"]


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Sign a policy or a consent whose fields are there, unless its signature is what is wrong about it."""
    body = case.body
    if isinstance(body, dict) and body.get("rotate_api_key") is True:
        body["rotate_api_key"] = False
    if not (isinstance(body, dict) and isinstance(body.get("signature"), str) and body["signature"].endswith("=")):
        return
    if isinstance(body.get("rules"), dict):
        body["signature"] = hmac_base64(TOKEN, f"{body.get('owner_id')}|{canonical(body['rules'])}")
    elif "worker_id" in body:
        signed = "|".join(str(body.get(name)) for name in ("owner_id", "worker_id", "policy_id"))
        body["signature"] = hmac_base64(TOKEN, signed)
