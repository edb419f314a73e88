#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What PyTorch, NumPy and safetensors write, cam_convert must read to the bit; what it writes, they must read to the bit.

    tests/weights/roundtrip.py [NET ...]        after make; needs torch, torchvision, timm, safetensors, numpy
Ends with "N passed, N failed". Values are random, from a fixed seed; files are made in a temporary folder and removed at once.
"""
import collections, json, os, struct, subprocess, sys, tempfile, warnings, zipfile, zlib
import numpy, torch, torchvision, timm
from safetensors.torch import load_file, save_file

warnings.filterwarnings("ignore")
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CONVERT = os.path.join(TOP, "cam_convert")
TORCHVISION = ["resnet18", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "mobilenet_v2", "vgg16", "efficientnet_b0"]
TIMM = {"swin_" + s: f"swin_{s}_patch4_window7_224" for s in ("tiny", "small", "base", "large")} | {"deit_base": "deit_base_patch16_224"}
VARIED = ["mobilenet_v2", "resnet18", "swin_tiny"]  # the ones that are tried in every dtype and shape of storage
passed = failed = 0


def check(what, right, detail=""):
    global passed, failed
    passed, failed = passed + bool(right), failed + (not right)
    if not right:
        print(f"FAIL {what} {detail}", flush=True)


def state_of(net, seed=1):
    """A state dict as PyTorch's own, _metadata included, with random numbers in it."""
    with torch.device("meta"):
        model = timm.create_model(TIMM[net]) if net in TIMM else getattr(torchvision.models, net)(weights=None)
    state, random = model.state_dict(), torch.Generator().manual_seed(seed)
    for key, t in state.items():
        if t.is_floating_point():
            value = torch.empty(t.shape).uniform_(0.5 if key.endswith("running_var") else -1, 1, generator=random)
        else:
            value = torch.randint(0, 100, t.shape, generator=random).to(t.dtype)
        state[key] = value
    return state


def convert(*args):
    run = subprocess.run([CONVERT, *args], capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr.strip()


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))


def compare(what, state, got):
    wrong = sorted(set(state) ^ set(got)) or [k for k in state if not same_bits(state[k], got[k])]
    check(what, not wrong, f"{len(wrong)} tensors differ, the first is {wrong[:1]}")


def read_camw(path):
    """The format as weights/README.md specifies it, written down once more."""
    with open(path, "rb") as file:
        data = file.read()
    magic, version, crc, size, begin, count, names, text = struct.unpack_from("<8sIIQQIII", data)
    assert magic == b"\x89CAMW\r\n\x1a" and version == 1 and size == len(data) and begin % 64 == 0
    assert data[44:64] == bytes(20) and zlib.crc32(data[16:begin]) == crc
    name_at = 64 + 96 * count
    tensors = {}
    for i in range(count):
        offset, *rest = struct.unpack_from("<9QIIBB14s", data, 64 + 96 * i)
        dim, name, check_sum, dtype, rank = rest[:8], *rest[8:12]
        shape, kind = dim[:rank], {1: torch.float32, 2: torch.float16, 3: torch.bfloat16}[dtype]
        nbytes = int(numpy.prod(shape)) * kind.itemsize
        key = data[name_at + name:data.index(b"\0", name_at + name)].decode()
        assert offset % 64 == 0 and zlib.crc32(data[offset:offset + nbytes]) == check_sum
        tensors[key] = torch.frombuffer(bytearray(data[offset:offset + nbytes]), dtype=kind).reshape(shape)
    return tensors, json.loads(data[name_at + names:name_at + names + text])


def write_zip(state, path): torch.save(state, path)
def write_legacy(state, path): torch.save(state, path, _use_new_zipfile_serialization=False)
def write_safetensors(state, path): save_file({k: v.contiguous() for k, v in state.items()}, path)


def write_deflated(state, path):
    torch.save(state, path + ".stored")
    with zipfile.ZipFile(path + ".stored") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    os.remove(path + ".stored")


def write_npz(state, path):
    with open(path, "wb") as file:
        numpy.savez_compressed(file, **{k: v.numpy() for k, v in state.items()})


def write_npz_fortran(state, path):
    with open(path, "wb") as file:
        numpy.savez(file, **{k: numpy.asfortranarray(v.numpy()) if v.dim() else v.numpy() for k, v in state.items()})


def write_shards(state, path):
    keys, shards = list(state), 3
    names = {k: f"model-{1 + i * shards // len(keys):05}-of-{shards:05}.safetensors" for i, k in enumerate(keys)}
    for shard in set(names.values()):
        save_file({k: state[k].contiguous() for k in keys if names[k] == shard}, os.path.join(os.path.dirname(path), shard))
    with open(path, "w") as file:
        json.dump({"metadata": {"total_size": 0}, "weight_map": names}, file)


FORMATS = {"zip": write_zip, "legacy": write_legacy, "safetensors": write_safetensors}
MORE = {"deflated": write_deflated, "npz": write_npz, "npz-fortran": write_npz_fortran, "shards": write_shards}


def round_trip(what, state, write, folder, written=None):
    """Written by Python, converted to .safetensors as it is, and read by Python: every tensor."""
    source, target = os.path.join(folder, "source"), os.path.join(folder, "target.safetensors")
    write(written or state, source)
    code, _, why = convert("--to", "safetensors", "-o", target, source)
    check(what + " is read", code == 0, why)
    if code == 0:
        compare(what, state, load_file(target))
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))


