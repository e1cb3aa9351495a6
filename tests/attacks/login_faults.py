"""Faults of logins, sessions and identities: the attack that must find each, what it claims then, and the edits."""

from __future__ import annotations

SESSIONS = "core.identity.sessions"
TOKENS, KEYS, LOGINS = "adapters.identity.id_tokens", "adapters.identity.key_sets", "core.identity.logins"
OPENID, MOLT, CALLERS = "adapters.identity.openid", "adapters.identity.moltbook", "operations.callers"
FAULTS: dict[str, tuple[str, set[str], tuple[tuple[str, str, str, str], ...]]] = {
    "tokens that nobody signed": (
        "oauth.alg-none",
        {"no-session"},
        ((TOKENS, "read_id_token", "    header = _read_header(token)",
          ("    if token.endswith('.'):\n"
          "        from base64 import urlsafe_b64decode\n"
          "        claims = msgspec.json.decode(urlsafe_b64decode(token.split('.')[1] + '=='), type=Claims)\n"
          "        return person_of(claims.sub, claims.email, True)\n"
          "    header = _read_header(token)")),),
    ),
    "any key for any token": (
        "oauth.key-confusion",
        {"no-session"},
        ((TOKENS, "read_id_token",
          "    except (JoseError, ValueError):\n        return BAD_SIGNATURE\n    try:\n        claims",
          ("    except (JoseError, ValueError):\n"
          "        payload = jws.extract_compact(token.encode()).payload\n    try:\n        claims")),),
    ),
    "tokens of any client": (
        "oauth.wrong-aud",
        {"no-session"},
        ((TOKENS, "_refusal", "expected.client_id not in audience or", ""),),
    ),
    "any party of a token for several": (
        "oauth.wrong-aud",
        {"no-session"},
        ((TOKENS, "_refusal", "if claims.azp and claims.azp != expected.client_id:", "if claims.azp is None:"),),
    ),
    "tokens of any issuer": (
        "oauth.wrong-iss",
        {"no-session"},
        ((TOKENS, "_refusal", "if claims.iss != expected.issuer:", "if not claims.iss:"),),
    ),
    "tokens of any age": (
        "oauth.expired",
        {"no-session"},
        ((TOKENS, "_refusal", "if now >= claims.exp + leeway or claims.iat", "if claims.iat"),),
    ),
    "tokens of tomorrow": (
        "oauth.expired",
        {"no-session"},
        ((TOKENS, "_refusal", "if max(claims.iat, claims.nbf) > now + leeway:", "if claims.nbf > now + leeway:"),),
    ),
    "a nonce that is only looked at where there is one": (
        "oauth.nonce",
        {"no-session"},
        ((TOKENS, "_refusal", "if not (expected.nonce and", "if claims.nonce and not (expected.nonce and"),),
    ),
    "any address is verified": (
        "oauth.unverified-email",
        {"no-session"},
        ((TOKENS, "person_of", "if not (verified and ", "if not ("),),
    ),
    "whatever text says that an address is verified": (
        "oauth.unverified-email",
        {"no-session"},
        ((TOKENS, "read_id_token", 'claims.email_verified in {True, "true"}', "bool(claims.email_verified)"),),
    ),
    "a state that is not looked at": (
        "oauth.state",
        {"not-used-up"},
        ((LOGINS, "_come_back", "if login is None or not right or", "if login is None or"),),
    ),
    "a login that is used again and again": (
        "oauth.code-replay",
        {"no-session", "one-session"},
        ((LOGINS, "_come_back", "if login_id in TABLE.of(state):", "if not login_id:"),),
    ),
    "a login that the first try uses up": (
        "oauth.state",
        {"not-used-up"},
        ((LOGINS, "_come_back", "if login is None or not right or",
          ("if login is not None and not right:\n"
          "        state_of = _derive(state, 'state', provider.name, login.cookie)\n"
          "        use_login(state, call.now, sha256(state_of.encode()).hexdigest(), login.expires_ns)\n"
          "    if login is None or not right or")),),
    ),
    "no challenge": (
        "oauth.no-pkce",
        {"challenge"},
        ((LOGINS, "begin_login", '"code_challenge_method": "S256",', '"code_challenge_method": "plain",'),),
    ),
    "no verifier": (
        "oauth.no-pkce",
        {"verifier"},
        ((OPENID, "code_form", '"code_verifier": question.verifier,', ""),),
    ),
    "an issuer that is not looked at": (
        "oauth.mix-up",
        {"no-session"},
        ((LOGINS, "_come_back", 'if given["iss"] and given["iss"] != provider.issuer:', 'if given["iss"] is None:'),),
    ),
    "whoever is not refused is vouched for": (
        "moltbook.invalid",
        set(),
        ((MOLT, "Moltbook._ask", "verified.success and verified.valid and agent is not None", "agent is not None"),),
    ),
    "an agent is whom it says that it is": (
        "moltbook.invalid",
        {"as-vouched"},
        (("core.community.agents", "register", "identity.id, identity.name, identity.karma",
          "read.moltbook_id or identity.id, identity.name, identity.karma"),),
    ),
    "a Moltbook that is down vouches for everybody": (
        "moltbook.down",
        set(),
        (("core.community.agents", "register", "        return MOLTBOOK_UNAVAILABLE",
          "        identity = None\n        mode = OPEN"),),
    ),
    "a Moltbook that is down is none of the caller's doing": (
        "moltbook.down",
        set(),
        ((CALLERS, "_prove_vouched", "return MOLTBOOK_UNAVAILABLE", "return UNAUTHORIZED"),),
    ),
    "sessions of any owner": (
        "owner.session-as-other",
        {"nothing-made", "audited"},
        ((CALLERS, "_prove_session", "if caller.id and caller.id != session.owner_id:",
          "if caller.id:\n        return caller\n    if False:"),),
    ),
    "sessions have the account of any owner": (
        "owner.session-as-other",
        set(),
        ((CALLERS, "_prove_account", "return _with_account(state, now, _prove_session(state, now, caller, headers))",
          ("proven = _prove_session(state, now, Caller(OWNER_KIND, session=caller.session), headers)\n"
          "        return _with_account(state, now, Caller(OWNER_KIND, caller.id) if caller.id else proven)")),),
    ),
    "cookies of any site": (
        "owner.session-as-other",
        set(),
        ((CALLERS, "is_cross_site", 'return headers.get("sec-fetch-site") != "same-origin"', "return False"),),
    ),
    "cookies of any site where no login is changed": (
        "owner.session-as-other",
        set(),
        ((CALLERS, "is_cross_site", "or method in _CHANGE_NOTHING:",
          "or method in _CHANGE_NOTHING or 'content-type' in headers:"),),
    ),
    "sites of one domain are one site": (
        "owner.session-as-other",
        set(),
        ((CALLERS, "is_cross_site", 'headers.get("sec-fetch-site") != "same-origin"',
          'headers.get("sec-fetch-site") not in {"same-origin", "same-site"}'),),
    ),
    "a body names any owner": (
        "owner.session-as-other",
        {"nothing-made"},
        (("core.machines", "register", "if call.owner_id and call.owner_id != body.owner_id:",
          'if call.headers.get("x-owner-id") and call.owner_id != body.owner_id:'),),
    ),
    "a login is valid for ever": (
        "oauth.state",
        {"no-session"},
        ((LOGINS, "_come_back", "or call.now.wall_ns >= login.expires_ns", ""),),
    ),
    "a session lives for ever": (
        "owner.session-expired",
        set(),
        ((SESSIONS, "find_session", "or now.monotonic_ns >= session.expires_monotonic_ns", ""),
         (SESSIONS, "find_session", "or now.wall_ns >= session.expires_ns", "")),
    ),
    "a token begins a life of its own": (
        "owner.session-expired",
        set(),
        (("core.identity.session_routes", "make_token", "session.email, session.expires_ns",
          "session.email, session.expires_ns + 3_600_000_000_000"),),
    ),
    "whoever has an identity registers where nobody may": (
        "moltbook.closed",
        set(),
        (("core.community.agents", "cannot_register", "if mode == CLOSED", "if mode is None"),
         ("core.community.agents", "register", "if mode == CLOSED:", "if mode == CLOSED and identity is None:")),
    ),
    "closed is not told from open": (
        "moltbook.closed",
        set(),
        (("core.community.agents", "register", "if mode == CLOSED:", "if mode is None:"),),
    ),
    "sessions are not counted": (
        "owner.session-expired",
        {"sessions-counted"},
        ((SESSIONS, "_figures", "len(TABLE.of(state))", "0"),),
    ),
    "sessions that are over are not counted as refused": (
        "owner.session-expired",
        {"failures-counted"},
        ((CALLERS, "_prove_session", 'state.auth_failures["session"] += 1', "pass"),),
    ),
    "keys that are none are counted as sessions": (
        "moltbook.closed",
        {"failures-counted"},
        ((CALLERS, "_refuse_bearer", '"agent" if _has_key(headers) else "session"', '"session"'),),
    ),
    "agents are counted that there are not": (
        "moltbook.closed",
        {"nobody-registered"},
        (("core.keeping.agents", "_figures", "len(state.agents.by_id)", "1"),),
    ),
    "people are known by their address": (
        "oauth.mix-up",
        {"people-apart", "same-person"},
        ((LOGINS, "_log_in", "person_id(login.provider, answer.subject)", "person_id('', answer.email)"),),
    ),
    "a subject is the same person with every provider": (
        "oauth.mix-up",
        {"people-apart"},
        ((LOGINS, "person_id", 'f"{provider}|{subject}"', "subject"),),
    ),
    "people are agents": (
        "owner.session-as-other",
        set(),
        ((CALLERS, "_prove_agent", "return proven if isinstance(proven, Reply) else FORBIDDEN",
          ("from reference_server.wire.replies import success\n"
          "    return proven if isinstance(proven, Reply) else success({})")),),
    ),
    "people scrape": (
        "owner.session-as-other",
        set(),
        ((CALLERS, "_admit_scraper", "owner = is_owner(state, headers)",
          'owner = is_owner(state, headers) or (_bearer(headers) or "").startswith(SESSION_PREFIX)'),),
    ),
    "logins are not audited": (
        "owner.session-as-other",
        {"logins-audited"},
        ((LOGINS, "_log_in", 'state.audit(now, "login_succeeded",', 'str(("login_succeeded",'),
         (LOGINS, "_log_in", "login.provider}, (owner_id,))", "login.provider}, (owner_id,)))")),
    ),
    "refused logins are nobody's": (
        "owner.session-as-other",
        {"logins-audited"},
        ((LOGINS, "_refuse", 'if subject else ""', 'if subject is None else ""'),),
    ),
    "logouts are not audited": (
        "owner.session-as-other",
        {"logins-audited"},
        (("core.identity.session_routes", "log_out", "state.audit(call.now,", "str((call.now,"),
         ("core.identity.session_routes", "log_out", '"provider": session.provider}, (owner_id,))',
          '"provider": session.provider}, (owner_id,)))')),
    ),
    "tokens that outlive a logout": (
        "owner.session-as-other",
        set(),
        ((SESSIONS, "Sessions.end_login", "if session.login == login:", "if session.login == session.digest:"),),
    ),
}  # fmt: skip
