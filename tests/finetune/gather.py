"""One process's part of a batch: the loss and the gradients, as DDP makes them. Run by torchrun."""

from __future__ import annotations

import sys

import torch
from torch import distributed

from demosearch.encoder.tensor_parallel import processes
from demosearch.finetune.settings import FinetuneSettings
from demosearch.finetune.trainable_model import build_model, contrastive_loss
from demosearch.models.known import Precision
from demosearch.models.options import LoadOptions
from demosearch.prompt import Prompt


def main(folder: str, out: str, mini_batch: int) -> None:
    """Write the mean loss and the averaged gradients of all processes."""
    rank = 0
    if processes() > 1:
        distributed.init_process_group("gloo")
        rank = distributed.get_rank()
    settings = FinetuneSettings(lora_r=4, lora_dropout=0, mini_batch_size=mini_batch or None)
    model = build_model(folder, Precision.FP32, "cpu", Prompt(), settings, LoadOptions())
    with torch.no_grad():
        # Fresh LoRA matrices are zero, and so would half of the gradients be.
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    loss = contrastive_loss(model, settings, processes())
    rows = [(f"a man {row} walks", f"somebody {row} walks", f"nobody {row}") for row in range(8)]
    part = len(rows) // processes()
    mine = rows[rank * part : (rank + 1) * part]
    features = [
        model.preprocess([Prompt().render(row[index]) for row in mine]) for index in range(3)
    ]
    value = loss(features, None)
    value.backward()
    value = value.detach()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    if processes() > 1:
        for tensor in (value, *gradients.values()):
            distributed.all_reduce(tensor)
            tensor /= processes()
    if rank == 0:
        torch.save({"loss": value, "gradients": gradients}, out)
    if processes() > 1:
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
