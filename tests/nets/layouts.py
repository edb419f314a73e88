#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Untrained networks of timm and torchvision, in their own layouts, through cam_run --net auto: the logits must be theirs.

usage: tests/nets/layouts.py [CAM_RUN]        needs torch, torchvision, timm, safetensors, numpy. Ends with "N passed, N failed".
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy
import safetensors.torch
import timm
import torch
import torchvision

CASES = [(library, name, net) for library, names in {
    "timm": {"mobilenetv2_100": "mobilenet_v2", "efficientnet_b0": "efficientnet_b0", "vgg16": "vgg16", "resnet18": "resnet18", "resnet50": "resnet50",
             "resnext50_32x4d": "resnext50_32x4d", "swin_tiny_patch4_window7_224": "swin_tiny", "deit_base_patch16_224": "deit_base"},
    "torchvision": {"mobilenet_v2": "mobilenet_v2", "efficientnet_b0": "efficientnet_b0", "vgg16": "vgg16", "swin_t": "swin_tiny", "vit_b_16": "deit_base"},
}.items() for name, net in names.items()]


def randomise(model):
    """Statistics and small parameters too, so that none of them may be mistaken for another."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, t in model.state_dict().items():
            if t.dim() == 1 and t.is_floating_point():
                low = 0.5 if name.endswith(("running_var", ".weight")) else -0.2
                t.copy_(low + 0.4 * torch.rand(t.shape, generator=g))
            elif t.is_floating_point():
                t.copy_(torch.randn(t.shape, generator=g) * (2 / max(1, t[0].numel())) ** 0.5)


def check(cam_run, library, name, net, folder):
    make = (lambda n: timm.create_model(n, num_classes=7)) if library == "timm" else (lambda n: torchvision.models.get_model(n, num_classes=7))
    model = make(name).eval()
    randomise(model)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    numpy.save(f"{folder}/x.npy", x.numpy())
    safetensors.torch.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{folder}/w.safetensors")
    run = subprocess.run([cam_run, "--net", "auto", "--weights", f"{folder}/w.safetensors", "--input-tensor", f"{folder}/x.npy", "--method", "gradcam", "--dump",
                    f"{folder}/out.safetensors", "--json", "--quiet"], check=True, capture_output=True)
    with torch.no_grad():
        want = model.double()(x.double()).float()
    got = safetensors.torch.load_file(f"{folder}/out.safetensors")["logits"]
    error = float((got - want).abs().max() / want.abs().max())
    print(f"{library} {name} as {net}: largest difference {error:.1e} of the largest logit")
    return error < 1e-4 and json.loads(run.stdout)["net"] == net


def main():
    cam_run = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "cam_run")
    passed = failed = 0
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                good = check(cam_run, *case, folder)
            except subprocess.CalledProcessError as e:
                good = print(" ".join(case), e.stderr.decode())
        passed, failed = passed + bool(good), failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    raise SystemExit(main())
