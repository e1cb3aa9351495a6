"""Faults of keys, money, jobs and the forum: the attack that must find each, what it claims then, and the edits."""

from __future__ import annotations

WALLET, ADDRESSES = "core.market.wallet", "core.market.addresses"
KEPT, PAID = "core.market.idempotency", "core.market.withdrawals"
AGENTS, CALLERS, JOBS, FORUM = (
    "core.community.agents",
    "operations.callers",
    "core.market.job_routes",
    "core.community.forum",
)
OVERDRAWN = ("core.market.ledger", "Ledger.post", "units < 0 and account", "units < -1 << 60 and account")
POOR = "amount > market.ledger.balance(account, asset, AVAILABLE)"
FAULTS: dict[str, tuple[str, set[str], tuple[tuple[str, str, str, str], ...]]] = {
    "a balance that was read before": (
        "wallet.double-spend",
        {"one-withdrawal", "never-negative"},
        (OVERDRAWN, (WALLET, "withdraw", POOR, "amount > market.ledger.accounts[account].entries[0].amount")),
    ),
    "a balance that shows more than there is": (
        "wallet.double-spend",
        {"one-withdrawal", "adds-up"},
        (("core.market.ledger", "show_balances", "format_amount(ledger.balance(name, asset, part),",
          "format_amount(ledger.balance(name, asset, part) + (part == 'available'),"),),
    ),
    "no answer is kept": (
        "wallet.idempotency",
        {"same-answer", "one-of-copies"},
        ((WALLET, "withdraw", "if replayed is not None:", "if replayed is None and digest is None:"),),
    ),
    "a key for any body": (
        "wallet.idempotency",
        set(),
        ((KEPT, "KeptAnswers.find", "if kept.digest != digest:", "if not kept.digest:"),),
    ),
    "one key for all accounts": (
        "wallet.idempotency",
        {"own-keys"},
        (
            (KEPT, "KeptAnswers.find", "(account, route, key)", "('', route, key)"),
            (KEPT, "KeptAnswers.keep", "place = answer.account,", "place = '',"),
        ),
    ),
    "a key that a refusal uses up": (
        "wallet.idempotency",
        set(),
        (
            (
                WALLET,
                "withdraw",
                "        return INSUFFICIENT_BALANCE",
                ("        keep_answer(market, now, account, WITHDRAW_ROUTE, key, digest, 402, b'{}')\n"
                "        return INSUFFICIENT_BALANCE"),
            ),
        ),
    ),
    "an amount and whatever follows": (
        "wallet.amounts",
        set(),
        (("core.market.money", "parse_amount", "_AMOUNT.fullmatch(text)", "_AMOUNT.match(text)"),),
    ),
    "amounts that are numbers": (
        "wallet.amounts",
        set(),
        ((WALLET, "withdraw", "parse_amount(read.amount, asset) if isinstance(read.amount, str) else None",
          "parse_amount(str(read.amount), asset)"),),
    ),
    "any text that begins as an address": (
        "wallet.address",
        set(),
        ((ADDRESSES, "normal_address", "_prefix(address) == _TRON_PREFIX", 'address.startswith("T")'),),
    ),
    "an address of any chain": (
        "wallet.address",
        set(),
        ((ADDRESSES, "normal_address", "_prefix(address) in {_P2PKH_PREFIX, _P2SH_PREFIX}", "_prefix(address)"),),
    ),
    "one withdrawal more": (
        "wallet.velocity",
        {"never-more"},
        ((PAID, "Withdrawals.exceeds", "in_an_hour >= ", "in_an_hour > "),),
    ),
    "a day's limit for each withdrawal": (
        "wallet.velocity",
        set(),
        ((PAID, "Withdrawals.exceeds", "in_a_day + amount > most", "amount > most"),),
    ),
    "an address that anybody has waited for": (
        "wallet.cooldown",
        set(),
        ((WALLET, "_cooldown", "if not wait_ns:",
          ("if not wait_ns or any(one.address == address and one.account != account"
          " for one in market.withdrawals.addresses.values()):")),),
    ),
    "capitals are another address": (
        "wallet.cooldown",
        set(),
        ((ADDRESSES, "_segwit", "return address.lower()", "return address"),),
    ),
    "capitals have no cooldown": (
        "wallet.cooldown",
        {"held-up"},
        ((WALLET, "withdraw", "refusal = _cooldown(market, now, account, asset, address)",
          "refusal = None if address != read.address else _cooldown(market, now, account, asset, address)"),),
    ),
    "a cooldown that begins with the second use": (
        "wallet.cooldown",
        {"retry-after", "not-begun-anew"},
        ((WALLET, "_cooldown", "retry_after(IN_COOLDOWN, wait_ns)",
          "IN_COOLDOWN if wait_ns == market.conditions.cooldown_ns else retry_after(IN_COOLDOWN, wait_ns)"),),
    ),
    "anybody's withdrawal": (
        "wallet.idempotency",
        set(),
        ((WALLET, "read_withdrawal", "or withdrawal.account != account", ""),),
    ),
    "another's withdrawal is not told as nobody's": (
        "wallet.idempotency",
        {"untold"},
        ((WALLET, "read_withdrawal", "return WITHDRAWAL_NOT_FOUND",
          ("from reference_server.wire.replies import failure\n"
          "        return WITHDRAWAL_NOT_FOUND if withdrawal is None else failure(404, 'not your withdrawal')")),),
    ),
    "any text is a wallet": (
        "wallet.address",
        set(),
        ((AGENTS, "_refuse_fields", "return INVALID_ADDRESS if wallet and asset_of(wallet) is None else None",
          "return None"),),
    ),
    "an agent's wallet never cools down": (
        "wallet.cooldown",
        set(),
        ((AGENTS, "_cool_down", "asset = asset_of(wallet) if wallet else None", "asset = None"),),
    ),
    "an agent's wallet has no cooldown": (
        "wallet.cooldown",
        {"held-up"},
        ((WALLET, "withdraw", "refusal = _cooldown(market, now, account, asset, address)",
          "refusal = None if account.startswith('agent:') else _cooldown(market, now, account, asset, address)"),),
    ),
    "one unfinished job more": (
        "job.hoard",
        {"never-more"},
        ((JOBS, "post_job", ">= market.bounds.jobs_unfinished_an_account_max",
          "> market.bounds.jobs_unfinished_an_account_max"),),
    ),
    "ended jobs are unfinished": (
        "job.hoard",
        {"freed"},
        (("core.market.market", "Market.move", "self.unfinished_of[job.account] -= 1", "pass"),),
    ),
    "billed for all that it might have run": (
        "job.inflate",
        {"covered-only"},
        (("core.market.metering", "charge_for", "metered(job, offer) *", "duration_ns(job) *"),),
    ),
    "billed twice for each heartbeat": (
        "job.inflate",
        {"covered-only"},
        (("core.market.metering", "metered", "max(0, end - begin)", "2 * max(0, end - begin)"),),
    ),
    "billed for nothing": (
        "job.inflate",
        {"covered-paid"},
        (("core.market.metering", "charge_for", "return min(", "return 0 * min("),),
    ),
    "anybody's job": (
        "job.foreign",
        {"untouched"},
        ((JOBS, "_own", "and job.account == account", ""),),
    ),
    "everybody's jobs in a list": (
        "job.foreign",
        {"own-jobs"},
        ((JOBS, "list_jobs", "market.jobs_of.get(account, {}).values()", "market.jobs.values()"),),
    ),
    "another's job is untried from nobody's": (
        "job.foreign",
        {"same-answer"},
        ((JOBS, "cancel_job", "return JOB_NOT_FOUND",
          "return failure(404, 'not your job') if job_id in market.jobs else JOB_NOT_FOUND"),),
    ),
    "text is escaped where it is kept": (
        "forum.script",
        {"as-given"},
        ((FORUM, "create_post", "account, read.title, read.body,",
          "account, read.title, read.body.replace('<', '&lt;'),"),),
    ),
    "comments are escaped where they are shown": (
        "forum.script",
        {"as-given", "same-to-all"},
        ((FORUM, "show_comment", '"body": comment.body', '"body": comment.body.replace("<", "&lt;")'),),
    ),
    "posts without an end": (
        "forum.script",
        {"never-more"},
        ((FORUM, "_limited", "if not wait_ns:", "if wait_ns >= 0:"),),
    ),
    "one post more": (
        "forum.script",
        {"never-more"},
        ((FORUM, "_limited", "forum.wait_ns(account, now, posts_per_hour)",
          "forum.wait_ns(account, now, posts_per_hour + 1)"),),
    ),
    "comments are no posts": (
        "forum.script",
        set(),
        ((FORUM, "create_comment", "if refusal is not None:", "if refusal is None and len(body) > 1_000_000:"),),
    ),
    "comments that are not counted": (
        "forum.script",
        {"counted"},
        ((FORUM, "show_post", "len(post.comments)", "0"),),
    ),
    "posts are another's": (
        "forum.script",
        {"as-given"},
        ((FORUM, "create_post", "account, read.title,", "'owner:somebody', read.title,"),),
    ),
    "every tag is any tag": (
        "forum.script",
        {"by-tag"},
        ((FORUM, "list_posts", "forum.tagged(tag)", "forum.posts"),),
    ),
    "posts are listed oldest first": (
        "forum.script",
        {"by-tag"},
        ((FORUM, "_page", "islice(reversed(posts.values()),", "islice(iter(posts.values()),"),),
    ),
    "descriptions of any length": (
        "agent.names",
        set(),
        ((AGENTS, "_refuse_fields", "or len(description) > AGENT_DESCRIPTION_MAX_CHARACTERS", ""),),
    ),
    "identities of any length": (
        "agent.names",
        set(),
        ((AGENTS, "_refuse_fields", "if len(moltbook_id) > MOLTBOOK_ID_MAX_CHARACTERS:", "if moltbook_id is None:"),),
    ),
    "fields of agents that nobody knows are left out": (
        "agent.names",
        set(),
        ((AGENTS, "update", "read = _decode_update(body)",
          ("import json\n"
          "        known = {'name', 'description', 'moltbook_id', 'wallet_address', 'rotate_api_key'}\n"
          "        kept = {name: value for name, value in json.loads(body).items() if name in known}\n"
          "        read = _decode_update(json.dumps({'description': 'd', **kept}).encode())")),),
    ),
    "posts of any length": (
        "forum.script",
        set(),
        ((FORUM, "valid_text", "1 <= len(text) <= most and", ""),),
    ),
    "a replaced key is good": (
        "key.revoked",
        set(),
        (
            (AGENTS, "Agents.replace_key", "del self._by_key[agent.key_digest]", "pass"),
            (AGENTS, "Agents.with_key", "and compare_digest(agent.key_digest, digest)", ""),
        ),
    ),
    "a key and whatever follows": (
        "key.guess",
        set(),
        ((AGENTS, "Agents.with_key", "key_digest(key)", "key_digest(key[:68])"),),
    ),
    "wrong keys are untried apart": (
        "key.guess",
        {"same-answer"},
        ((CALLERS, "_prove_key", "return _refuse_bearer(state, headers) if agent is None else",
          'return failure(401, f"unauthorized: {_bearer(headers)}") if agent is None else'),),
    ),
    "the owners' token has an account of its own": (
        "key.guess",
        set(),
        ((CALLERS, "_admit_account", "return FORBIDDEN if isinstance(caller, Caller) and",
          "return Caller(OWNER_KIND, 'nobody') if isinstance(caller, Caller) and"),),
    ),
    "an owner's name is proof enough": (
        "key.guess",
        set(),
        ((CALLERS, "_admit_account", "    caller = _admit_owner(state, headers)",
          ("    if 'authorization' not in headers and 'x-owner-id' in headers:\n"
          "        return Caller(OWNER_KIND, headers['x-owner-id'])\n"
          "    caller = _admit_owner(state, headers)")),),
    ),
    "HEAD needs no account": (
        "key.guess",
        set(),
        (("operations.api", "Api._route", "caller = operation.principal.admit(self.state, headers)",
          ("caller = operation.principal.admit(self.state, headers)\n"
          "    if head.method == 'HEAD' and caller == failure(401, 'unauthorized'):\n"
          "        return failure(200, '')")),),
    ),
    "whichever key is last": (
        "key.guess",
        set(),
        (("operations.api", "Api._route", "if len(names) != len(set(names)):",
          "if len(names) != len(set(names)) and operation.principal.name not in {'account', 'agent'}:"),),
    ),
    "an agent is the owner that it names": (
        "key.as-owner",
        {"as-itself"},
        ((CALLERS, "_prove_account", "return _with_account(state, now, _prove_key(state, headers))",
          ("proven = _prove_key(state, headers)\n"
          "    if not isinstance(proven, Reply) and headers.get('x-owner-id'):\n"
          "        proven = Caller(OWNER_KIND, headers['x-owner-id'])\n"
          "    return _with_account(state, now, proven)")),),
    ),
    "agents are owners": (
        "key.as-owner",
        {"nothing-made"},
        ((CALLERS, "_prove_owner", "else FORBIDDEN", "else Caller(OWNER_KIND, _owner_named(headers) or '')"),),
    ),
}  # fmt: skip
