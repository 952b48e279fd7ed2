"""An adapter on a base model: its layers are PEFT's own, and every key of its file is accounted for.

An adapter's file and its patterns name the modules of the model that was trained, which may have had a
language-model head. So PEFT gets a model with the same names: the base model alone, or the causal
language model around it, whose head has no memory.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from demosearch._common.progress import quiet_transformers
from demosearch.errors import UserError, one_line
from demosearch.models.probe import probe_states

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

# Types whose layers replace modules of the model and are then independent of PEFT's own forward method.
SUPPORTED = (
    "LORA", "ADALORA", "IA3", "LOHA", "LOKR", "OFT", "BOFT", "LN_TUNING", "VERA", "TRAINABLE_TOKENS",
)  # fmt: skip
# Settings of LoRA that require PEFT's forward method, or that import a package by its name.
_UNSUPPORTED_SETTINGS = ("alora_invocation_tokens", "megatron_config", "arrow_config")
# Settings of LoRA that add parts to its layers, or train modules, tokens or experts as well.
_OTHER_PARTS = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters")
_PREFIX = "base_model.model."
# Heads that PEFT trains with an adapter for classification; they do not change the states.
_TASK_HEADS = ("classifier", "score", "qa_outputs", "lm_head", "v_head")
# What PEFT and transformers read from a model, in addition to its configuration.
_STATE = (
    "is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "hf_quantizer", "quantization_method",
    "_tp_size", "_device_mesh",
)  # fmt: skip
# Largest relative distance between states before and after merging; in 16 bits the weights are rounded.
_CLOSE = {torch.float32: 1e-3}
_CLOSE_IN_16_BITS = 0.05


@dataclass(frozen=True, slots=True)
class Adapted:
    """A base model with an adapter.

    Attributes:
        base: the base model; its modules are PEFT's layers.
        wrapped: PEFT's model around it.
        config: the adapter's configuration.
        name: the adapter's folder or hub id.
    """

    base: PreTrainedModel
    wrapped: PeftModel
    config: PeftConfig
    name: str

    def merge(self) -> None:
        """Merge the adapter into the weights of the base model.

        Raises:
            UserError: the adapter cannot be merged, or the states would change.
        """
        before = probe_states(self.base)
        kind = self.config.peft_type.value
        try:
            with _quiet():
                self.wrapped.merge_and_unload(safe_merge=True)
        except (Exception, RecursionError) as error:
            reason = one_line(error, 200)
            raise UserError(
                f"--merge: the {kind} adapter {self.name} cannot be merged: {reason}"
            ) from error
        after = probe_states(self.base)
        close = _CLOSE.get(self.base.dtype, _CLOSE_IN_16_BITS)
        if _layers_of(self.base) or not (after - before).norm() <= close * before.norm():
            raise UserError(
                f"--merge: the {kind} adapter {self.name} cannot be merged: the states would change"
            )

    def can_be_saved(self) -> bool:
        """Prepare saving the adapter next to its base; False if transformers would not load it whole.

        The layers and their ranks are written by their full names in the base model.
        """
        from peft.tuners.lora import LoraLayer

        config: Any = self.config
        layers: dict[str, Any] = _layers_of(self.base)
        if config.peft_type.value != "LORA" or not _is_plain(config):
            return False
        if not all(isinstance(layer, LoraLayer) for layer in layers.values()):
            return False
        config.target_modules = set(layers)
        config.rank_pattern = {name: layer.r["default"] for name, layer in layers.items()}
        config.alpha_pattern = {name: layer.lora_alpha["default"] for name, layer in layers.items()}
        config.layers_to_transform = config.layers_pattern = config.exclude_modules = None
        self.base.peft_config = {"default": config}
        self.base._hf_peft_config_loaded = True
        return True


def put_on(model: PreTrainedModel, folder: Path, name: str, *, safe: bool) -> Adapted:
    """Put an adapter on a base model.

    Args:
        model: the base model; its modules are replaced.
        folder: of the adapter, in PEFT's format.
        name: the adapter's folder or hub id, for messages.
        safe: whether the weights are in safetensors format.

    Raises:
        UserError: a key of its file is missing or unexpected, or its type is not supported.
    """
    with _refused(name, "cannot be read"):
        config, weights = _read(folder, safe=safe)
    kind = config.peft_type.value
    unsupported = [each for each in _UNSUPPORTED_SETTINGS if getattr(config, each, None)]
    if kind not in SUPPORTED or unsupported:
        setting = f" with {unsupported[0]}" if unsupported and kind in SUPPORTED else ""
        raise UserError(
            f"--adapter {name}: adapters of type {kind}{setting} are not supported, only"
            f" {', '.join(SUPPORTED)}"
        )
    if getattr(model, "_device_mesh", None) is not None and not _can_be_split(config):
        raise UserError(
            f"--adapter {name}: this adapter of type {kind} is not supported on a model that torchrun"
            " splits; merge it first: export --merge"
        )
    with _refused(name, f"(type {kind}) does not fit the model"):
        whole = _with_the_names_of(model, weights)
        prefix = "" if whole is model else f"{whole.base_model_prefix}."
        weights = _without_heads(config, weights, whole, prefix)
        wrapped = _inject(whole, config)
        _load(wrapped, weights, prefix)
        for part in [part for part, _ in whole.named_children() if prefix and part != prefix[:-1]]:
            setattr(whole, part, torch.nn.Identity())
    return Adapted(model, wrapped, config, name)


def _can_be_split(config: Any) -> bool:
    """Whether PEFT splits an adapter together with its model."""
    initial = getattr(config, "init_lora_weights", True)
    return (
        _is_plain(config)
        and config.peft_type.value in ("LORA", "LN_TUNING")
        and isinstance(initial, bool)
    )


def _is_plain(config: Any) -> bool:
    """Whether an adapter has no other parts than its layers' own."""
    return not any(getattr(config, name, None) for name in _OTHER_PARTS)


