"""The settings of logins, as rows of the table that every setting is tried by."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, Any, list[str], list[str]]
NO_URLS = [
    *("http://provider.test", "https://", "https://A.test", "provider.test", "ftp://a.test", "https://a.test?x=1"),
    *(
        "https://user:password@a.test",
        "https://a.test#x",
        "https://a.test/ x",
        "http://localhost.evil.test/",
        "https:/a",
    ),
]
NO_ORIGINS = ["https://a.test/", "https://A.test", "a.test", "null", "https://a.test/x", "https://u:p@a.test", "*"]
URLS = {
    **{
        f"{provider.upper()}_{name}": f"{provider}_{field}"
        for provider in ("google", "apple")
        for name, field in (
            ("ISSUER", "issuer"),
            ("AUTHORIZATION_URL", "authorization_url"),
            ("TOKEN_URL", "exchange_url"),
            ("JWKS_URL", "jwks_url"),
        )
    },
    "GITHUB_ISSUER": "github_issuer",
    "GITHUB_AUTHORIZATION_URL": "github_authorization_url",
    "GITHUB_TOKEN_URL": "github_exchange_url",
    "GITHUB_API_URL": "github_api_url",
    "MOLTBOOK_BASE_URL": "moltbook_base_url",
}
LOGIN_TABLE: dict[str, Row] = {
    "PUBLIC_URL": ("public_url", "https://api.test:443", "https://api.test", [], NO_ORIGINS),
    "SESSION_TTL_SECONDS": ("session_ttl_seconds", "60", 60, ["59", "-1", "2592001"], ["x", "1.5", "5s"]),
    **{
        variable: (field, "http://127.0.0.1:9400/a/b", "http://127.0.0.1:9400/a/b", [], NO_URLS)
        for variable, field in URLS.items()
    },
}
LOGIN_FREE_TEXT = {
    *("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"),
    *("APPLE_CLIENT_ID", "APPLE_TEAM_ID", "APPLE_KEY_ID", "APPLE_PRIVATE_KEY_FILE", "MOLTBOOK_APP_KEY"),
}
"""What a provider gave: any text."""
LOGIN_SECRETS = {"PUBLIC_URL", *URLS}
"""Of those that are refused, whose value is not shown."""
