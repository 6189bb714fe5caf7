"""A whole training step as one launch: recorded once as a CUDA graph, then replayed.

A step of a ViT-Tiny is a long list of small kernels. Where a CPU needs longer to launch one than
the GPU to run it, the GPU waits (benchmarks/RESULTS.md has what that costs). A graph holds all of
them, with their addresses, and is launched as a whole (Gray 2019, "Getting Started with CUDA
Graphs", NVIDIA). So whatever changes from step to step must change in place: the batch and the
learning rate here, weights and moments anyway.
"""

import torch

WARMUP = 3  # steps before the recording: they compile, and fill the optimizer's state


class GraphedStep:
    """Calls step(images, targets) → loss on CUDA, from the fourth call on as a replay.

    step: takes one training step and returns the loss. It must do the same work at each call, wait
    for nothing on the CPU and change tensors in place only; AdamW needs `capturable=True` and its
    learning rate in a tensor. All batches must have one shape. Every call is one step, the first
    ones too. The loss that comes back is overwritten by the next call. Raises ValueError for a
    batch of another shape than the recorded one.
    """

    def __init__(self, step):
        self.step, self.calls, self.graph = step, 0, None
        self.aside = torch.cuda.Stream()

    def __call__(self, images, targets):
        self.calls += 1
        if self.calls <= WARMUP:
            return self._aside(images, targets)
        if self.graph is None:
            self._record(images, targets)
        if images.shape != self.images.shape:  # copy_ would repeat a batch of one
            found, recorded = tuple(images.shape), tuple(self.images.shape)
            raise ValueError(f"a batch of {found}; the recorded step takes {recorded}")
        self.images.copy_(images)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss

    def _aside(self, images, targets):
        # Not on the default stream, which a recording may not touch (torch's notes on CUDA graphs).
        here = torch.cuda.current_stream()
        self.aside.wait_stream(here)
        with torch.cuda.stream(self.aside):
            loss = self.step(images, targets)
        here.wait_stream(self.aside)
        return loss

    def _record(self, images, targets):
        """Records a step without taking it."""
        self.images, self.targets = images.clone(), targets.clone()
        self.graph = torch.cuda.CUDAGraph()
        # Other threads of the process, a DataLoader's for instance, may go on meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.loss = self.step(self.images, self.targets)
