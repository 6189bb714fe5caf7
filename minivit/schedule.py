"""How fast each weight is trained: the learning rate's course, and what weight decay spares."""

import math

# What timm and torchvision call the parameters that belong to no layer; they never decay.
POSITION_TABLES = ("pos_embed", "pos_embedding")
OF_NO_LAYER = (*POSITION_TABLES, "cls_token", "class_token")


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rate at `step`, counted from 0.

    Rises in equal parts from 1/warmup at step 0 to 1 at step warmup − 1, is 1 once more at step
    warmup, then falls as a half cosine to 0 at `steps`, one past the last step.
    """
    if not 0 <= warmup < steps or not 0 <= step <= steps:
        raise ValueError(f"needs 0 ≤ step {step} ≤ steps {steps} and 0 ≤ warmup {warmup} < steps")
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def decay_groups(model, weight_decay):
    """Returns AdamW's two parameter groups, with and without weight decay.

    Matrices decay; biases, norms, positions and the class token do not; frozen parameters are in
    neither. Raises ValueError where all are frozen.
    """
    groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        spared = parameter.ndim < 2 or name.rpartition(".")[2] in OF_NO_LAYER
        if parameter.requires_grad:
            groups[spared]["params"].append(parameter)
    if not any(group["params"] for group in groups):
        raise ValueError("every parameter of the model is frozen; there is nothing to train")
    return groups
