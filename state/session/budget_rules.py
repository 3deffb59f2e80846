"""The table `[budgets]` of the settings: budgets that hold for every run of a user, a graph, a tag and so on.

[budgets]
"user:*" = { usd = 5, per = "day" }         # each user has an account of their own
"user:ada" = { usd = 20, per = "day" }      # in the place of the line above
"tenant:*" = [{ usd = 50, per = "day" }, { usd = 500, per = "month" }]
all = { usd = 1000, per = "month" }         # every run
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from ..budget import Budget, Budgets, ThreadBudgets, read_budgets
from ..errors import SettingsError
from ..settings_file import read_tables, working_folders_file

ALL = "all"
EACH = "*"
Rules = Mapping[str, tuple[Mapping[str, Any], ...]]


def scopes_of(
    *, user: str | None = None, graph: str | None = None, tags: Iterable[str] = (), metadata: Any = None
) -> list[str]:
    """Return the scopes that a run is in: by its user, its graph, its tags and its metadata."""
    scopes = [ALL]
    if user:
        scopes.append(f"user:{user}")
    if graph:
        scopes.append(f"graph:{graph}")
    scopes += [f"tag:{tag}" for tag in tags]
    for name, value in (metadata or {}).items():
        if isinstance(value, (str, int)) and not isinstance(value, bool) and name != "user_id":
            scopes.append(f"{name}:{value}")
    return scopes


def changed_budgets(
    recorded: str | None, new_budgets: Budgets | None, scopes: Iterable[str]
) -> tuple[ThreadBudgets, str | None]:
    """Return the budgets of a thread, of which `recorded` is on record, with those that are given now.

    And what is new of that on record. `scopes` are those of the run, for the budgets that the settings have.
    """
    before = ThreadBudgets.from_json(recorded)
    now = before.changed(ThreadBudgets.of(new_budgets))
    now = replace(now, ruled=ruled(scopes, before.ruled))
    return now, None if now == before else now.to_json()


def ruled(scopes: Iterable[str], earlier: Iterable[str] = ()) -> tuple[str, ...]:
    """Return those scopes for which the settings have a budget.

    What was so `earlier` in a thread goes on, but for scopes of a kind that is named anew.
    """
    rules, now = budget_rules(), list(scopes)
    if not rules:
        return ()
    kinds = {scope.partition(":")[0] for scope in now}
    kept = [scope for scope in earlier if scope.partition(":")[0] not in kinds]
    return tuple(scope for scope in dict.fromkeys((*kept, *now)) if _rule(rules, scope))


def rule_budgets(scopes: Iterable[str]) -> list[Budget]:
    """Return the budgets that the settings have for these scopes."""
    rules = budget_rules()
    return [Budget(**{**limits, "scope": scope}) for scope in scopes for limits in _rule(rules, scope)]


def _rule(rules: Rules, scope: str) -> tuple[Mapping[str, Any], ...]:
    kind, colon, _ = scope.partition(":")
    return rules.get(scope) or (rules.get(f"{kind}:{EACH}", ()) if colon else ())


@cache
def budget_rules() -> Rules:
    """Return what the settings file of the working folder says. It is read once in a process."""
    path = working_folders_file()
    return {} if path is None else read_rules(read_tables(path).get("budgets", {}), f"{path}, [budgets]")


def read_rules(table: Any, where: str) -> Rules:
    """Return the limits by scope. Raises SettingsError that names what is wrong."""
    if not isinstance(table, Mapping):
        raise SettingsError(
            f'{where}: expected a table of budgets by scope, such as "user:*" = {{ usd = 5 }}.'
        )
    rules: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for scope, entry in table.items():
        here = f"{where} {scope!r}"
        kind, colon, name = scope.partition(":")
        if scope != ALL and not (kind and colon and name):
            raise SettingsError(
                f"{here}: expected {ALL}, or a kind with a name or *: user:ada, user:*, graph:desk, "
                "tag:nightly, or a key of the runs' metadata, as in tenant:*."
            )
        if EACH in scope and (kind == EACH or name != EACH):
            raise SettingsError(f"{here}: * stands for a whole name, as in {kind.strip(EACH) or 'user'}:*.")
        several = entry if isinstance(entry, list) else [entry]
        for limits in several:
            if isinstance(limits, Mapping) and "scope" in limits:
                raise SettingsError(f"{here}: the scope is the key already. Leave scope out.")
            budget = read_budgets({**limits, "scope": "x"} if isinstance(limits, Mapping) else limits, here)
            if isinstance(budget, Budget) and budget.lifts:
                raise SettingsError(f"{here}: it has no limit. Give calls, tokens or usd.")
        rules[scope] = tuple(several)
    return rules
