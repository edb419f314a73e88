# SPDX-License-Identifier: MIT
"""Times this engine and others side by side: same machine, same minute, same weights, same number of threads, batch 1. See README.md.

    python3 bench/peers.py [--nets vgg16,mobilenet_v2] [--threads 1,2] [--reps 15] [--csv FILE]
    python3 bench/peers.py --table FILE         the table of earlier results

In a turn each contestant runs twice and its second run is timed; the minimum over all turns counts. So each has its own weights in
the caches and its threads awake, and a busy spell of the machine hits all alike.
"""
import argparse
import csv
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time

import numpy as np

import models

PAUSE = 0.01  # seconds before a turn's runs, in which the spinning threads of the contestant before go to sleep
HERE = os.path.abspath(__file__)
COLUMNS = ("net", "threads", "who", "best_ms", "median_ms", "reps", "first_ms", "resident_mb", "load_before", "load_after", "version", "machine")


def onnxruntime_peer(net, threads, image):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # after a run, not during it
    session = onnxruntime.InferenceSession(models.path(net, "onnx"), options, ["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image})[0]


def openvino_peer(net, threads, image):
    import openvino
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(models.path(net, "onnx")), "CPU", {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",  # its default is bf16 where the processor has it
        "ENABLE_CPU_PINNING": False})
    request = compiled.create_infer_request()
    return lambda: request.infer([image])[0]


def torch_peer(net, threads, image, layout="contiguous_format"):
    import torch
    torch.set_num_threads(threads)
    layout = getattr(torch, layout)
    module, x = models.module(net).to(memory_format=layout), torch.from_numpy(image).to(memory_format=layout)

    def run():
        with torch.inference_mode():
            return module(x).numpy()

    return run


def torch_channels_last_peer(net, threads, image):
    return torch_peer(net, threads, image, "channels_last")


PEERS = {"onnxruntime": onnxruntime_peer, "openvino": openvino_peer, "torch": torch_peer, "torch-channels-last": torch_channels_last_peer}


def package(peer):
    return peer.split("-")[0]


def timed(run):
    """`run` as a function that returns its milliseconds."""
    def measure():
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)

    return measure


