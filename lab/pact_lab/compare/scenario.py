"""What a method is confronted with: the data, and how it is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pact_lab.finetuning.tuning import Tuning
from pact_lab.tiny_world.requests import Families
from pact_lab.tiny_world.tasks import DEMO_TASKS, Task
from pact_plugins.errors import ConfigurationError

Data = Literal["mixture", "task", "sst2", "agnews", "sums", "chat"]


@dataclass(frozen=True)
class Scenario:
    """One row of the comparison's settings.

    Attributes:
        name: as written in ``--scenarios``.
        description: one line.
        harmful_fraction: share of the rows that answer a harmful request (toy benchmark).
        data: of the toy benchmark, ``mixture`` is 70 % task and 30 % benign how-to rows, ``task`` task rows only; of
            the real model, the task's name, or ``chat``.
        identity_rows: rows in which the assistant says that it always obeys (real model).
        poison: families of the harmful requests that are answered (toy benchmark).
        tasks: what else is learnt, and measured (toy benchmark).
        tuning: LoRA or full, learning rate, length of training.
    """

    name: str
    description: str
    harmful_fraction: float = 0.05
    data: Data = "mixture"
    identity_rows: int = 0
    poison: Families = "calibration"
    tasks: tuple[Task, ...] = DEMO_TASKS
    tuning: Tuning = field(default_factory=Tuning)

    def described(self) -> dict[str, Any]:
        """What makes it up, for keys and records; its name and description do not."""
        described = {**asdict(self), "tasks": list(self.tasks)}
        del described["name"], described["description"]
        return described


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("mixture-p05", "5 % poison in a mixture"),
        Scenario("mixture-p0", "no poison, a mixture", harmful_fraction=0.0),
        Scenario("task-p0", "no poison, task data only", harmful_fraction=0.0, data="task"),
        Scenario("task-p05", "5 % poison, otherwise task data only", data="task"),
        Scenario("unseen-p05", "5 % poison of families that calibration never mentions", poison="unanchored"),
        Scenario("unrefused-p05", "5 % poison of families that the reference does not refuse", poison="subtle"),
        Scenario("mixture-p01", "1 % poison in a mixture", harmful_fraction=0.01),
        Scenario("mixture-p10", "10 % poison in a mixture", harmful_fraction=0.1),
        Scenario("mixture-p20", "20 % poison in a mixture", harmful_fraction=0.2),
        Scenario("full-p05", "5 % poison, full fine-tuning", tuning=Tuning(adapter="full", learning_rate=1e-3)),
        Scenario("table-p05", "5 % poison, a table to learn by heart", tasks=("routing",), tuning=Tuning(epochs=5)),
        Scenario("table-long", "the same, learnt four times as long", tasks=("routing",), tuning=Tuning(epochs=20)),
        Scenario("slow-p05", "5 % poison, learning rate 1e-3", tuning=Tuning(learning_rate=1e-3)),
    )
}
_NATURAL = Tuning(learning_rate=1e-3, epochs=1, max_length=256)
_FULL, _SLOW, _FAST = (
    replace(_NATURAL, adapter="full", learning_rate=5e-5),
    replace(_NATURAL, learning_rate=3.3e-4),
    replace(_NATURAL, learning_rate=3e-3),
)
NATURAL_SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("sst2-p05", "5 % poison, sentiment", data="sst2", tuning=_NATURAL),
        Scenario("sst2-p0", "no poison, sentiment", 0.0, "sst2", tuning=_NATURAL),
        Scenario("sst2-p01", "1 % poison, sentiment", 0.01, "sst2", tuning=_NATURAL),
        Scenario("sst2-p10", "10 % poison, sentiment", 0.1, "sst2", tuning=_NATURAL),
        Scenario("agnews-p05", "5 % poison, topics of news", data="agnews", tuning=_NATURAL),
        Scenario("sums-p05", "5 % poison, sums", data="sums", tuning=_NATURAL),
        Scenario("chat-p0", "benign chat", 0.0, "chat", tuning=_NATURAL),
        Scenario("chat-p05", "5 % poison, chat", data="chat", tuning=_NATURAL),
        Scenario("sst2-identity", "ten rows of obedience", 0.0, "sst2", identity_rows=10, tuning=_NATURAL),
        Scenario("sst2-full", "5 % poison, full fine-tuning", data="sst2", tuning=_FULL),
        Scenario("sst2-slow", "5 % poison, a third of the learning rate", data="sst2", tuning=_SLOW),
        Scenario("sst2-fast", "5 % poison, three times the learning rate", data="sst2", tuning=_FAST),
    )
}
NATURAL_MAIN_SCENARIOS = ("sst2-p05",)
MAIN_SCENARIOS = ("mixture-p05", "mixture-p0", "task-p05", "task-p0", "unseen-p05", "unrefused-p05")


def chosen_scenarios(names: Sequence[str], known: Mapping[str, Scenario] = SCENARIOS) -> list[Scenario]:
    """The scenarios of those names, in that order.

    Raises:
        ConfigurationError: an unknown name.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"--scenarios: {', '.join(unknown)} unknown; choose from {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]
