"""``/tokens``: create, list and revoke API tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api import examples
from api.deps import ADMIN, QueueDep
from api.examples import shown
from api.middleware.problems import documented
from api.middleware.token_cache import TokenCache
from shoal.client.schemas import NewToken, TokenRequest, Tokens
from shoal.errors import TokenExists, TokenNotFound, TokensOff, UploadTooLarge
from shoal.model.token import Token
from shoal.queue.tokens import TokenStore

router = APIRouter(prefix="/tokens", tags=["tokens"], dependencies=[ADMIN])


async def _known(request: Request) -> TokenCache:
    known: TokenCache = request.app.state.tokens
    return known


async def _store(queue: QueueDep) -> TokenStore:
    return TokenStore(queue.redis, queue.name)


KnownDep = Annotated[TokenCache, Depends(_known)]
StoreDep = Annotated[TokenStore, Depends(_store)]


@router.get("", responses=shown(200, "The tokens, without their secrets.", examples.TOKENS))
def list_tokens(store: StoreDep) -> Tokens:
    """List the tokens besides those in SHOAL_API_TOKENS."""
    return Tokens(items=store.list())


@router.post(
    "",
    status_code=201,
    responses=shown(201, "Created. The secret cannot be retrieved again.", examples.NEW_TOKEN)
    | documented(TokenExists, TokensOff, UploadTooLarge),
)
def create_token(
    wanted: TokenRequest, request: Request, response: Response, store: StoreDep, known: KnownDep
) -> NewToken:
    """Create a token. Only a hash of its secret is stored."""
    if not known.are_needed:
        raise TokensOff("SHOAL_API_TOKENS is not set, so the API requires no tokens")
    caller: Token = request.scope["token"]
    terms = wanted.model_dump(include={"priority", "weight"})
    token, secret = store.create(
        wanted.name, wanted.scope, by=caller.name, limits=wanted.limits, **terms
    )
    response.headers["Cache-Control"] = "no-store"
    return NewToken(**token.model_dump(), secret=secret)


@router.delete(
    "/{name}",
    status_code=204,
    responses=documented(TokenNotFound),
)
def revoke_token(name: str, store: StoreDep, known: KnownDep) -> None:
    """Revoke a token. All API processes reject it within 5 seconds."""
    store.revoke(name)
    known.forget()
