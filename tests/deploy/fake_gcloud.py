"""Stands in for ``gcloud``: keeps in the file ``FAKE_GCLOUD`` what was created, and refuses what
the real one refuses: to create what is there, or to touch what is not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KINDS = ("topics", "subscriptions", "notifications", "accounts")


def main(words: Sequence[str]) -> int:
    path = Path(os.environ["FAKE_GCLOUD"])
    held: dict[str, Any] = {kind: {} for kind in KINDS} | {"bindings": []}
    if path.exists():
        held |= json.loads(path.read_text())
    names, options = parse(words)
    status = answer(names, options, held)
    path.write_text(json.dumps(held))
    return status


def parse(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Words that stand alone, and options with their values."""
    names, options = [], {}
    rest = iter(words)
    for word in rest:
        if "=" in word or word in ("--quiet", "--skip-topic-setup"):
            name, _, value = word.partition("=")
            options[name] = value
        elif word.startswith("--"):
            options[word] = next(rest)
        else:
            names.append(word)
    return names, options


def answer(names: list[str], options: dict[str, str], held: dict[str, Any]) -> int:
    match names:
        case ["projects", "describe", _]:
            print(1234)
        case ["services", "enable", *_]:
            pass
        case ["storage", "buckets", *_, on] if on.removeprefix("gs://") in held.get("deleted", ()):
            print(f"ERROR: {on} not found: 404.", file=sys.stderr)
            return 1
        case ["storage", "buckets", "describe", _]:
            pass
        case ["storage", "buckets", "notifications", *words]:
            return notifications(words, options, held["notifications"])
        case [*_, "add-iam-policy-binding", on]:
            held["bindings"] = sorted({*held["bindings"], binding(options, on)})
        case [*_, "remove-iam-policy-binding", on]:
            held["bindings"].remove(binding(options, on))
        case ["pubsub", ("topics" | "subscriptions") as kind, verb, name]:
            return thing(held[kind], verb, name, options)
        case ["iam", "service-accounts", verb, name]:
            return thing(held["accounts"], verb, name.partition("@")[0], options)
        case _:
            print(f"not known: {names}", file=sys.stderr)
            return 2
    return 0


def notifications(words: list[str], options: dict[str, str], held: dict[str, str]) -> int:
    match words:
        case ["list", _]:
            found = [
                {"Bucket URI": words[1], "Notification Configuration": {"id": id_, "topic": topic}}
                for id_, topic in held.items()
            ]
            print(json.dumps(found))
        case ["create", _]:
            held[str(len(held) + 1)] = f"//pubsub.googleapis.com/{options['--topic']}"
        case ["delete", name]:
            del held[name.rpartition("/")[2]]
        case _:
            return 2
    return 0


def thing(held: dict[str, Any], verb: str, name: str, options: dict[str, str]) -> int:
    if (verb == "create") == (name in held):
        print(f"{verb}: {name} is there, or is not", file=sys.stderr)
        return 1
    if verb in ("create", "update"):
        held[name] = {**held.get(name, {}), **options}
    elif verb == "delete":
        del held[name]
    return 0


def binding(options: dict[str, str], on: str) -> str:
    name, _, host = options["--member"].removeprefix("serviceAccount:").partition("@")
    who = f"agent:{host.partition('.')[0]}" if name.startswith("service-") else name
    return f"{who} {options['--role']} {on.partition('@')[0]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
