"""PACT in LlamaBoard, LLaMA-Factory's web UI: an entry of the stage menu, and its options below it."""

from __future__ import annotations

import functools
import subprocess
import sys
from types import ModuleType
from typing import Any, get_args

from pact_llamafactory.arguments import BLOCK, STAGE
from pact_plugins import plugins
from pact_plugins.config import AUTO, PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import parse_json
from pact_plugins.presets import PRESETS

MENU_ENTRY = "PACT"
OPTIONS = ("preset", "objective", "kl_coef", "gate_training_rows", "anchor", "safety_tokens", "reference_model_path")
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
    described = {name: PACTConfig.model_fields[name].description for name in OPTIONS}
    menus = {
        "preset": list(PRESETS),
        "objective": list(plugins.objectives()),
        "gate_training_rows": list(get_args(PACTConfig.model_fields["gate_training_rows"].annotation)),
        "anchor": list(get_args(PACTConfig.model_fields["anchor"].annotation)),
    }
    with gradio.Row():
        # Empty is what the preset says.
        chosen = {
            name: gradio.Dropdown(["", *values], value="", label=name, info=described[name])
            for name, values in menus.items()
        }
    with gradio.Row():
        coefficient = gradio.Textbox("", label="kl_coef", info=described["kl_coef"])
        tokens = gradio.Textbox(AUTO, label="safety_tokens", info=described["safety_tokens"])
        reference = gradio.Textbox("", label="reference_model_path", info=described["reference_model_path"])
        more = gradio.Textbox("", label="further keys of pact: as JSON", info='such as {"top_k": 50}')
    return {
        **chosen,
        "kl_coef": coefficient,
        "safety_tokens": tokens,
        "reference_model_path": reference,
        MORE: more,
    }


def _id(name: str) -> str:
    return f"train.pact_{name}"


def _block(values: dict[str, Any]) -> dict[str, Any]:
    """The ``pact:`` block of what was filled in.

    Raises:
        ConfigurationError: names the field; the page shows it.
    """
    try:
        more = parse_json(values[MORE] or "{}")
    except ValueError as error:
        raise _shown(ConfigurationError(f"the further keys are not JSON: {error}")) from None
    block = {name: values[name] for name in OPTIONS if values[name] not in (None, "")}
    try:
        config = PACTConfig.from_mapping({**block, **more} if isinstance(more, dict) else more, source=BLOCK)
    except ConfigurationError as error:
        raise _shown(error) from None
    # The types of the schema, not the text of the fields.
    return config.model_dump(mode="json", include=set(block) | set(more))


def _shown(error: ConfigurationError) -> Exception:
    import gradio

    return gradio.Error(str(error))


def _start(command: list[str], **options: Any) -> Any:
    """What the page starts: the same command, in this interpreter, whether or not the stock one knows the stage."""
    if command[:1] == ["llamafactory-cli"]:
        command = [sys.executable, "-m", "pact_llamafactory", *command[1:]]
    return subprocess.Popen(command, **options)
