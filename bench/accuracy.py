# SPDX-License-Identifier: MIT
"""How far logits are from double precision: ours, PyTorch's, onnxruntime's and OpenVINO's, all in single precision, on the same seeded weights and images.

    python3 bench/accuracy.py [NET ...]         a Markdown table: root mean square of the error over that of the logits
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

import models
import peers

SEEDS = (1, 2, 3)
PROGRAM = os.path.join(models.HERE, "..", "cam_run")


def ours(net, seed):
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, "dump.safetensors")
        subprocess.run([PROGRAM, "--net", net, "--weights", models.path(net, "safetensors"), "--input-tensor", f"seeded-image:{seed}", "--dump", dump, "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)
        return load_file(dump)["logits"]


def errors(net):
    """One relative error per engine, over all images."""
    import torch
    images = [models.image(seed) for seed in SEEDS]
    with torch.inference_mode():
        module = models.module(net).double()
        truth = np.stack([module(torch.from_numpy(x).double()).numpy() for x in images])
    results = {"ours": [ours(net, seed) for seed in SEEDS]}
    for name in ("torch", "onnxruntime", "openvino"):
        image = np.empty_like(images[0])
        run = peers.PEERS[name](net, 1, image)
        results[name] = []
        for x in images:
            image[...] = x
            results[name].append(np.array(run()))
    return {name: np.sqrt(((np.stack(y).reshape(truth.shape) - truth) ** 2).mean() / (truth ** 2).mean()) for name, y in results.items()}


def main():
    names = ("ours", "torch", "onnxruntime", "openvino")
    print("| network | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for net in sys.argv[1:] or models.NETS:
        models.make(net)
        error = errors(net)
        print(f"| {net} | " + " | ".join("%.2e" % error[name] for name in names) + " |", flush=True)


if __name__ == "__main__":
    main()
