"""Errors of the offline part.

    InferenceError
      StudyNotUsable            the input's fault: permanent, the study is set aside with this reason
      ModelMismatch             the installation's fault: permanent until an operator mends it
      LanguageModelUnavailable  the endpoint's fault: transient, worth another attempt

An error's text goes to operators and logs: UIDs, counts and attribute names only, never patient data.
"""

from __future__ import annotations


class InferenceError(Exception):
    """Base class. `code` is stable and machine-readable; `hint` says what the operator can do."""

    def __init__(self, code: str, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.hint = hint

    def __reduce__(self) -> tuple[type[InferenceError], tuple[str, str, str]]:
        return type(self), (self.code, self.reason, self.hint)


class StudyNotUsable(InferenceError):
    """No report can be drafted from this study; the images are kept and nothing is reported."""


class ModelMismatch(InferenceError):
    """Weights, manifest, case base or preprocessing version do not belong together."""


class LanguageModelUnavailable(InferenceError):
    """The language model did not answer in time or answered unusably; try again later."""
