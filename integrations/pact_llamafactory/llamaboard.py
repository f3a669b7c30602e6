"""PACT in LlamaBoard, LLaMA-Factory's web UI: an entry of the stage menu, and its options below it."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, get_args

from pydantic.fields import FieldInfo

from pact_llamafactory.arguments import BLOCK, STAGE
from pact_plugins import plugins
from pact_plugins.anchor.settings import BUNDLED, GATED
from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import parse_json
from pact_plugins.settings import merged

MENU_ENTRY = "PACT"
# Empty is what the preset says.
MENUS: Mapping[str, Callable[[], Iterable[str]]] = {
    "preset": plugins.presets,
    "term.objective": plugins.objectives,
    "row_gate.mode": lambda: get_args(_field("row_gate.mode").annotation),
    "anchor.prompts": lambda: (BUNDLED, GATED),
}
TEXTS = ("term.weight", "safety_tokens.file", "reference.path")
OPTIONS = (*MENUS, *TEXTS)
MORE = "more"


def extend(interface: ModuleType) -> None:
    """Extend ``llamafactory.webui.interface`` and what it is made of, before it builds a page."""
    from llamafactory.extras.constants import TRAINING_STAGES
    from llamafactory.webui import runner

    TRAINING_STAGES.setdefault(MENU_ENTRY, STAGE)
    interface.create_train_tab = functools.partial(_create_train_tab, interface.create_train_tab)  # type: ignore
    runner.Popen = _start  # type: ignore[attr-defined]
    parse = runner.Runner._parse_train_args

    @functools.wraps(parse)
    def parse_train_args(self: Any, data: dict[Any, Any]) -> dict[str, Any]:
        arguments = parse(self, data)
        if arguments["stage"] == STAGE:
            arguments[BLOCK] = _block({name: data[self.manager.get_elem_by_id(_id(name))] for name in (*OPTIONS, MORE)})
        return arguments

    runner.Runner._parse_train_args = parse_train_args


def _create_train_tab(original: Any, engine: Any) -> dict[str, Any]:
    """LLaMA-Factory's own tab with our options below its first row, shown when the stage is ours."""
    import gradio
    from llamafactory.extras.constants import TRAINING_STAGES

    with gradio.Accordion("PACT", open=True, visible=False) as panel:
        components = _components(gradio)
    # Whatever the tab hands to its buttons starts from this set.
    base_elements = engine.manager.get_base_elems
    engine.manager.get_base_elems = lambda: base_elements() | set(components.values())
    try:
        elements = original(engine)
    finally:
        engine.manager.get_base_elems = base_elements
    # Drawn first, since the buttons must know its fields; shown below the row with the stage menu.
    siblings = panel.parent.children
    place = siblings.index(panel)
    siblings.insert(place + 1, siblings.pop(place))
    elements["training_stage"].change(
        lambda stage: gradio.Accordion(visible=TRAINING_STAGES.get(stage) == STAGE),
        elements["training_stage"],
        panel,
        queue=False,
    )
    return {**elements, **{_id(name).partition(".")[2]: component for name, component in components.items()}}


def _components(gradio: Any) -> dict[str, Any]:
    with gradio.Row():
        menus = {
            name: gradio.Dropdown(["", *choices()], value="", label=name, info=_field(name).description)
            for name, choices in MENUS.items()
        }
    with gradio.Row():
        texts = {name: gradio.Textbox("", label=name, info=_field(name).description) for name in TEXTS}
        more = gradio.Textbox(
            "",
            label="further settings of pact: as JSON",
            info='such as {"safety_tokens": {"top_k": 50}}',
        )
    return {**menus, **texts, MORE: more}


def _field(name: str) -> FieldInfo:
    block, _, key = name.rpartition(".")
    return (PACTConfig.blocks()[block] if block else PACTConfig).model_fields[key]


def _id(name: str) -> str:
    return f"train.pact_{name.replace('.', '_')}"


def _block(values: dict[str, Any]) -> dict[str, Any]:
    """The ``pact:`` block of what was filled in.

    Raises:
        ConfigurationError: names the field; the page shows it.
    """
    try:
        more = parse_json(values[MORE] or "{}")
    except ValueError as error:
        raise _shown(ConfigurationError(f"the further keys are not JSON: {error}")) from None
    filled: dict[str, Any] = {}
    for name in OPTIONS:
        block, _, key = name.rpartition(".")
        if values[name] not in (None, ""):
            filled = merged(filled, {block: {key: values[name]}} if block else {key: values[name]})
    said = merged(filled, more) if isinstance(more, dict) else more
    try:
        config = PACTConfig.from_mapping(said, source=BLOCK)
    except ConfigurationError as error:
        raise _shown(error) from None
    # The types of the schema, not the text of the fields.
    return _typed(said, config.model_dump(mode="json"))


def _typed(said: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``said`` says, with the schema's values."""
    return {
        key: _typed(value, values[key])
        if isinstance(value, Mapping) and isinstance(values[key], Mapping)
        else values[key]
        for key, value in said.items()
    }


def _shown(error: ConfigurationError) -> Exception:
    import gradio

    return gradio.Error(str(error))


def _start(command: list[str], **options: Any) -> Any:
    """What the page starts: the same command, in this interpreter, whether or not the stock one knows the stage."""
    if command[:1] == ["llamafactory-cli"]:
        command = [sys.executable, "-m", "pact_llamafactory", *command[1:]]
    return subprocess.Popen(command, **options)
