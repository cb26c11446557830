"""``/tokens``: make, list and revoke API tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api import examples
from api.deps import ADMIN, QueueDep
from api.examples import shown
from api.known import KnownTokens
from api.problems import documented
from shoal.errors import TokenExists, TokenNotFound, TokensOff
from shoal.tokens import Token, TokenStore
from shoal.wire import NewToken, TokenRequest, Tokens

router = APIRouter(prefix="/tokens", tags=["tokens"], dependencies=[ADMIN])


async def _known(request: Request) -> KnownTokens:
    known: KnownTokens = request.app.state.known
    return known


async def _store(queue: QueueDep) -> TokenStore:
    return TokenStore(queue.redis, queue.name)


KnownDep = Annotated[KnownTokens, Depends(_known)]
StoreDep = Annotated[TokenStore, Depends(_store)]


@router.get("", responses=shown(200, "The tokens, without their secrets.", examples.TOKENS))
def list_tokens(store: StoreDep) -> Tokens:
    """Tokens by name, beside those of SHOAL_API_TOKENS."""
    return Tokens(items=store.list())


@router.post(
    "",
    status_code=201,
    responses=shown(201, "Made. The secret is shown only now.", examples.NEW_TOKEN)
    | documented(TokenExists, TokensOff),
)
def create_token(
    wanted: TokenRequest, request: Request, response: Response, store: StoreDep, known: KnownDep
) -> NewToken:
    """Make a token. Only a hash of its secret is kept."""
    if not known.are_needed:
        raise TokensOff("without SHOAL_API_TOKENS this API asks for no token")
    caller: Token = request.scope["token"]
    token, secret = store.create(wanted.name, wanted.scope, by=caller.name)
    response.headers["Cache-Control"] = "no-store"
    return NewToken(**token.model_dump(), secret=secret)


@router.delete(
    "/{name}",
    status_code=204,
    responses=documented(TokenNotFound),
)
def revoke_token(name: str, store: StoreDep, known: KnownDep) -> None:
    """Revoke a token: this process refuses it at once, others within five seconds."""
    store.revoke(name)
    known.forget()
