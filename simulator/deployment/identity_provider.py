"""Who vouches for people and agents, on loopback: Google's, GitHub's and Moltbook's part, saying what an attack wants.

It keeps nothing and knows no time: what it is to answer stands in each code and identity (`attacks.logins.forging`).
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from contextlib import asynccontextmanager
from functools import cached_property
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from simulator.attacks.logins.forging import CLIENT_ID, CLIENT_SECRET, KEY_ID, Forgery, read_forgery, read_vouching
from simulator.limits import IDENTITY_REQUEST_MAX_BYTES, IDENTITY_REQUEST_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

KEY_BITS, PUBLIC_EXPONENT = 2048, 65_537
GITHUB, MOLTBOOK = "/github", "/moltbook"
_PIECE_BYTES = 16 * 1024
_HMACS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


class Spoken(NamedTuple):
    """One answer. A status of 0 closes the connection without any."""

    status: int
    body: bytes = b"{}"


def _shown(value: Any, status: int = HTTPStatus.OK) -> Spoken:
    return Spoken(status, msgspec.json.encode(value))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8))


class IdentityProvider:
    """What is answered to whom, without a socket. `origin` is where it is."""

    def __init__(self, origin: str = "") -> None:
        self.origin = origin

    @cached_property
    def _key(self) -> RSAPrivateKey:
        return generate_private_key(PUBLIC_EXPONENT, KEY_BITS)

    @cached_property
    def _other_key(self) -> RSAPrivateKey:
        return generate_private_key(PUBLIC_EXPONENT, KEY_BITS)

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings by which a server asks it."""
        return {
            "GOOGLE_CLIENT_ID": CLIENT_ID,
            "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "GOOGLE_ISSUER": self.origin,
            "GOOGLE_AUTHORIZATION_URL": f"{self.origin}/authorize",
            "GOOGLE_TOKEN_URL": f"{self.origin}/token",
            "GOOGLE_JWKS_URL": f"{self.origin}/jwks",
            "GITHUB_CLIENT_ID": CLIENT_ID,
            "GITHUB_CLIENT_SECRET": CLIENT_SECRET,
            "GITHUB_ISSUER": self.origin + GITHUB,
            "GITHUB_AUTHORIZATION_URL": f"{self.origin}{GITHUB}/authorize",
            "GITHUB_TOKEN_URL": f"{self.origin}{GITHUB}/token",
            "GITHUB_API_URL": f"{self.origin}{GITHUB}/api",
            "MOLTBOOK_BASE_URL": self.origin + MOLTBOOK,
            "MOLTBOOK_APP_KEY": CLIENT_SECRET,
        }

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Spoken:
        """Answer a request; `headers` have their names in lower case."""
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        match path.partition("?")[0]:
            case "/jwks":
                return _shown({"keys": [self._public(self._key)]})
            case "/token":
                forgery = redeemed(form)
                if forgery is None:
                    return _shown({"error": "invalid_grant"}, HTTPStatus.BAD_REQUEST)
                return _shown({"id_token": self.id_token(forgery), "access_token": "none", "token_type": "Bearer"})
            case "/github/token":  # which refuses with status 200, and whose access token is the code again
                if redeemed(form) is None:
                    return _shown({"error": "bad_verification_code"})
                return _shown({"access_token": form["code"], "token_type": "bearer", "scope": "user:email"})
            case "/github/api/user":
                forgery = read_forgery(token)
                return (
                    Spoken(HTTPStatus.UNAUTHORIZED) if forgery is None else _shown({"id": forgery.user, "login": "a"})
                )
            case "/github/api/user/emails":
                forgery = read_forgery(token)
                return Spoken(HTTPStatus.UNAUTHORIZED) if forgery is None else _shown(forgery.addresses)
            case "/moltbook/api/v1/agents/verify-identity":
                return _vouched(body)
            case _:
                return Spoken(HTTPStatus.NOT_FOUND)

    def id_token(self, forgery: Forgery) -> str:
        """Write an ID token (RFC 7515), right or wrong as it is wanted."""
        claims = {**({} if forgery.no_issuer else {"iss": self.origin}), "aud": CLIENT_ID, **forgery.claims}
        header = {"alg": "RS256", "kid": KEY_ID, "typ": "JWT", **forgery.header}
        if forgery.key == "embedded":
            header["jwk"] = self._public(self._other_key)
        kept = ({name: value for name, value in one.items() if value is not None} for one in (header, claims))
        text = ".".join(_base64(msgspec.json.encode(one)) for one in kept)
        return f"{text}.{_base64(self._signature(forgery, str(header['alg']), text.encode()))}"

    def _signature(self, forgery: Forgery, algorithm: str, text: bytes) -> bytes:
        match forgery.key:
            case "none":
                return b""
            case "provider":
                return self._key.sign(text, PKCS1v15(), SHA256())
            case "another" | "embedded":
                return self._other_key.sign(text, PKCS1v15(), SHA256())
            case secret:
                return hmac.digest(self._secret(secret), text, _HMACS.get(algorithm, "sha256"))

    def _secret(self, kind: str) -> bytes:
        """Return what a server may take for the secret of an HMAC."""
        public = self._key.public_key()
        jwk = self._public(self._key)
        return {
            "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "jwk": msgspec.json.encode(jwk),
            "modulus": jwk["n"].encode(),
            "client": CLIENT_SECRET.encode(),
            "empty": b"",
        }[kind]

    @staticmethod
    def _public(key: RSAPrivateKey) -> dict[str, str]:
        numbers = key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "kid": KEY_ID,
            "use": "sig",
            "alg": "RS256",
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }


