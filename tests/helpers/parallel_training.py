"""One of two processes that train a net of blocks together; it is given its rank and a file.

Each draws gates of its own, so that a branch is dropped here and computed there.
"""

import sys
from datetime import timedelta

import torch
import torch.distributed
from torch import nn

from lib.layers import FractalBlock, StochasticDepth


def main(rank, file):
    rank = int(rank)
    store = torch.distributed.FileStore(file, 2)
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=2, timeout=timedelta(minutes=5)
    )
    torch.manual_seed(0)
    net = nn.Sequential(
        StochasticDepth(nn.Linear(3, 3), 0.5, skip=False),
        FractalBlock(lambda: nn.Linear(3, 3), 2, skip=False),
    )
    parallel = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    torch.manual_seed(rank)
    for _ in range(20):
        optimizer.zero_grad()
        parallel(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
    print([round(w.sum().item(), 5) for w in net.parameters()])
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
