"""Every setting refuses a value it cannot use, by name, value and what is allowed (contract §11)."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.about import settings_help
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.settings import SETTINGS, Settings, SettingsError, load_settings
from reference_server.wire.signing import CertificateSigner
from tests.logins.settings_table import LOGIN_FREE_TEXT, LOGIN_SECRETS, LOGIN_TABLE
from tests.support.tiers import examples

VECTORS = Path(__file__).parent.parent / "vectors"
NO_NUMBERS = ["x", "1_0", "٣", "1.5.5", "--1", "nan", "1e", "0x10", "true", "5 s", "5s", "None", "1,5"]
NO_WHOLE_NUMBERS = [*NO_NUMBERS, "1.5", "1e3", "inf", "-inf"]
NO_AMOUNTS = [*NO_NUMBERS, "1e3", "inf", ".5", "1.", "+1", "٣"]
NO_FLAGS = ["yes", "no", "2", "-1", "on", "off", "t", "truee", " true", "None"]

# Variable: (field, a value, what it means, values that are too small or too large, values that are none).
TABLE: dict[str, tuple[str, str, Any, list[str], list[str]]] = {
    "HATCHFARM_API_TOKEN": (
        "api_token",
        "8letters",
        "8letters",
        [],
        ["t", "7letter", "two words", "tök-tök-tök", "seven\tmany", "seven\nmany", " spaced-out", "eleven-odd\x7f"],
    ),
    "PORT": ("port", "0", 0, ["-1", "65536"], NO_WHOLE_NUMBERS),
    "ALLOWED_ORIGINS": (
        "allowed_origins",
        "http://a.test, https://b.test",
        ("http://a.test", "https://b.test"),
        [],
        [
            *("*", "http://a.test,*", "a.test", "ftp://a.test", "null", "http://a.test http://b.test,*"),
            *(
                "http://*",
                "https://*.a.test",
                "http://a.test/",
                "http://a.test/path",
                "http://a.test?q",
                "http://a.test#f",
            ),
            *("http://user:password@a.test", "http://user@a.test", "HTTP://a.test", "http://A.test", "http://"),
            *("http://a.test:", "http://a.test:port", "file://a", "http://[::1", "http://a.test:8080/"),
        ],
    ),
    "METRICS_PUBLIC": ("metrics_public", "true", True, [], NO_FLAGS),
    "REQUIRE_HTTPS": ("require_https", "1", True, [], NO_FLAGS),
    "TRUST_PROXY_HEADERS": ("trust_proxy_headers", "TRUE", True, [], NO_FLAGS),
    "PROXY_PROTOCOL": ("proxy_protocol", "false", False, [], NO_FLAGS),
    "TRUSTED_PROXIES": (
        "trusted_proxies",
        "10.0.0.0/8, 192.0.2.7,fc00::/7,192.0.2.7/32, 2001:DB8::1",
        ("10.0.0.0/8", "192.0.2.7/32", "fc00::/7", "2001:db8::1/128"),
        [],
        [
            *("0.0.0.0/0", "::/0", "10.0.0.0/7", "fc00::/6", "0.0.0.0/0,10.0.0.0/8", "*", "10.0.0.1/8", ",", "nginx"),
            *("::ffff:0:0/96", "::ffff:192.0.2.1", "10.0.0.0/8;192.0.2.1", "10.0.0.0/33", "10.0.0.1:80", "fe80::1%lo"),
            ",".join(f"10.{high}.{low}.0/24" for high in range(4) for low in range(251)),
        ],
    ),
    "WORKER_STATUS_STALE_SECONDS": ("stale_seconds", "1", 1, ["0", "-60", "86401"], NO_WHOLE_NUMBERS),
    "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS": (
        "auth_failure_window_seconds",
        "86400",
        86_400,
        ["0", "86401"],
        NO_WHOLE_NUMBERS,
    ),
    "WORKER_AUTH_FAIL_ALERT_THRESHOLD": ("auth_failure_threshold", "1", 1, ["0", "-1", "1000000001"], NO_WHOLE_NUMBERS),
    "HEARTBEAT_NONCE_TTL_SECONDS": ("nonce_ttl_seconds", "180", 180, ["179", "0", "86401"], NO_WHOLE_NUMBERS),
    "MACHINE_CERT_TTL_SECONDS": ("certificate_life_seconds", "1", 1, ["0", "-1", "86401"], NO_WHOLE_NUMBERS),
    "RATE_LIMIT_REFILL_PER_SECOND": (
        "rate_limit_refill_per_second",
        "0.5",
        0.5,
        ["0", "-1", "0.0009", "1e10"],
        [*NO_NUMBERS, "inf", "-inf"],
    ),
    "HTTP_WAITING_BYTES": ("waiting_bytes_max", "4194304", 4194304, ["0", "4194303", "1e9"], NO_WHOLE_NUMBERS),
    "HTTP_UNPROVEN_CONNECTIONS_PER_ADDRESS": (
        "unproven_connections_per_address",
        "1",
        1,
        ["0", "1000001"],
        NO_WHOLE_NUMBERS,
    ),
    "RATE_LIMIT_BURST": ("rate_limit_burst", "1", 1, ["0", "-20", "1000000001"], NO_WHOLE_NUMBERS),
    "AUDIT_EVENTS_PER_STREAM": ("audit_events_per_stream", "1", 1, ["0", "1000001"], NO_WHOLE_NUMBERS),
    "REDIS_ADDR": (
        "redis_addr",
        "[::1]:6379",
        "[::1]:6379",
        [],
        ["localhost", ":6379", "a:", "a:0", "a:65536", "::1:6379", "a b:1", "a:6_3", "a: 1", "redis://a:1", "a@b:1"],
    ),
    "REDIS_NONCE_FALLBACK": ("redis_nonce_fallback", "true", True, [], NO_FLAGS),
    "REDIS_RATE_LIMIT_ENABLED": ("redis_rate_limit_enabled", "false", False, [], NO_FLAGS),
    "REDIS_RATE_LIMIT_MAX_REQUESTS": (
        "redis_rate_limit_max_requests",
        "1",
        1,
        ["0", "-1", "100001"],
        NO_WHOLE_NUMBERS,
    ),
    "REDIS_RATE_LIMIT_WINDOW_SECONDS": ("redis_rate_limit_window_seconds", "10", 10, ["0", "3601"], NO_WHOLE_NUMBERS),
    "REDIS_RATE_LIMIT_FALLBACK": ("redis_rate_limit_fallback", "false", False, [], NO_FLAGS),
    "HATCHFARM_JOURNAL_BYTES": ("journal_bytes", "4096", 4096, ["-1", str(1 << 41)], NO_WHOLE_NUMBERS),
    **{
        variable: (field, "0.05", 0.05, ["0", "-1", "0.04", "3601"], [*NO_NUMBERS, "inf"])
        for variable, field in (
            ("HTTP_HEADER_TIMEOUT_SECONDS", "header_timeout_seconds"),
            ("HTTP_BODY_TIMEOUT_SECONDS", "body_timeout_seconds"),
            ("HTTP_IDLE_TIMEOUT_SECONDS", "idle_timeout_seconds"),
            ("SHUTDOWN_GRACE_SECONDS", "shutdown_grace_seconds"),
        )
    },
    "AGENT_REGISTRATION": ("agent_registration", "closed", "closed", [], ["Open", "none", "openn", " open"]),
    **{
        variable: (field, text, Decimal(text), [], [*NO_AMOUNTS, *too_far, text + "0" * decimals])
        for variable, field, text, decimals, too_far in (
            ("PRICE_CPU_HOUR", "price_cpu_hour", "0.5", 6, ["1000.000001", "-1"]),
            ("PRICE_MEMORY_GB_HOUR", "price_memory_gb_hour", "0.5", 6, ["1000.000001", "-1"]),
            ("PRICE_GPU_HOUR", "price_gpu_hour", "0.5", 6, ["1000.000001", "-1"]),
            ("WALLET_DEV_CREDIT_USDT", "wallet_dev_credit_usdt", "12.3", 6, ["1000001", "-0.000001"]),
            ("WITHDRAWAL_DAILY_LIMIT_USDT", "withdrawal_daily_limit_usdt", "0.1", 6, ["1000000001", "-1"]),
            ("WITHDRAWAL_DAILY_LIMIT_BTC", "withdrawal_daily_limit_btc", "0.1", 8, ["21000001", "-1"]),
        )
    },
    "JOB_QUEUE_TIMEOUT_SECONDS": ("job_queue_timeout_seconds", "1", 1, ["0", "-1", "2592001"], NO_WHOLE_NUMBERS),
    "PLATFORM_FEE_BASIS_POINTS": ("platform_fee_basis_points", "0", 0, ["-1", "10001"], NO_WHOLE_NUMBERS),
    "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS": (
        "withdrawal_cooldown_seconds",
        "0",
        0,
        ["-1", "2592001"],
        NO_WHOLE_NUMBERS,
    ),
    "WITHDRAWALS_PER_HOUR": ("withdrawals_per_hour", "0", 0, ["-1", "1000001"], NO_WHOLE_NUMBERS),
    "PAYOUT_SIMULATED_SECONDS": ("payout_simulated_seconds", "0", 0.0, ["-1", "86401"], [*NO_NUMBERS, "inf"]),
    "PAYOUT_SIMULATED_FAILURES": ("payout_simulated_failures", "0", 0.0, ["-1", "1.01"], [*NO_NUMBERS, "inf"]),
    "FORUM_POSTS_PER_HOUR": ("forum_posts_per_hour", "0", 0, ["-1", "1000001"], NO_WHOLE_NUMBERS),
    **LOGIN_TABLE,
}
FREE_TEXT = {
    "HATCHFARM_SHARED_STATE",
    "HATCHFARM_STATE_FILE",
    "WORKER_STATUS_STATE_FILE",
    "HOST",
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "MACHINE_CERT_SIGNING_KEY_FILE",
    "REDIS_PASSWORD",
    *LOGIN_FREE_TEXT,
}
"""Their values are tried where they are used: files are opened, the address is listened on."""
DEFAULTS = {
    "HOST": "127.0.0.1",
    "PORT": "8080",
    "ALLOWED_ORIGINS": "http://localhost:3000",
    "METRICS_PUBLIC": "false",
    "REQUIRE_HTTPS": "false",
    "TRUST_PROXY_HEADERS": "false",
    "TRUSTED_PROXIES": "",
    "PROXY_PROTOCOL": "false",
    "WORKER_STATUS_STALE_SECONDS": "60",
    "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS": "300",
    "WORKER_AUTH_FAIL_ALERT_THRESHOLD": "10",
    "HEARTBEAT_NONCE_TTL_SECONDS": "300",
    "MACHINE_CERT_TTL_SECONDS": "900",
    "RATE_LIMIT_REFILL_PER_SECOND": "5.0",
    "HTTP_WAITING_BYTES": "67108864",
    "HTTP_UNPROVEN_CONNECTIONS_PER_ADDRESS": "4096",
    "RATE_LIMIT_BURST": "20",
    "AUDIT_EVENTS_PER_STREAM": "5000",
    "HATCHFARM_STATE_FILE": "",
    "HATCHFARM_JOURNAL_BYTES": "0",
    "WORKER_STATUS_STATE_FILE": ".worker_status_state.json",
    "REDIS_ADDR": "",
    "REDIS_PASSWORD": "",
    "REDIS_NONCE_FALLBACK": "false",
    "REDIS_RATE_LIMIT_ENABLED": "false",
    "REDIS_RATE_LIMIT_MAX_REQUESTS": "20",
    "REDIS_RATE_LIMIT_WINDOW_SECONDS": "1",
    "REDIS_RATE_LIMIT_FALLBACK": "true",
    "HTTP_HEADER_TIMEOUT_SECONDS": "10.0",
    "HTTP_BODY_TIMEOUT_SECONDS": "30.0",
    "HTTP_IDLE_TIMEOUT_SECONDS": "75.0",
    "AGENT_REGISTRATION": "open",
    "PRICE_CPU_HOUR": "0.010000",
    "PRICE_MEMORY_GB_HOUR": "0.001000",
    "PRICE_GPU_HOUR": "0.500000",
    "JOB_QUEUE_TIMEOUT_SECONDS": "3600",
    "PLATFORM_FEE_BASIS_POINTS": "0",
    "WALLET_DEV_CREDIT_USDT": "0",
    "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS": "86400",
    "WITHDRAWALS_PER_HOUR": "10",
    "WITHDRAWAL_DAILY_LIMIT_USDT": "10000",
    "WITHDRAWAL_DAILY_LIMIT_BTC": "1",
    "PAYOUT_SIMULATED_SECONDS": "1.0",
    "PAYOUT_SIMULATED_FAILURES": "0.0",
    "FORUM_POSTS_PER_HOUR": "30",
}


MAY_HOLD_A_SECRET = {"HATCHFARM_API_TOKEN", "ALLOWED_ORIGINS", "REDIS_ADDR", "REDIS_PASSWORD", *LOGIN_SECRETS}


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


def test_every_setting_is_tried_here() -> None:
    assert {setting.variable for setting in SETTINGS} == TABLE.keys() | FREE_TEXT


def test_without_environment_the_defaults_are_those_of_the_contract() -> None:
    assert load_settings({}) == Settings()
    shown = {variable: default for variable, default, _ in settings_help()}
    assert {variable: shown[variable] for variable in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("variable", TABLE)
def test_a_good_value_is_read(variable: str) -> None:
    field, text, value, _, _ = TABLE[variable]
    assert getattr(load_settings({variable: text}), field) == value


@pytest.mark.parametrize("variable", TABLE)
def test_an_empty_variable_counts_as_unset(variable: str) -> None:
    assert load_settings({variable: ""}) == Settings()


@pytest.mark.parametrize(
    ("text", "flag"), [("true", True), ("True", True), ("1", True), ("false", False), ("0", False)]
)
def test_flags_are_read_in_every_form(text: str, flag: bool) -> None:  # noqa: FBT001 - a column of the table
    assert load_settings({"METRICS_PUBLIC": text}).metrics_public is flag


@pytest.mark.parametrize("variable", TABLE)
def test_a_bad_value_is_refused_by_name_value_and_what_is_allowed(variable: str) -> None:
    *_, out_of_bounds, none = TABLE[variable]
    allowed = next(setting.allowed for setting in SETTINGS if setting.variable == variable)
    for text in (*out_of_bounds, *none):
        shown = "the value given (hidden)" if variable in MAY_HOLD_A_SECRET else repr(text)
        assert refusal({variable: text}) == f"{variable}: {shown} is not {allowed}"


@pytest.mark.parametrize(("variable", "text"), [(name, text) for name, row in TABLE.items() for text in row[3]])
def test_a_value_out_of_bounds_is_told_the_bounds(variable: str, text: str) -> None:
    assert re.search(r"is not a (whole )?number from [0-9.e-]+ to [0-9.e+]+$", refusal({variable: text}))


@settings(max_examples=examples(200), deadline=None)
@given(variable=st.sampled_from(sorted(TABLE)), text=st.text(max_size=12))
def test_any_text_at_all_is_read_or_refused(variable: str, text: str) -> None:
    message = ""
    try:
        load_settings({variable: text})
    except SettingsError as error:
        message = str(error)
    assert message == "" or message.startswith(f"{variable}: ")


def test_an_empty_variable_turns_the_legacy_file_off() -> None:
    assert load_settings({}).worker_status_file == ".worker_status_state.json"
    assert load_settings({"WORKER_STATUS_STATE_FILE": ""}).worker_status_file == ""


SHARED = {
    "HATCHFARM_SHARED_STATE": "redis",
    "REDIS_ADDR": "redis.test:6379",
    "HATCHFARM_API_TOKEN": "the-token",
    "MACHINE_CERT_SIGNING_KEY_FILE": "key.pem",
}


def test_shared_state_is_shared_through_a_redis_and_nothing_else() -> None:
    assert load_settings(SHARED).shared_state == "redis"
    assert "'memory' is not redis" in refusal({**SHARED, "HATCHFARM_SHARED_STATE": "memory"})


@pytest.mark.parametrize("variable", ["REDIS_ADDR", "HATCHFARM_API_TOKEN", "MACHINE_CERT_SIGNING_KEY_FILE"])
def test_shared_state_needs_what_all_instances_have_alike(variable: str) -> None:
    assert variable in refusal({**SHARED, variable: ""})


@pytest.mark.parametrize(("variable", "value"), [("HATCHFARM_STATE_FILE", "s.json"), ("REDIS_NONCE_FALLBACK", "true")])
def test_shared_state_goes_without_what_would_contradict_it(variable: str, value: str) -> None:
    assert variable in refusal({**SHARED, variable: value})


def test_a_shared_rate_limit_needs_a_redis() -> None:
    assert "REDIS_ADDR" in refusal({"REDIS_RATE_LIMIT_ENABLED": "true"})
    both = load_settings({"REDIS_RATE_LIMIT_ENABLED": "true", "REDIS_ADDR": "redis.test:6379"})
    assert both.redis_rate_limit_enabled


def test_a_header_that_names_the_client_needs_proxies_that_are_named() -> None:
    assert "TRUSTED_PROXIES" in refusal({"PROXY_PROTOCOL": "true"})
    assert load_settings({"PROXY_PROTOCOL": "true", "TRUSTED_PROXIES": "192.0.2.1"}).proxy_protocol


def test_https_cannot_be_required_of_clients_whom_a_header_names_without_tls() -> None:
    """Nobody could say that they came by it, so all would be refused for ever, with nothing to say why."""
    known = {"PROXY_PROTOCOL": "true", "TRUSTED_PROXIES": "192.0.2.1", "REQUIRE_HTTPS": "true"}
    for trusting in ({}, {"TRUST_PROXY_HEADERS": "true"}):
        assert "REQUIRE_HTTPS: with PROXY_PROTOCOL needs TLS_CERT_FILE" in refusal({**known, **trusting})
    assert load_settings({**known, "TLS_CERT_FILE": "c.pem", "TLS_KEY_FILE": "k.pem"}).require_https
    assert load_settings({**known, "PROXY_PROTOCOL": "false", "TRUST_PROXY_HEADERS": "true"}).require_https


def test_a_network_of_everybody_is_refused_with_the_reason() -> None:
    assert "would let every client choose whom its requests are counted for" in refusal(
        {"TRUSTED_PROXIES": "0.0.0.0/0"}
    )


@pytest.mark.parametrize("lone", ["TLS_CERT_FILE", "TLS_KEY_FILE"])
def test_tls_needs_both_of_its_files(lone: str) -> None:
    message = refusal({lone: "file.pem"})
    assert "TLS_CERT_FILE" in message
    assert "TLS_KEY_FILE" in message
    both = load_settings({"TLS_CERT_FILE": "cert.pem", "TLS_KEY_FILE": "key.pem"})
    assert (both.tls_cert_file, both.tls_key_file) == ("cert.pem", "key.pem")


def rsa_pem() -> bytes:
    key = generate_private_key(65_537, 1024)  # noqa: S505 - only to be refused
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", [None, b"", b"not a key", rsa_pem()], ids=["missing", "empty", "text", "RSA"])
def test_a_signing_key_that_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        make_api(
            {"HATCHFARM_API_TOKEN": "the-token", "MACHINE_CERT_SIGNING_KEY_FILE": str(file)},
            SeededEntropy(),
            SystemClock(),
        )
    message = str(caught.value)
    assert message.startswith(f"MACHINE_CERT_SIGNING_KEY_FILE: cannot use {file}")
    assert "openssl genpkey -algorithm ed25519" in message


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620])
@pytest.mark.parametrize("variable", ["MACHINE_CERT_SIGNING_KEY_FILE", "TLS_KEY_FILE", "HATCHFARM_STATE_FILE"])
def test_a_file_with_a_secret_that_others_can_get_at_is_refused_with_the_way_out(
    tmp_path: Path, variable: str, mode: int
) -> None:
    """It is left as it is: chmod, and it is taken."""
    file = tmp_path / "secret"
    if variable == "HATCHFARM_STATE_FILE":
        file.write_bytes((VECTORS / "state_schema1.json").read_bytes())
    else:
        file.write_bytes(CertificateSigner.from_seed(bytes(range(32))).pem())
    file.chmod(mode)
    before = file.read_bytes()
    environ = {"HATCHFARM_API_TOKEN": "the-token", variable: str(file)}
    if variable == "TLS_KEY_FILE":
        environ["TLS_CERT_FILE"] = "certificate.pem"
    with pytest.raises(SettingsError) as caught:
        make_api(environ, SeededEntropy(), SystemClock())
    message = str(caught.value)
    assert message.startswith(f"{variable}: ")
    assert f"(mode {mode:04o}): `chmod 600 {file}`" in message
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (before, mode)
    file.chmod(0o600)
    make_api(environ, SeededEntropy(), SystemClock())


def test_unknown_variables_are_nobodys_business() -> None:
    assert load_settings({"PATH": "/bin", "HATCHFARM_ELSE": "x"}) == Settings()
