"""The modules that protect, and the tests that should notice a change in each, those that notice most first."""

from __future__ import annotations

_RECEIPTS, _DENOMINATOR = "tests/training/test_receipts.py", "tests/training/test_denominator.py"
_GUARD, _FAULTS = "tests/training/test_guard.py", "tests/training/test_faults.py"
_COMPUTE_LOSS, _ANCHOR = "tests/training/test_attach_to_compute_loss.py", "tests/training/test_anchor_of_step.py"
MODULES = {
    "evals/pact_evals/rule.py": ["tests/evals/test_rule.py", "tests/evals/test_checking.py"],
    "evals/pact_evals/checking.py": ["tests/evals/test_checking.py", "tests/evals/test_rule.py"],
    "pact_plugins/row_gate/weights.py": ["tests/row_gate"],
    "pact_plugins/row_gate/part.py": ["tests/row_gate", _GUARD],
    "pact_plugins/reference/watch.py": ["tests/reference/test_watch.py", "tests/training/test_same_reference.py"],
    "pact_plugins/verification.py": ["tests/test_verification.py", "tests/training/test_chain.py"],
    "pact_plugins/training/denominator.py": [_DENOMINATOR, _COMPUTE_LOSS, _RECEIPTS],
    "pact_plugins/training/receipts.py": [_RECEIPTS, _GUARD, _DENOMINATOR, _ANCHOR, _FAULTS],
    "pact_plugins/training/attachment.py": [
        _RECEIPTS,
        _FAULTS,
        _COMPUTE_LOSS,
        "tests/training/test_starting_weights.py",
        _ANCHOR,
    ],
}
