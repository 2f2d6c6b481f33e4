"""Options of the keys that edit a prompt on the page. They do not affect images, and no job can override them."""

from __future__ import annotations

from pydantic import BaseModel

from modules.params.param import param


class PromptEditingSettings(BaseModel):
    """What Ctrl+Up and Ctrl+Down, Alt+Left and Alt+Right do in a prompt."""

    keyedit_precision_attention: float = param(
        0.1,
        "Precision for (attention:1.1) when editing the prompt with Ctrl+up/down",
        help="A larger value changes the weight of the words more with every press.",
        ge=0.001,
        le=10,
        slider=(0.01, 0.2, 0.01),
        section="prompt",
    )
    keyedit_precision_extra: float = param(
        0.05,
        "Precision for <extra networks:0.9> when editing the prompt with Ctrl+up/down",
        help="A larger value changes the weight of a network more with every press.",
        ge=0.001,
        le=10,
        slider=(0.01, 0.2, 0.01),
        section="prompt",
    )
    keyedit_delimiters: str = param(
        r".,\/!?%^*;:{}=`~() ",
        "Word delimiters when editing the prompt with Ctrl+up/down",
        help="Characters at which the word under the cursor ends; line breaks and brackets always end it.",
        section="prompt",
    )
    keyedit_move: bool = param(
        True,
        "Alt+left/right moves prompt elements",
        help="Moves the part between two commas past its neighbour; off leaves these keys to the browser.",
        section="prompt",
    )
