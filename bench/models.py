# SPDX-License-Identifier: MIT
"""The networks as others run them, with the seeded weights of weights/README.md: PyTorch modules, and files that every engine reads.

    python3 bench/models.py [NET ...]      writes build-peers/NET.onnx and NET.safetensors (all networks: 5 GB)
"""
import json
import os
import sys
import warnings

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "..", "build-peers")
TORCHVISION = ("resnet18", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "mobilenet_v2", "vgg16", "efficientnet_b0")
TIMM = {"swin_tiny": "swin_tiny_patch4_window7_224", "swin_small": "swin_small_patch4_window7_224",
        "swin_base": "swin_base_patch4_window7_224", "swin_large": "swin_large_patch4_window7_224"}
NETS = TORCHVISION + tuple(TIMM)
INPUT = (1, 3, 224, 224)
STEP = np.uint64(0x9E3779B97F4A7C15)


def uniform(stream, n, seed=1):
    """n numbers in [-1, 1) from the hash of weights/seeded.c."""
    h = 0xCBF29CE484222325
    for byte in stream.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = (np.uint64(h) ^ (np.uint64(seed) * STEP)) + np.arange(1, n + 1, dtype=np.uint64) * STEP
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) * 2.0 ** -23 - 1.0


def seeded(net, key, shape):
    """One floating-point entry of the seeded checkpoint, batch norm's statistics excepted."""
    u, leaf, fan_in = uniform(f"{net}/{key}", int(np.prod(shape))), key.rsplit(".", 1)[-1], float(np.prod(shape[1:]))
    if leaf == "relative_position_bias_table":
        value = u
    elif len(shape) >= 2:
        value = np.sqrt(3.0 * (2.0 if len(shape) == 4 else 36.0 if shape[0] == 1000 else 1.0) / fan_in) * u
    elif leaf == "weight":
        value = (0.25 if key.endswith("bn3.weight") else 1) * (1 + 0.25 * u)
    else:
        value = 0.2 * u
    return value.astype(np.float32).reshape(shape)


def image(seed):
    """The seeded input `seeded-image:SEED`, [1, 3, 224, 224]."""
    out, at = np.empty(INPUT, np.float32), np.arange(224) * 7.0 / 223
    i = np.minimum(np.floor(at), 6.0).astype(int)
    f = at - i
    for c in range(3):
        grid = uniform(f"input/grid/{c}", 64, seed).reshape(8, 8)
        across = grid[:, i] * (1 - f) + grid[:, i + 1] * f
        smooth = across[i] * (1 - f)[:, None] + across[i + 1] * f[:, None]
        out[0, c] = 1.5 * smooth + 0.3 * uniform(f"input/noise/{c}", 224 * 224, seed).reshape(224, 224)
    return out


def skeleton(net):
    """The PyTorch module in eval mode, its weights whatever they are."""
    if net in TIMM:
        import timm
        return timm.create_model(TIMM[net], pretrained=False).eval()
    import torchvision
    return getattr(torchvision.models, net)(weights=None).eval()


def module(net):
    """The same with the weights of build-peers/NET.safetensors."""
    from safetensors.torch import load_file
    model = skeleton(net)
    model.load_state_dict(load_file(path(net, "safetensors")), strict=False)
    return model


def path(net, kind):
    return os.path.join(FOLDER, f"{net}.{kind}")


def make(net):
    """Writes the two files of a network unless they are there."""
    if os.path.exists(path(net, "onnx")):
        return
    import torch
    from safetensors.torch import load_file, save_file
    os.makedirs(FOLDER, exist_ok=True)
    model, statistics = skeleton(net), os.path.join(HERE, "..", "weights", "seeded_statistics", net + ".safetensors")
    state = load_file(statistics) if os.path.exists(statistics) else {}
    for key, value in model.state_dict().items():
        if key not in state and value.is_floating_point() and not key.endswith("attn_mask"):
            state[key] = torch.from_numpy(seeded(net, key, tuple(value.shape)))
    model.load_state_dict(state, strict=False)
    save_file({key: value.contiguous() for key, value in state.items()}, path(net, "safetensors"))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.from_numpy(image(1)),), path(net, "onnx") + ".part", dynamo=False, opset_version=17,
                          input_names=["image"], output_names=["logits"])
    os.rename(path(net, "onnx") + ".part", path(net, "onnx"))


if __name__ == "__main__":
    for name in sys.argv[1:] or NETS:
        make(name)
        print(json.dumps({"net": name, "onnx": os.path.getsize(path(name, "onnx"))}), flush=True)
