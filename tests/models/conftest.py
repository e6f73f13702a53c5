"""Where these packages are not installed, there is nothing to collect."""

from importlib.util import find_spec

import torch

PACKAGES = ("torchvision", "timm", "transformers")
collect_ignore_glob = [] if all(map(find_spec, PACKAGES)) else ["test_*.py"]

if not collect_ignore_glob and torch.version.cuda is None:
    # The torchvision of PyPI is built for CUDA, and asks a torch without it for two operations of
    # its own when it is imported. No model here uses them.
    OPERATIONS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATIONS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
