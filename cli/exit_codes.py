"""The exit codes of the command line: one meaning for each number, in every command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit code says; `text` is its meaning."""

    text: str

    DONE = 0, "done"
    FAILED = 1, "a workflow, a gate or a check failed"
    BAD_INPUT = 2, "bad input: the command line, the graph, the suite, the state, the settings"
    MODEL = 3, "a model could not be reached, or refused"
    STORE = 4, "the database, or the server of the engine, cannot be used"
    WAITING = 5, "a workflow waits for an answer"
    PARTIAL = 6, "a budget ended: the result is partial, and the same command goes on"
    NOT_SENT = 7, "not everything arrived at Langfuse or the OTLP endpoint: send it again"

    def __new__(cls, value: int, text: str) -> ExitCode:
        code = int.__new__(cls, value)
        code._value_ = value
        code.text = text
        return code


def help_text() -> str:
    """Return the codes as the end of a help page."""
    return "\n".join(["\b", "Exit codes:", *(f"  {code.value}  {code.text}" for code in ExitCode)])


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    from ..state import errors

    wrong = (errors.InputError, errors.DefinitionError, errors.SettingsError)
    changed = (errors.FilesChanged, errors.GraphChanged, errors.MigrationFailed, errors.PromptChanged)
    if isinstance(error, (*wrong, *changed, errors.ThreadBusy, errors.EffectUnknown)):
        return ExitCode.BAD_INPUT
    if isinstance(error, errors.ModelError):
        return ExitCode.MODEL
    if isinstance(error, (errors.StoreError, errors.EngineUnreachable)):
        return ExitCode.STORE
    if isinstance(error, errors.BudgetExceeded):
        return ExitCode.PARTIAL
    return ExitCode.FAILED