def _read(folder: Path, *, safe: bool) -> tuple[PeftConfig, dict[str, torch.Tensor]]:
    from peft import PeftConfig
    from safetensors.torch import load_file

    config = PeftConfig.from_pretrained(str(folder))
    if config.peft_type is None:
        raise UserError("peft_type is missing in adapter_config.json")
    config.inference_mode = True
    # Selects one of PEFT's models for tasks, which differ in what they return.
    config.task_type = None
    if safe:
        return config, load_file(folder / "adapter_model.safetensors")
    weights = torch.load(folder / "adapter_model.bin", map_location="cpu", weights_only=True)
    return config, dict(weights)


def _with_the_names_of(model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> PreTrainedModel:
    """Return the base model, or a causal language model around it, as the keys of the file name them.

    Raises:
        UserError: a key names neither of them.
    """
    names = [key.removeprefix(_PREFIX) for key in weights if key.startswith(_PREFIX)]
    parts = {name for name, _ in model.named_children()}
    strange = [name for name in names if name.split(".")[0] not in parts]
    if not strange:
        return model
    whole = _with_head(model)
    heads = {name for name, _ in whole.named_children()} | set(_TASK_HEADS)
    below = [name for name in names if name.startswith(f"{whole.base_model_prefix}.")]
    strange_below = [name for name in below if name.split(".")[1] not in parts]
    strange_below += [name for name in names if name.split(".")[0] not in heads]
    if below and not strange_below:
        return whole
    # The message names a key that does not fit the closer of the two.
    raise UserError(
        f"its key {_PREFIX}{min(strange, strange_below or names, key=len)[0]} is not part of the"
        " model"
    )


def _with_head(model: PreTrainedModel) -> PreTrainedModel:
    """Return a causal language model around a base model; its head has no memory."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(model.config, trust_remote_code=False)
    prefix = whole.base_model_prefix
    if type(getattr(whole, prefix, None)) is not type(model):
        raise UserError(f"models of type '{model.config.model_type}' have no such head")
    setattr(whole, prefix, model)
    for name in _STATE:
        if (value := getattr(model, name, None)) is not None:
            setattr(whole, name, value)
    whole.tie_weights()
    return whole.eval()


def _without_heads(
    config: PeftConfig, weights: dict[str, torch.Tensor], whole: PreTrainedModel, prefix: str
) -> dict[str, torch.Tensor]:
    """Return the weights without those of heads that the model does not have.

    Such heads come behind the states. The heads are removed from the configuration, too.
    """
    missing = {name for name in _TASK_HEADS if not hasattr(whole, name)}
    if prefix and (saved := getattr(config, "modules_to_save", None)):
        config.modules_to_save = [name for name in saved if name not in missing] or None
    return {
        key: value
        for key, value in weights.items()
        if not prefix or key.removeprefix(_PREFIX).split(".")[0] not in missing
    }


def _inject(whole: PreTrainedModel, config: PeftConfig) -> PeftModel:
    from peft import PeftModel

    # A few initializations are random; all of it is then replaced by the file's weights.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PeftModel(whole, config, autocast_adapter_dtype=False).eval()


def _load(wrapped: PeftModel, weights: dict[str, torch.Tensor], prefix: str) -> None:
    """Load the weights and check that all of them were loaded, and that none is missing.

    Raises:
        UserError: a key is missing or unexpected.
    """
    from peft.utils import set_peft_model_state_dict
    from peft.utils.transformers_weight_conversion import (
        convert_peft_adapter_state_dict_for_transformers,
    )

    config = wrapped.peft_config["default"]
    # Experts that older versions of transformers kept apart are fused.
    weights = convert_peft_adapter_state_dict_for_transformers(wrapped, config, weights)
    if missing := sorted(set(_of_adapter(wrapped)) - set(weights)):
        raise UserError(f"its file lacks the key {missing[0]} ({len(missing)} missing in total)")
    result = set_peft_model_state_dict(wrapped, weights)
    if unexpected := sorted(result.unexpected_keys):
        raise UserError(f"its key {unexpected[0]} is not part of the model")
    loaded = {**wrapped.state_dict(), **_of_adapter(wrapped)}
    for key, value in weights.items():
        # Those of the head were not loaded, because it has no memory.
        inside = not prefix or key.startswith((f"{_PREFIX}{prefix}", "base_model.vera"))
        if inside and not _equal(loaded.get(key), value):
            raise UserError(f"its key {key} was not loaded")


def _of_adapter(wrapped: PeftModel) -> dict[str, torch.Tensor]:
    from peft.utils import get_peft_model_state_dict

    # PEFT gathers the parts of a split model, so it gets only the weights that may be the adapter's.
    weights = {
        key: value
        for key, value in wrapped.state_dict().items()
        if "default" in key.split(".") or key.endswith("bias")
    }
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(
        wrapped, weights, save_embedding_layers=False
    )
    return found


def _equal(found: torch.Tensor | None, value: torch.Tensor) -> bool:
    if found is None:
        return False
    # A split model holds a part of the weights in each process.
    whole: torch.Tensor = found.full_tensor() if hasattr(found, "full_tensor") else found
    return whole.shape == value.shape and torch.equal(
        whole.cpu().nan_to_num(), value.to(whole.dtype).nan_to_num()
    )


def _layers_of(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Return PEFT's layers in a model by their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # PEFT warns of what is checked here.
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _refused(name: str, problem: str) -> Iterator[None]:
    """Turn errors into one line that names the adapter."""
    try:
        with _quiet():
            yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        text = one_line(error, 250)
        kind = type(error)
        reason = text if kind in (UserError, ValueError) else f"{kind.__name__}: {text}"
        raise UserError(f"--adapter {name} {problem}: {reason}") from error