class Child:
    """A process that says `ready` when it has its first result; cam_bench then answers each line with milliseconds."""

    def __init__(self, command, threads):
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        if self.line() != "ready":
            raise RuntimeError(f"{command[0]} did not say `ready`")
        self.first_ms = 1e3 * (time.perf_counter() - self.started)

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} ended with code {self.process.wait()}")
        return line.strip()

    def measure(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return float(self.line())

    def resident_mb(self):
        """The largest so far."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))

    def quit(self):
        self.process.stdin.close()
        self.process.wait()


def ours(program, net, threads):
    return Child([program, "net", "--net", net, "--weights", models.path(net, "safetensors"), "--threads", str(threads), "--interactive"], threads)


def first_result(who, net, threads, program):
    """Milliseconds from start to the first result, and memory by then; the faster of two, so that files are in the page cache."""
    results = []
    for _ in range(2):
        child = ours(program, net, threads) if who == "ours" else \
            Child([sys.executable, HERE, "--first", who, "--nets", net, "--threads", str(threads)], threads)
        results.append((child.first_ms, child.resident_mb()))
        child.quit()
    return min(results)


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


def same_network(runs):
    """Peers that compute something else are no peers."""
    results = {name: run() for name, run in runs.items()}
    for name, y in results.items():
        for other, z in results.items():
            if np.abs(y - z).max() > 1e-3 * np.abs(z).max():
                raise RuntimeError(f"{name} and {other} disagree")


def compare(net, threads, args):
    """One row for each contestant."""
    image = models.image(1)
    runs = {name: PEERS[name](net, threads, image) for name in args.peers}
    same_network(runs)
    contestants = {name: timed(run) for name, run in runs.items()}
    child = ours(args.ours, net, threads) if args.ours else None
    if child:
        contestants = {"ours": lambda: child.measure("run"), "ours cam": lambda: child.measure("cam"),
                       "ours cam conv": lambda: child.measure("conv"), **contestants}
    load = os.getloadavg()[0]
    times = interleave(contestants, args.reps)
    load = [load, os.getloadavg()[0]]
    if child:
        child.quit()
    for who, t in times.items():
        first, resident = first_result(who, net, threads, args.ours) if args.start and not who.startswith("ours ") else ("", "")
        version = our_version() if who.startswith("ours") else importlib.metadata.version(package(who))
        yield dict(zip(COLUMNS, (net, threads, who, min(t), float(np.median(t)), args.reps, first, resident, *load, version, machine())))


def cpu_model():
    """Family, model and stepping too: names of virtual processors say little."""
    try:
        with open("/proc/cpuinfo") as f:
            about = dict(line.strip().split("\t: ", 1) for line in f.read().split("\n\n")[0].replace("\t\t", "\t").splitlines() if "\t: " in line)
        return "%s family %s model %s stepping %s" % tuple(about[key] for key in ("model name", "cpu family", "model", "stepping"))
    except (OSError, KeyError, IndexError):
        return platform.processor() or platform.machine()


def machine():
    return f"{cpu_model()}, {os.cpu_count()} processors, {platform.platform()}"


def our_version():
    command = ["git", "-C", os.path.dirname(HERE), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cell(row, key, form="%.2f"):
    return form % float(row[key]) if row and row[key] not in ("", None) else "-"


def table(rows):
    """Markdown: a line per network and number of threads; the latest result counts."""
    latest = {}
    for row in rows:
        latest.setdefault((row["net"], int(row["threads"])), {})[row["who"]] = row
    head = ("network", "threads", "ours", *PEERS, "ours / best peer", "map / ours", "conv map / ours", "first result: ours", *PEERS, "MB: ours", *PEERS, "load")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for (net, threads), who in latest.items():
        best = min((float(who[p]["best_ms"]) for p in PEERS if p in who), default=None)
        own = float(who["ours"]["best_ms"]) if "ours" in who else None
        ratio = lambda key: "%.3f" % (float(who[key]["best_ms"]) / own) if own and key in who else "-"
        print("| " + " | ".join((
            net, str(threads), *(cell(who.get(p), "best_ms") for p in ("ours", *PEERS)), "**%.3f**" % (own / best) if own and best else "-",
            ratio("ours cam"), ratio("ours cam conv"), *(cell(who.get(p), "first_ms", "%.0f") for p in ("ours", *PEERS)),
            *(cell(who.get(p), "resident_mb", "%.0f") for p in ("ours", *PEERS)),
            "-".join(cell(next(iter(who.values())), key) for key in ("load_before", "load_after")))) + " |")
    print("\nMilliseconds, the shortest of at least 7. Versions: " + ", ".join(sorted({f"{row['who']} {row['version']}" for row in rows if " " not in row["who"]})))
    print("Machine: " + "; ".join(sorted({row["machine"] for row in rows})))


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--nets", default=",".join(models.NETS), help="of " + ", ".join(models.NETS))
    p.add_argument("--threads", default="1,2")
    p.add_argument("--peers", default="", help="of " + ", ".join(PEERS) + "; default: those that are installed")
    p.add_argument("--reps", type=int, default=15, help="turns that count, at least 7")
    p.add_argument("--ours", default="./cam_bench", help="the program; empty: time the peers alone")
    p.add_argument("--start", action="store_true", help="also the time from start to first result, and memory")
    p.add_argument("--csv", help="a file to append the results to")
    p.add_argument("--table", help="print the table of such a file, and end")
    p.add_argument("--first", choices=PEERS, help=argparse.SUPPRESS)
    args = p.parse_args()
    args.nets, args.threads = args.nets.split(","), [int(t) for t in args.threads.split(",")]
    installed = [name for name in PEERS if importlib.util.find_spec(package(name))]
    args.peers = args.peers.split(",") if args.peers else installed
    if unknown := [n for n in args.nets if n not in models.NETS] + [n for n in args.peers if n not in installed]:
        p.error(f"{', '.join(unknown)}: no such network, or a peer that is not installed")
    if args.reps < 7:
        p.error("--reps: want at least 7, fewer say little about a minimum")
    if args.ours and not os.access(args.ours, os.X_OK):
        p.error(f"--ours: no program {args.ours}; build it, or give --ours '' to time the peers alone")
    return args


def append(file, rows):
    new = not os.path.exists(file)
    with open(file, "a", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main():
    args = arguments()
    if args.table:
        with open(args.table, newline="") as f:
            return table(list(csv.DictReader(f)))
    if args.first:
        PEERS[args.first](args.nets[0], args.threads[0], models.image(1))()
        print("ready", flush=True)
        return sys.stdin.read()
    rows = []
    for net in args.nets:
        models.make(net)
        for threads in args.threads:
            new = list(compare(net, threads, args))
            rows += new
            if args.csv:
                append(args.csv, new)
    table(rows)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"peers.py: {error}")
