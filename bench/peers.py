# SPDX-License-Identifier: MIT
"""Times this engine and others side by side: same machine, same minute, same number of threads, batch 1. See README.md.

    python3 bench/peers.py [--nets vgg16,mobilenet_v2] [--threads 1,2] [--reps 15] [--ours ./cam_bench] [--json]

In a turn each contestant runs twice and its second run is timed; the minimum over all turns counts. So each has its own weights in
the caches and its threads awake, and a busy spell of the machine hits all alike. Weights are random: times do not depend on
them as long as they keep activations at an ordinary scale.
"""
import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT = (1, 3, 224, 224)
PAUSE = 0.01  # seconds before a turn's runs, in which the spinning threads of the contestant before go to sleep


class Graph:
    """An ONNX graph under construction; methods take and return names of values."""

    def __init__(self):
        self.random = np.random.default_rng(1)
        self.nodes, self.weights = [], []

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def normal(self, shape, scale):
        return self.weight(self.random.standard_normal(shape, np.float32) * np.float32(scale))

    def node(self, op, *inputs, **attributes):
        name = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def conv(self, x, channels_in, channels_out, size, stride=1, groups=1, bias=False):
        fan_in = channels_in // groups * size * size
        operands = [x, self.normal((channels_out, channels_in // groups, size, size), (2 / fan_in) ** 0.5)]
        if bias:
            operands.append(self.normal(channels_out, 0.1))
        return self.node("Conv", *operands, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4, group=groups)

    def batch_norm(self, x, channels):
        ones, zeros = np.ones(channels), np.zeros(channels)
        return self.node("BatchNormalization", x, *(self.weight(a) for a in (ones, zeros, zeros, ones)))

    def linear(self, x, features_in, features_out):
        w = self.normal((features_out, features_in), features_in ** -0.5)
        return self.node("Gemm", x, w, self.normal(features_out, 0.1), transB=1)

    def model(self, y):
        """The finished model, its last value named `logits`."""
        self.nodes[-1].output[0] = "logits"
        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "net", [value("image", INPUT)], [value("logits", (1, 1000))], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return model.SerializeToString()


def vgg16():
    """arXiv:1409.1556 table 1, column D."""
    g, x, channels = Graph(), "image", 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            x = g.node("Relu", g.conv(x, channels, width, 3, bias=True))
            channels = width
        x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.node("Flatten", x)
    x = g.node("Relu", g.linear(x, 512 * 7 * 7, 4096))
    x = g.node("Relu", g.linear(x, 4096, 4096))
    return g.model(g.linear(x, 4096, 1000))


def mobilenet_v2():
    """arXiv:1801.04381 table 2."""
    g = Graph()
    low, high = g.weight(np.array(0)), g.weight(np.array(6))

    def conv_bn(x, *shape, relu6=True, **options):
        x = g.batch_norm(g.conv(x, *shape, **options), shape[1])
        return g.node("Clip", x, low, high) if relu6 else x

    x, channels = conv_bn("image", 3, 32, 3, stride=2), 32
    for expansion, width, depth, first_stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                                  (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for stride in [first_stride] + [1] * (depth - 1):
            hidden = channels * expansion
            y = conv_bn(x, channels, hidden, 1) if expansion > 1 else x
            y = conv_bn(y, hidden, hidden, 3, stride=stride, groups=hidden)
            y = conv_bn(y, hidden, width, 1, relu6=False)
            x = g.node("Add", x, y) if stride == 1 and channels == width else y
            channels = width
    x = g.node("Flatten", g.node("GlobalAveragePool", conv_bn(x, channels, 1280, 1)))
    return g.model(g.linear(x, 1280, 1000))


NETS = {"vgg16": vgg16, "mobilenet_v2": mobilenet_v2}


def onnxruntime_peer(net, model, threads, image):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # after a run, not during it
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image})


def openvino_peer(net, model, threads, image):
    import openvino
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False})
    request = compiled.create_infer_request()
    return lambda: request.infer([image])


def torch_peer(net, model, threads, image):
    import torch
    import torchvision
    torch.set_num_threads(threads)
    module, x = getattr(torchvision.models, net)(weights=None).eval(), torch.from_numpy(image)

    def run():
        with torch.inference_mode():
            module(x)

    return run


PEERS = {"onnxruntime": onnxruntime_peer, "openvino": openvino_peer, "torch": torch_peer}


