"""What is measured: modes, sizes, and the grid of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

PLAIN, CACHED, ONLINE_LORA, ONLINE_FULL = "plain", "cached", "online_lora", "online_full"
NAIVE, PLAIN_LOGITS = "naive", "plain_logits"
GATE, ANCHOR, DEFAULT, GUARD = "gate", "anchor", "default", "guard"
WATCH, WATCH_GREEDY = "watch", "watch_greedy"
REFERENCE_CHECK = "reference_check"
ASFT = "use_asft_loss"
CALIBRATION = "calibration"
MODES = {
    "lora": (PLAIN, CACHED, ONLINE_LORA, PLAIN_LOGITS, NAIVE),
    "full": (PLAIN, CACHED, ONLINE_FULL, PLAIN_LOGITS, NAIVE),
}
# `stage: pact` protects every trainer made while it runs, so its run has to be the last one to begin.
LLAMAFACTORY_MODES = {"lora": (PLAIN, ASFT, ONLINE_LORA), "full": (PLAIN, ASFT, ONLINE_FULL)}
PARTS = (GATE, ANCHOR, DEFAULT, GUARD)
# Every step is checked: what they take beyond the mode that does not check is one check.
CHECKS = {WATCH: PLAIN, WATCH_GREEDY: PLAIN, REFERENCE_CHECK: ONLINE_LORA}
# Fields of a case that say how unusually it trains: the word in its name, the note in the table.
UNUSUAL = {
    "liger_kernel": ("Liger", "Liger kernels"),
    "packing": ("packing", "short rows packed"),
    "stateless": ("SGD", "SGD, so that several models fit"),
}
# Beside `plain`, where a case has them.
PROFILED = (CACHED, ONLINE_LORA, ONLINE_FULL, DEFAULT, GUARD)


@dataclass(frozen=True)
class Size:
    """The shape of a Llama model with random weights and tied embeddings."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int


SIZES = {
    "tiny": Size(128, 4, 4, 4, 384),
    "small": Size(256, 6, 4, 4, 768),
    "medium": Size(512, 8, 8, 8, 1536),
    "1b": Size(2048, 16, 32, 8, 8192),
    "8b": Size(4096, 32, 32, 8, 14336),
}


@dataclass(frozen=True)
class Case:
    """One point of the grid; every mode of its training method is measured on it.

    Attributes:
        training: ``lora`` or ``full``.
        size: key of ``SIZES``.
        vocab_size: rows of the output embedding.
        sequence_length: tokens of every row, half of them response.
        safety_tokens: number of safety tokens.
        batch_size: rows of a micro-batch.
        accumulation: micro-batches of a step; with several, the cache and ``PARTS`` are measured.
        framework: whose trainer trains.
        parts: whether ``PARTS`` are measured too.
        default: whether the default preset, its parts and the cache are measured, and nothing else.
        checks: whether drift watch and reference check are measured, and nothing else.
        liger_kernel: whether Liger's kernels train, which never build logits; a mode that needs these is left out.
        packing: whether short rows share a sequence; without the kernels of flash-attn, SDPA keeps them apart.
        stateless: whether plain SGD trains, so that several models of this size fit one card; modes that build whole
            logits are left out.
    """

    training: str = "lora"
    size: str = "small"
    vocab_size: int = 131_072
    sequence_length: int = 512
    safety_tokens: int = 50
    batch_size: int = 2
    parts: bool = False
    framework: str = "trl"
    liger_kernel: bool = False
    checks: bool = False
    accumulation: int = 1
    packing: bool = False
    stateless: bool = False
    default: bool = False

    @property
    def modes(self) -> tuple[str, ...]:
        """Its modes, ``plain`` first."""
        if self.framework == "llamafactory":
            return LLAMAFACTORY_MODES[self.training]
        if self.checks:
            return (PLAIN, ONLINE_LORA, *CHECKS)
        if self.default:
            return (PLAIN, CACHED, GATE, ANCHOR, DEFAULT)
        if self.accumulation > 1:
            return (PLAIN, CACHED, *PARTS)
        modes = MODES[self.training] + (PARTS if self.parts else ())
        return tuple(mode for mode in modes if mode not in (PLAIN_LOGITS, NAIVE)) if self.kind else modes

    @property
    def name(self) -> str:
        """One line for a progress bar."""
        shape = f"V={self.vocab_size} L={self.sequence_length} S={self.safety_tokens}"
        accumulated = f" x{self.accumulation}" if self.accumulation > 1 else ""
        return f"{self.training} {self.size} {shape}{accumulated}{self.kind}"

    @property
    def kind(self) -> str:
        """What is unusual about how it trains, each word with a space before it."""
        return "".join(f" {word}" for field, (word, _) in UNUSUAL.items() if getattr(self, field))


def grid(name: str) -> list[Case]:
    """The cases of a grid that ``pact bench --grid`` names: a centre, then one axis at a time."""
    centre = Case()
    if name == "quick":
        tiny = replace(centre, size="tiny", vocab_size=32_768, sequence_length=256)
        return [replace(tiny, parts=True), replace(tiny, training="full")]
    if name == "llamafactory":
        return [replace(centre, framework=name, training=training) for training in LLAMAFACTORY_MODES]
    if name == "watch":
        return [replace(centre, checks=True)]
    if name == "default":
        return [replace(centre, default=True), replace(centre, default=True, batch_size=1, accumulation=4)]
    if name == "accumulation":
        return [replace(centre, batch_size=1, accumulation=4)]
    if name == "cpu":
        return _axes(centre, vocabularies=(32_768,), lengths=(256, 2048), counts=(10, 500), sizes=("tiny", "medium"))
    return _on_a_gpu(replace(centre, size="1b", sequence_length=2048, batch_size=4))


def _on_a_gpu(centre: Case) -> list[Case]:
    cases = [
        replace(centre, parts=True),
        replace(centre, batch_size=1, accumulation=4),
        replace(centre, training="full"),
        replace(centre, size="8b"),
        replace(centre, sequence_length=8192, batch_size=1),
        replace(centre, vocab_size=32_768),
        replace(centre, batch_size=1, sequence_length=4096, packing=True, parts=True),
        replace(centre, training="full", size="8b", stateless=True),
    ]
    if find_spec("liger_kernel") is not None:
        cases.append(replace(centre, liger_kernel=True))
    return cases


def _axes(
    centre: Case, *, vocabularies: Sequence[int], lengths: Sequence[int], counts: Sequence[int], sizes: Sequence[str]
) -> list[Case]:
    cases = [replace(centre, parts=True, training=training) for training in ("lora", "full")]
    cases += [
        replace(centre, training=training, vocab_size=value) for value in vocabularies for training in ("lora", "full")
    ]
    cases += [replace(centre, sequence_length=value, batch_size=max(1, 1024 // value)) for value in lengths]
    cases += [replace(centre, safety_tokens=value) for value in counts]
    return cases + [replace(centre, size=value) for value in sizes]