def camw_and_back(net, state, folder, *options, wanted=lambda t: t.to(torch.float32)):
    """To .camw for the network, read by the Python above; and from there to .safetensors."""
    source, camw, back = (os.path.join(folder, n) for n in ("source.pth", "weights.camw", "back.safetensors"))
    what = " ".join((net, "camw", *options))
    torch.save(state, source)
    code, out, why = convert("--net", "auto", "--json", "-o", camw, *options, source)
    check(what + " is written", code == 0, why)
    if code:
        return
    report, (tensors, metadata) = json.loads(out), read_camw(camw)
    used = {u["name"]: state[u["from"]] for u in report["used"]}
    compare(what, {k: wanted(t).reshape(tensors[k].shape) if t.dim() > 1 else t.to(torch.float32) for k, t in used.items()}, tensors)
    check(what + " metadata", metadata["net"] == net and len(metadata["classes"]) == 1000 and metadata["origins"][0]["name"] == "source.pth")
    check(what + " is whole", convert("--verify", camw)[0] == 0)
    code, _, why = convert("--to", "safetensors", "-o", back, camw)
    check(what + " to safetensors", code == 0, why)
    compare(what + " and back", tensors, load_file(back))
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))


def strided(state):
    """The same numbers, lying in their storages in other ways: axes reversed, every second element, all in one storage, shared."""
    out, ways = collections.OrderedDict(), 4
    flat = torch.cat([t.reshape(-1).float() for t in state.values()])
    at = 0
    for i, (key, t) in enumerate(state.items()):
        n = t.numel()
        if i % ways == 0 and t.dim() > 1:
            axes = list(range(t.dim()))[::-1]
            out[key] = t.permute(axes).contiguous().permute(axes)
        elif i % ways == 1 and t.dim() > 0 and t.dtype == torch.float32:
            wide = torch.zeros(*t.shape[:-1], 2 * t.shape[-1] + 3)
            wide[..., 3::2] = t
            out[key] = wide[..., 3::2]
        elif i % ways == 2 and t.dtype == torch.float32:
            out[key] = flat[at:at + n].reshape(t.shape)
        else:
            out[key] = t
        at += n
    out["shared.first"] = out["shared.second"] = torch.arange(12.0).reshape(3, 4)
    out["shared.column"] = out["shared.first"][:, 1]
    out["expanded"] = torch.tensor([7.0]).expand(2, 3)
    return out


def variants(net, folder):
    state = state_of(net)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        cast = collections.OrderedDict((k, v.to(dtype) if v.is_floating_point() else v) for k, v in state.items())
        for name, write in FORMATS.items():
            round_trip(f"{net} {dtype} {name}", cast, write, folder)
    for name, write in MORE.items():
        round_trip(f"{net} {name}", state, write, folder)
    for name in ("zip", "legacy"):
        round_trip(f"{net} strided {name}", strided(state), FORMATS[name], folder)
        write, other = FORMATS[name], state_of(net, 2)
        for nest in ({"model": state, "epoch": 9, "args": {"lr": 0.1}}, {"state_dict": state, "optimizer": {"state": {}, "lr": [1e-3]}}):
            round_trip(f"{net} nested {name}", state, write, folder, nest)
        path, target = os.path.join(folder, "ema.pth"), os.path.join(folder, "ema.safetensors")
        write({"model": state, "model_ema": other}, path)
        check(f"{net} ema {name}", convert("--ema", "--to", "safetensors", "-o", target, path)[0] == 0)
        compare(f"{net} ema {name}", other, load_file(target))
        os.remove(path), os.remove(target)
    parallel = collections.OrderedDict(("module." + k, v) for k, v in state.items())
    camw_and_back(net, parallel, folder)
    camw_and_back(net, state, folder, "--dtype", "f16", wanted=lambda t: t.to(torch.float16))
    camw_and_back(net, state, folder, "--dtype", "bf16", wanted=lambda t: t.to(torch.bfloat16))


def folding(folder):
    """--fold-bn gives a file that PyTorch's network takes, and that computes the same."""
    state = state_of("resnet18")
    for key, t in state.items():
        if t.dim() > 1:
            t /= t[0].numel() ** 0.5
    source, target = os.path.join(folder, "a.pth"), os.path.join(folder, "b.safetensors")
    torch.save(state, source)
    check("folding", convert("--net", "resnet18", "--fold-bn", "--to", "safetensors", "-o", target, source)[0] == 0)
    model, x = torchvision.models.resnet18(weights=None).double().eval(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    model.load_state_dict(state)
    before, missing = model(x), model.load_state_dict(load_file(target), strict=False).missing_keys
    check("folding keeps the keys", all(k.endswith("num_batches_tracked") for k in missing))
    error = ((model(x) - before).abs().max() / before.abs().max()).item()
    check("folding keeps the function", error < 1e-5, f"relative error {error}")


def main():
    nets = sys.argv[1:] or TORCHVISION + list(TIMM)
    for net in nets:
        with tempfile.TemporaryDirectory() as folder:
            state = state_of(net)
            for name, write in FORMATS.items():
                round_trip(f"{net} {name}", state, write, folder)
            camw_and_back(net, state, folder)
            if net in VARIED:
                variants(net, folder)
            if net == "resnet18":
                folding(folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
