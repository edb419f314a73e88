# SPDX-License-Identifier: MIT
"""Thins the golden files of the seeded networks to extracts small enough to be committed. README.md says how to read them.

    python3 extract.py FOLDER [NET ...]      FOLDER holds seeded/NET.safetensors and methods/NET.safetensors; writes NET.safetensors
                                             and methods/NET.safetensors beside this script

Of an entry that is sampled (it has NAME.shape) every THIN-th sample is kept; maps of the input's size are sampled first, as the others were:
every (n div 512)-th value, the first 512. Everything else is kept whole.
"""
import json
import os
import re
import struct
import sys

import numpy as np

NETS = ("resnet18", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "vgg16", "mobilenet_v2", "efficientnet_b0", "swin_tiny", "swin_small", "swin_base",
        "swin_large", "deit_base")
METHODS = ("resnet18", "vgg16", "mobilenet_v2", "swin_tiny")
THIN = 8
SAMPLES = 512
INPUT = 224
DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}


def read(path):
    """Arrays by name and the metadata of a safetensors file."""
    with open(path, "rb") as f:
        data = f.read()
    (size,) = struct.unpack("<Q", data[:8])
    header, data = json.loads(data[8:8 + size]), data[8 + size:]
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata


def write(path, arrays, metadata):
    """The same arrays give the same bytes: 8-byte types first, so that all data is aligned, then by name."""
    names = {np.dtype(code): name for name, code in DTYPES.items()}
    header, offset, chunks = {"__metadata__": dict(sorted(metadata.items()))}, 0, []
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
        chunks.append(np.ascontiguousarray(array).tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def compact(array):
    """As float32 where that moves it by less than 1e-7 of its norm, a twentieth of what the yardstick always allows."""
    single = array.astype("<f4")
    moved = np.linalg.norm(single.astype(np.float64) - array)
    return single if moved <= 1e-7 * np.linalg.norm(array) else array


def is_game(name):
    """Shapley values, their companions and players: few numbers, kept as they are."""
    return re.search(r"/(shapley|players)\d", name) is not None


def sample(arrays):
    """Maps of the input's size with companions .shape and .summary, thinned to SAMPLES values."""
    out = dict(arrays)
    for name, array in arrays.items():
        if array.shape[-1:] != (INPUT,):
            continue
        flat = array.astype(np.float64).ravel()
        out[name] = flat[:: flat.size // SAMPLES][:SAMPLES]
        out[name + ".shape"] = np.array([1, *array.shape], "<i8")
        out[name + ".summary"] = np.array([np.linalg.norm(flat), flat.mean(), np.abs(flat).max()])
        error = arrays[name + ".f32err"]
        out[name + ".f32err"] = np.array([*error[:2], error[2] * np.sqrt(SAMPLES / flat.size), np.linalg.norm(out[name])])
    return out


def extract(arrays):
    arrays = sample(arrays)
    out = {"thin": np.array([THIN], "<i8")}
    for name, array in arrays.items():
        if is_game(name):
            out[name] = array
        if name + ".f32err" not in arrays or is_game(name):
            continue  # a companion: .f32err, .spread, .summary, .shape
        sampled = name + ".shape" in arrays
        kept = array[::THIN] if sampled else array
        part = np.sqrt(kept.size / array.size)  # of an L2 error that is spread evenly over the samples
        error_max, _, error_norm, _ = arrays[name + ".f32err"]
        out[name] = compact(kept)
        out[name + ".f32err"] = np.array([error_max, np.abs(kept).max(), part * error_norm, np.linalg.norm(kept)])
        if name + ".spread" in arrays:
            out[name + ".spread"] = part * arrays[name + ".spread"]
        if sampled:
            out[name + ".summary"] = arrays[name + ".summary"]
            out[name + ".shape"] = arrays[name + ".shape"]
    return out


def main(folder, nets):
    here = os.path.dirname(os.path.abspath(__file__))
    for kind, to, all_nets in (("seeded", here, NETS), ("methods", os.path.join(here, "methods"), METHODS)):
        os.makedirs(to, exist_ok=True)
        for net in all_nets:
            if nets and net not in nets:
                continue
            arrays, metadata = read(os.path.join(folder, kind, net + ".safetensors"))
            path = os.path.join(to, net + ".safetensors")
            write(path, extract(arrays), metadata)
            print(kind, net, os.path.getsize(path), "bytes")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
