"""The encoder in the description of a larger model, such as a detector or a vision-language model.

Source: transformers 5.23.0, the configuration files of the models in `DEFAULTS`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

from ..errors import did_you_mean
from .description import Description, quoted

PARTS = (
    "vision_config", "high_res_vision_config", "backbone_config", "encoder", "thinker_config", "detector_config",
    "vision_tower_config", "vision_encoder_config", "encoder_config", "sam_config",
)  # fmt: skip
"""Entries under which models describe an encoder, in the order in which they are tried."""

BACKBONE = "backbone_config"
"""A model under this entry returns a map of features for each of its `out_features`."""

FOUR_STAGES = [f"stage{number}" for number in range(1, 5)]
DEFAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "got_ocr2": ("vision_config", {"model_type": "got_ocr2_vision"}),
    "slanext": ("vision_config", {"model_type": "slanext_vision"}),
    "pp_formulanet": ("vision_config", {"model_type": "pp_formulanet_vision"}),
    "deepseek_ocr2": ("vision_config", {"model_type": "deepseek_ocr2_vision"}),
    "deepseek_ocr2_vision": ("sam_config", {"model_type": "deepseek_ocr2_sam_vision_model"}),
    "deepseek_vl_hybrid": ("high_res_vision_config", {"model_type": "sam_vision_model"}),
    "sam3_tracker": ("vision_config", {"model_type": "sam3_vision_model"}),
    "sam3_tracker_video": ("vision_config", {"model_type": "sam3_vision_model"}),
    "sam3_lite_text": ("vision_config", {"model_type": "sam3_vision_model"}),
    "qwen2_5_omni": ("thinker_config", {"model_type": "qwen2_5_omni_thinker"}),
    "qwen2_5_omni_thinker": ("vision_config", {"model_type": "qwen2_5_omni_vision_encoder"}),
    "florence2": ("vision_config", {"model_type": "florence_vision"}),
    "exaone4_5": ("vision_config", {"model_type": "exaone4_5_vision"}),
    "mask2former": (BACKBONE, {"model_type": "swin", "depths": [2, 2, 18, 2], "out_features": FOUR_STAGES}),
    "maskformer": (BACKBONE, {
        "model_type": "swin", "depths": [2, 2, 18, 2], "image_size": 384, "embed_dim": 128, "num_heads": [4, 8, 16, 32],
        "window_size": 12, "out_features": FOUR_STAGES,
    }),
    "oneformer": (BACKBONE, {"model_type": "swin", "out_features": FOUR_STAGES}),
    "grounding-dino": (BACKBONE, {"model_type": "swin", "out_indices": [2, 3, 4]}),
    "mm-grounding-dino": (BACKBONE, {"model_type": "swin", "out_indices": [2, 3, 4]}),
    "vitmatte": (BACKBONE, {"model_type": "vitdet", "out_features": ["stage4"]}),
    "vision-encoder-decoder": ("encoder", {"model_type": "vit"}),
    "clip": ("vision_config", {"model_type": "clip_vision_model"}),
    "siglip": ("vision_config", {"model_type": "siglip_vision_model"}),
}  # fmt: skip
"""What a model of this model_type has where its description leaves the encoder out, and the model_type of the encoder."""

MOST_DEPTH = 3
MISSPELT = 0.9
"""Two words that are at least this similar (difflib's ratio) may be one word, misspelt, if they have the same digits."""


def encoder_of(description: Description, known: Collection[str]) -> tuple[str, Description] | None:
    """The model_type of the encoder in a model's description, and its description; None if samattn has none of it."""
    path = next(_paths(description.entries, known, MOST_DEPTH), None)
    if path is None:
        _check_mappings(description, MOST_DEPTH)
        return None
    inside = description
    for key in path:
        inside = inside.inner_or(key, _default(str(inside.entries.get("model_type")), key))
    word = str(inside.entries["model_type"])
    if path:
        whole = description.entries.get("model_type", "model")
        description.notes.append(f"The encoder of this {whole}: its {'.'.join(path)}, of type {word}.")
    return word, inside


def _check_mappings(description: Description, depth: int) -> None:
    """Check that what may describe an encoder is a mapping.

    Raises:
        ImportFailedError: if an entry is not; it is then what is wrong, and not the model_type.
    """
    for key in PARTS if depth else ():
        if isinstance(inside := description.entries.get(key), Mapping):
            _check_mappings(description.inner(key), depth - 1)
        elif inside is not None and key.endswith("_config"):
            raise description.wrong(key, "a mapping")


def is_backbone(encoder: Description) -> bool:
    """Whether it is described as the backbone of another model, and so returns feature maps."""
    return encoder.label.endswith(f": {BACKBONE}")


def _default(word: str, key: str) -> dict[str, Any]:
    own, entries = DEFAULTS.get(word, ("", {}))
    return entries if own == key else {}


def _paths(entries: Mapping[str, Any], known: Collection[str], depth: int) -> Iterator[tuple[str, ...]]:
    """The entries that lead to an encoder; none if the model itself is one."""
    word = entries.get("model_type")
    if isinstance(word, str) and word in known:
        yield ()
        return
    for key in PARTS if depth else ():
        default = _default(str(word), key)
        if isinstance(inside := entries.get(key, default or None), Mapping):
            typed = {"model_type": inside.get("model_type") or default.get("model_type")}
            yield from ((key, *path) for path in _paths({**inside, **typed}, known, depth - 1))


def unknown(description: Description, known: Collection[str]) -> str:
    """What is wrong with a description of which samattn has no encoder, and what would be right."""
    word = description.entries.get("model_type")
    if "architecture" in description.entries and word is None:
        name = description.entries["architecture"]
        return f"is timm's, of {quoted(name)}: import the model by its name, timm:NAME"
    choose = f"; choose from {', '.join(sorted(known))}"
    if word is None:
        return f"has no model_type{choose}"
    inside = [
        f"{quoted(part['model_type'])} ({key})"
        for key in PARTS
        if isinstance(part := description.entries.get(key), Mapping) and part.get("model_type")
    ]
    has = f"; nor has samattn what is inside it: {', '.join(inside)}" if inside else ""
    hint = did_you_mean(word, _misspelt(word, known)) if isinstance(word, str) and not inside else ""
    return f"samattn has no encoder of model_type {quoted(word)}{hint or has or choose}"


def _misspelt(word: str, known: Collection[str]) -> list[str]:
    """The known words of which a word may be a misspelling, rather than the name of another model."""
    return [
        each
        for each in known
        if _digits(each) == _digits(word)
        and (sorted(each) == sorted(word) or SequenceMatcher(None, each, word).ratio() >= MISSPELT)
    ]


def _digits(word: str) -> list[str]:
    return [sign for sign in word if sign.isdigit()]
