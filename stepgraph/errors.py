"""Every error that stepgraph raises on purpose; `StepgraphError` is the base of all.

When each one is raised, its exit code and what to do: docs/errors.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state.lazy_names import lazy_names

if TYPE_CHECKING:
    from .state.errors import (
        AnswerTooLate as AnswerTooLate,
        ApplyRefused as ApplyRefused,
        AuthenticationFailed as AuthenticationFailed,
        BatchFailed as BatchFailed,
        BranchTimeout as BranchTimeout,
        BudgetExceeded as BudgetExceeded,
        CircuitOpen as CircuitOpen,
        ClaimLost as ClaimLost,
        ContextTooLong as ContextTooLong,
        DeadlinePassed as DeadlinePassed,
        DefinitionError as DefinitionError,
        EffectUnknown as EffectUnknown,
        EngineUnreachable as EngineUnreachable,
        FilesChanged as FilesChanged,
        GateFailed as GateFailed,
        GraphChanged as GraphChanged,
        GuardTripped as GuardTripped,
        InputError as InputError,
        InvalidAnswer as InvalidAnswer,
        MalformedResponse as MalformedResponse,
        MCPServerFailed as MCPServerFailed,
        MigrationFailed as MigrationFailed,
        ModelError as ModelError,
        ModelFiltered as ModelFiltered,
        ModelNotFound as ModelNotFound,
        ModelRefused as ModelRefused,
        ModelUnavailable as ModelUnavailable,
        ModelUnreachable as ModelUnreachable,
        NoAnswer as NoAnswer,
        NoRoute as NoRoute,
        NotSerializable as NotSerializable,
        PromptChanged as PromptChanged,
        Rejected as Rejected,
        RetrievalFailed as RetrievalFailed,
        RunFailed as RunFailed,
        SandboxUnavailable as SandboxUnavailable,
        ScriptError as ScriptError,
        SettingsError as SettingsError,
        StepgraphError as StepgraphError,
        StoreError as StoreError,
        ThreadBusy as ThreadBusy,
        UnboundRole as UnboundRole,
    )
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            ".state.errors": "AnswerTooLate ApplyRefused AuthenticationFailed BatchFailed BranchTimeout "
            "BudgetExceeded CircuitOpen ClaimLost ContextTooLong DeadlinePassed "
            "DefinitionError EffectUnknown EngineUnreachable FilesChanged GateFailed GraphChanged "
            "GuardTripped InputError InvalidAnswer MCPServerFailed MalformedResponse "
            "MigrationFailed ModelError ModelFiltered ModelNotFound ModelRefused "
            "ModelUnavailable ModelUnreachable NoAnswer NoRoute NotSerializable "
            "PromptChanged Rejected RetrievalFailed RunFailed SandboxUnavailable "
            "ScriptError SettingsError StepgraphError StoreError ThreadBusy UnboundRole"
        },
    )