def redeemed(form: Mapping[str, str]) -> Forgery | None:
    """Return what a code stands for; None where the verifier is not the one of its challenge (RFC 7636, 4.6)."""
    forgery = read_forgery(form.get("code", ""))
    verifier = form.get("code_verifier", "")
    if forgery is None or (forgery.challenge and _base64(sha256(verifier.encode()).digest()) != forgery.challenge):
        return None
    return forgery


def _vouched(body: bytes) -> Spoken:
    try:
        token = str(msgspec.json.decode(body)["token"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Spoken(HTTPStatus.BAD_REQUEST)
    vouching = read_vouching(token)
    if vouching is None:
        return _shown({"success": False, "valid": False, "error": "invalid_token"}, HTTPStatus.UNAUTHORIZED)
    if vouching.status != HTTPStatus.OK or vouching.body:
        return Spoken(vouching.status, vouching.body.encode())
    agent = {"id": vouching.id, "name": vouching.name, "karma": 1, "is_claimed": True}
    return _shown({"success": True, "valid": True, "agent": agent})


class _Asked:
    """One request as a parser of HTTP reads it, in pieces; what comes after it is left unread."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.whole = False

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self.url += b"" if self.whole else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if not self.whole:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, without its framing."""
        self.body += b"" if self.whole else body

    def on_message_complete(self) -> None:
        """Note that all of it is here."""
        self.whole = True


async def _read(stream: trio.abc.ReceiveStream) -> _Asked | None:
    """Read one request; None for what is none, or too long, or ends before its end."""
    asked, taken = _Asked(), 0
    parser = HttpRequestParser(asked)
    while not asked.whole:
        piece = await stream.receive_some(_PIECE_BYTES)
        taken += len(piece)
        if not piece or taken > IDENTITY_REQUEST_MAX_BYTES:
            return None
        try:
            parser.feed_data(bytes(piece))
        except (HttpParserError, HttpParserUpgrade):
            break
    return asked if asked.whole else None


async def _serve(stream: trio.SocketStream, provider: IdentityProvider) -> None:
    """Answer one request, whatever a server under attack has made of it, and close."""
    asked = await _read(stream)
    if asked is None:
        answer = Spoken(HTTPStatus.BAD_REQUEST)
    else:
        answer = provider.answer(asked.url.decode("latin-1"), asked.headers, asked.body)
    if answer.status:
        fields = f"Content-Type: application/json\r\nContent-Length: {len(answer.body)}\r\nConnection: close"
        await stream.send_all(f"HTTP/1.1 {answer.status} \r\n{fields}\r\n\r\n".encode() + answer.body)


@asynccontextmanager
async def identity_provider() -> AsyncIterator[IdentityProvider]:
    """Serve one on a free port of 127.0.0.1 until the block ends."""
    provider = IdentityProvider()

    async def handle(stream: trio.SocketStream) -> None:
        with trio.move_on_after(IDENTITY_REQUEST_SECONDS):
            try:
                async with stream:
                    await _serve(stream, provider)
            except trio.BrokenResourceError:
                pass  # whoever asked has gone

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        provider.origin = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        try:
            yield provider
        finally:
            nursery.cancel_scope.cancel()
