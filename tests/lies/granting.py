"""Lies about what is granted, each with the rules that it must break."""

from __future__ import annotations

import re

from tests.lies.changing import (
    ACTIVATE,
    CONSENT,
    FETCH,
    KEYS,
    OTHER,
    OTHER_KEY,
    POLICY,
    RANDOM_SIGNATURE,
    REGISTER,
    ROTATE,
    FoundLie,
    body,
    data,
    drop,
    head,
    hours_on,
    put,
    swapped,
    to,
    with_body,
)

GRANTED: dict[str, FoundLie] = {
    # what is granted
    "a certificate signed at random": FoundLie(
        to(REGISTER, put(RANDOM_SIGNATURE, "machine_certificate", "signature")),
        ("contents.signature",),
        RANDOM_SIGNATURE[:40],
    ),
    "a renewed certificate signed at random": FoundLie(
        to(ROTATE, put(RANDOM_SIGNATURE, "signature")), ("contents.signature",)
    ),
    "no signature": FoundLie(to(ROTATE, drop("signature")), ("contents.fields",)),
    "another machine's certificate": FoundLie(
        to(ROTATE, put(OTHER, "machine_id")), ("contents.other", "contents.signature")
    ),
    "keys of another server": FoundLie(
        to(KEYS, body(lambda page: re.sub(rb'"x":"[^"]+"', OTHER_KEY, page))), ("contents.signature",)
    ),
    "keys that change": FoundLie(
        to(KEYS, body(lambda page: re.sub(rb'"x":"[^"]+"', OTHER_KEY, page)), after=1), ("contents.keys-changed",)
    ),
    "no keys": FoundLie(
        to(
            KEYS,
            lambda answer: with_body(
                head(rb"\A(\S+) 200", rb"\1 404")(answer), b'{"success":false,"error":"not found"}'
            ),
        ),
        ("contents.keys",),
    ),
    "a certificate for a day": FoundLie(
        to(ROTATE, data(lambda shown: shown.update(expires_at="2099-01-01T00:00:00Z"))), ("contents.lifetime",)
    ),
    "a certificate issued in an hour": FoundLie(to(ROTATE, hours_on("issued_at", "expires_at")), ("contents.times",)),
    "a machine of another owner": FoundLie(to(REGISTER, put("eve", "machine", "owner_id")), ("contents.other",), "eve"),
    "a machine of another name": FoundLie(
        to(REGISTER, put("toaster", "machine", "name")), ("contents.echo",), "toaster"
    ),
    "registrations swapped": FoundLie(swapped(REGISTER), ("contents.id-again", "contents.echo")),
    "a token that can be guessed": FoundLie(to(REGISTER, put("1", "machine_token"), after=3), ("contents.token-form",)),
    "a machine made an hour ago": FoundLie(
        to(REGISTER, body(lambda content: re.sub(rb'("created_at":"[0-9-]+)T[0-9]{2}', rb"\1T00", content))),
        ("contents.times",),
    ),
    "a local time": FoundLie(
        to(REGISTER, put("2026-09-21T14:13:20+00:00", "machine", "created_at")), ("contents.time-form",)
    ),
    "ids in capitals": FoundLie(to(CONSENT, put("CON_1", "id")), ("contents.id-form",), "CON_1"),
    "a policy with other rules": FoundLie(to(POLICY, put({"max_cpu_percent": 100}, "rules")), ("contents.echo",)),
    "a policy of a version before": FoundLie(to(POLICY, put(0, "version")), ("contents.fields",)),
    "the same version again": FoundLie(to(POLICY, put(1, "version")), ("contents.version",)),
    "a policy with another signature": FoundLie(to(POLICY, put("AAAA", "signature")), ("contents.echo",)),
    "a draft that is active": FoundLie(to(POLICY, put("active", "state")), ("contents.state",)),
    "an activation of another policy": FoundLie(to(ACTIVATE, put("pol_00000000000000aa", "id")), ("contents.echo",)),
    "rules that were never signed": FoundLie(
        to(FETCH, put({"max_cpu_percent": 100}, "policy", "rules")), ("contents.policy-changed",)
    ),
    "a policy that nobody consented to": FoundLie(
        to(FETCH, put("pol_00000000000000aa", "policy", "id"), after=3), ("contents.policy-other",)
    ),
    "a policy for another machine": FoundLie(to(FETCH, put(OTHER, "worker_id")), ("contents.other",)),
    "a consent for another machine": FoundLie(to(CONSENT, put(OTHER, "worker_id")), ("contents.other",)),
    "a consent that is revoked already": FoundLie(
        to(CONSENT, put("2026-09-21T14:13:20Z", "revoked_at")), ("contents.state",)
    ),
    "a consent from tomorrow on": FoundLie(
        to(CONSENT, put("2026-09-22T14:13:20Z", "effective_at")), ("contents.times",)
    ),
}
