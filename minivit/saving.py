"""minivit's ViT to a file and back: weights, configuration and a digest, in safetensors."""

from dataclasses import asdict

import torch

from minivit.model import ViT, ViTConfig, initial_positions
from minivit.runtime import uncompiled
from minivit.storage import read_tensors, write_tensors

MOST_TOKENS = 2**16  # that a file may ask for: an image of 4096 × 4096 pixels in patches of 16


def save_model(model, path) -> None:
    """Writes weights, configuration and a digest to one safetensors file: whole, or not at all.

    A model that torch.compile wrapped, or a part of it, is written as if it were not. Raises
    ValueError for a model of another library, for one whose fixed positions were changed, and for
    one whose weights are not those of its configuration (another head, say); OSError where the file
    can't be written.
    """
    model = uncompiled(model)
    if not isinstance(model, ViT):
        raise ValueError(f"{type(model).__name__} is not minivit's ViT; keep its state_dict")
    check_positions(model)
    weights = {n.replace("_orig_mod.", ""): v for n, v in model.state_dict().items()}
    shapes = {name: torch.empty_like(value, device="meta") for name, value in weights.items()}
    try:
        _check_fit(model.config, shapes)
    except ValueError as error:
        raise ValueError(f"the model was changed after it was made ({error})") from error
    write_tensors(path, weights, {"config": asdict(model.config)})


def check_positions(model):
    """Raises ValueError where fixed positions were changed: no file of weights has them."""
    with torch.device("cpu"):
        table = initial_positions(model.config).to(model.pos_embed)
    if model.config.positions == "sincos" and not torch.equal(model.pos_embed, table):
        raise ValueError("the fixed positions were changed; only 'sincos_learned' ones are saved")


def load_model(path) -> ViT:
    """Returns the ViT that `save_model` wrote, in eval mode, on the CPU, in float32.

    Raises ValueError where the file is damaged, was changed, or does not hold what it says. Files
    of other libraries are for `load_pretrained`.
    """
    tensors, metadata = read_tensors(path)
    try:
        return with_weights(ViTConfig(**metadata["config"]), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a model that save_model wrote ({error})") from error


def with_weights(config, weights):
    """Returns a ViT of this shape with these weights (a state_dict), in eval mode, on the CPU.

    Raises ValueError where they do not fit exactly, before any memory is taken: what a file says of
    itself may be wrong by any factor.
    """
    _check_fit(config, weights)
    # The constructor draws weights; none is kept.
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        model = ViT(config)
    model.load_state_dict(weights)
    return model.eval()


def _check_fit(config, weights):
    """Raises ValueError unless these weights are those of a ViT of this shape; takes no memory."""
    blocks = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    if config.depth != len(blocks):
        raise ValueError(f"depth is {config.depth}, but there are weights of {len(blocks)} blocks")
    if config.tokens > MOST_TOKENS:
        raise ValueError(f"{config.tokens} tokens of an image; at most {MOST_TOKENS} are accepted")
    try:
        with torch.device("meta"):
            ViT(config).load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, OverflowError) as error:
        # Names what is missing, unexpected or of another shape, in several lines.
        raise ValueError(" ".join(str(error).split())[:600]) from error
