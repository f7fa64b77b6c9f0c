"""What a mistyped word was likely meant to be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches

from tetris.errors import NotFoundError, TetrisError
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2, tetris_pb2

# Seconds that a name is worth waiting for.
_PATIENCE = 1.0
_CHOICE = re.compile(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of ``words`` that looks most like ``word``, if any does."""
    spelled = {known.casefold(): known for known in words}
    found = get_close_matches(word.casefold(), spelled, n=1)
    return spelled[found[0]] if found else None


def sentence(failed: TetrisError, arguments: argparse.Namespace) -> str:
    """What failed; of a name that is not there, which tenant or model was likely meant."""
    if not isinstance(failed, NotFoundError):
        return str(failed)
    model, tenant = getattr(arguments, "model", None), getattr(arguments, "tenant", None)
    with suppress(TetrisError):
        if tenant is not None and tenant not in (tenants := tenant_names(arguments)):
            return _meant("tenant", tenant, tenants) or str(failed)
        if model is not None:
            return _meant("model", model, model_names(arguments)) or str(failed)
    return str(failed)


def complaint(message: str) -> str:
    """What argparse says of a word that is none of its choices, with the one that was meant."""
    match = _CHOICE.fullmatch(message)
    if match is None:
        return message
    kind, word, choices = match.groups()
    return _meant(kind.lower(), word, re.findall(r"[\w-]+", choices)) or message


def model_names(arguments: argparse.Namespace) -> list[str]:
    """Of the one tenant that the command is about, or of all for an administrator who asks so."""
    tenant = "" if arguments.all_tenants else getattr(arguments, "tenant", None)
    if tenant is None:
        request = tetris_pb2.ListModelsRequest()
        return Rpc(arguments.socket).collect("ListModels", request, lambda m: m.name, _PATIENCE)
    return AdminRpc(arguments.admin_socket).collect(
        "ListTenantModels",
        admin_pb2.ListTenantModelsRequest(tenant=tenant),
        lambda m: m.model.name,
        _PATIENCE,
    )


def tenant_names(arguments: argparse.Namespace) -> list[str]:
    """Of all tenants."""
    return AdminRpc(arguments.admin_socket).collect(
        "ListTenants", admin_pb2.ListTenantsRequest(), lambda t: t.name, _PATIENCE
    )


def _meant(kind: str, word: str, words: Iterable[str]) -> str | None:
    near = nearest(word, words)
    return f"no {kind} {word}: did you mean {near}?" if near else None