def timed(run):
    """`run` as a function that returns its milliseconds."""
    def measure():
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)

    return measure


class Ours:
    """cam_bench as a co-process: a command per line in, the milliseconds of that command per line out."""

    def __init__(self, program, net, threads):
        command = [program, "net", "--net", net, "--threads", str(threads), "--interactive"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        if self.line() != "ready":
            raise RuntimeError(f"{program} did not say `ready`")

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} ended with code {self.process.wait()}")
        return line.strip()

    def measure(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.line()
        try:
            return float(line)
        except ValueError:
            raise RuntimeError(f"{self.process.args[0]}: `{command}` gave '{line}', want milliseconds") from None

    def quit(self):
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.process.wait()


def interleave(contestants, reps):
    """The times of each contestant, in turns; the first turn is warm-up and does not count."""
    times = {name: [] for name in contestants}
    for turn in range(reps + 1):
        for name, measure in contestants.items():
            time.sleep(PAUSE)
            measure()
            ms = measure()
            if turn:
                times[name].append(ms)
    return times


def compare(net, model, threads, program, peers, reps):
    image = np.random.default_rng(2).standard_normal(INPUT, np.float32)
    contestants = {name: timed(PEERS[name](net, model, threads, image)) for name in peers}
    ours = Ours(program, net, threads) if program else None
    if ours:
        contestants = {"ours": lambda: ours.measure("run"), "ours cam": lambda: ours.measure("cam"), **contestants}
    load = os.getloadavg()[0]
    times = interleave(contestants, reps)
    if ours:
        ours.quit()
    return {"net": net, "threads": threads, "load": [load, os.getloadavg()[0]], "times_ms": times,
            "best_ms": {name: min(t) for name, t in times.items()}}


def cpu_model():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def our_version():
    command = ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine(program, peers):
    versions = {"ours": our_version()} if program else {}
    versions.update((name, importlib.metadata.version(name)) for name in peers)
    return {"cpu": cpu_model(), "processors": os.cpu_count(), "system": platform.platform(), "versions": versions}


def row(cells):
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, (14, 7, 12, 9, 11, 11)))


def print_result(result):
    """A line per contestant; the ratio is its time over ours."""
    best, load = result["best_ms"], "%.2f-%.2f" % tuple(result["load"])
    for name, ms in best.items():
        ratio = "%.2f" % (ms / best["ours"]) if "ours" in best else "-"
        print(row((result["net"], result["threads"], name, "%.2f" % ms, ratio, load)), flush=True)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--nets", default=",".join(NETS), help="of " + ", ".join(NETS))
    p.add_argument("--threads", default="1,2")
    p.add_argument("--peers", default="", help="of " + ", ".join(PEERS) + "; default: those that are installed")
    p.add_argument("--reps", type=int, default=15, help="turns that count, at least 7")
    p.add_argument("--ours", default="./cam_bench", help="the program; empty: time the peers alone")
    p.add_argument("--json", action="store_true", help="one JSON object with every single time")
    args = p.parse_args()
    args.nets, args.threads = args.nets.split(","), [int(t) for t in args.threads.split(",")]
    installed = [name for name in PEERS if importlib.util.find_spec(name)]
    args.peers = args.peers.split(",") if args.peers else installed
    if unknown := [n for n in args.nets if n not in NETS] + [n for n in args.peers if n not in installed]:
        p.error(f"{', '.join(unknown)}: no such network, or a peer that is not installed")
    if args.reps < 7:
        p.error("--reps: want at least 7, fewer say little about a minimum")
    if args.ours and not os.access(args.ours, os.X_OK):
        p.error(f"--ours: no program {args.ours}; build it, or give --ours '' to time the peers alone")
    return args


def main():
    args = arguments()
    about, results = machine(args.ours, args.peers), []
    if not args.json:
        print(about["cpu"], "x", about["processors"], about["system"], *("%s %s" % v for v in about["versions"].items()), sep="  ")
        print(row(("network", "threads", "who", "best ms", "over ours", "load")))
    for net in args.nets:
        model = NETS[net]()
        for threads in args.threads:
            results.append(compare(net, model, threads, args.ours, args.peers, args.reps))
            if not args.json:
                print_result(results[-1])
    if args.json:
        print(json.dumps({**about, "results": results}))


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"peers.py: {error}")
