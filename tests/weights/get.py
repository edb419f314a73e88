#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""weights/get against a server on this machine that truncates, corrupts, stalls and refuses. Ends with "N passed, N failed".

usage: tests/weights/get.py        needs Python and curl or wget (both are tried where they are there); opens no connection but to itself
"""
import hashlib
import http.server
import os
import shutil
import stat
import subprocess
import tempfile
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = bytes(i * i % 251 for i in range(100000))
SUM = hashlib.sha256(DATA).hexdigest()
FILES = {"good": SUM[:8], "free": "-"}  # a network with a published checksum, and one without


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by the plan: one word for each request, the last one for all that follow. Ranges are served unless the plan says so."""
    plan, seen = [], []

    def do_GET(self):
        what = Server.plan.pop(0) if len(Server.plan) > 1 else Server.plan[0]
        bounds = self.headers.get("Range", "")
        first = int(bounds[6:].split("-")[0]) if bounds and what != "whole" else 0
        Server.seen.append((self.path, first, what))
        if what == "missing" or what == "good is missing" and "good" in self.path:
            return self.send_error(404)
        if first >= len(DATA):
            return self.send_error(416)
        body = DATA[first:]
        if what == "corrupt":
            body = body[:100] + bytes([body[100] ^ 1]) + body[101:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(DATA) - 1}/{len(DATA)}")
        self.end_headers()
        if what == "cut":
            self.wfile.write(body[:len(body) // 2])
        elif what == "stall":
            self.wfile.write(body[:len(body) // 2])
            self.wfile.flush()
            Server.released.wait(20)
        else:
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


class Case:
    """A folder with a copy of the script and a manifest of its own, and a folder for weights."""

    def __init__(self, tool, address):
        self.top = tempfile.mkdtemp(prefix="shapleycam-get-")
        self.weights = os.path.join(self.top, "data", "shapleycam")
        os.makedirs(os.path.join(self.top, "weights"))
        os.makedirs(os.path.join(self.top, "bin"))
        shutil.copy(os.path.join(TOP, "weights", "get"), os.path.join(self.top, "weights"))
        with open(os.path.join(self.top, "weights", "manifest"), "w") as f:
            f.write("# a comment\n" + "".join(f"{net} {net}-file.pth {address}/ {start} 0.1\n" for net, start in FILES.items()))
        for name in "sh sed sha256sum cut tr grep mkdir mv rm wc dirname head".split() + [tool]:
            os.symlink(shutil.which(name), os.path.join(self.top, "bin", name))

    def converter(self, status):
        path = os.path.join(self.top, "cam_convert")
        with open(path, "w") as f:
            f.write(f'#!/bin/sh\necho "$@" > {self.top}/asked\n[ {status} = 0 ] && : > "$5"\nexit {status}\n')
        os.chmod(path, 0o755)

    def run(self, *arguments, plan=("fine",), **environment):
        Server.plan, Server.seen, Server.released = list(plan), [], threading.Event()
        env = {"PATH": os.path.join(self.top, "bin"), "XDG_DATA_HOME": os.path.join(self.top, "data"), "CAM_WEIGHTS_WAIT": "2", **environment}
        done = subprocess.run(["sh", os.path.join(self.top, "weights", "get"), *arguments], env=env, capture_output=True, text=True, timeout=60)
        Server.released.set()
        return done.returncode, done.stderr

    def file(self, name):
        path = os.path.join(self.weights, name)
        return open(path, "rb").read() if os.path.exists(path) else None

    def files(self):
        return sorted(os.listdir(self.weights)) if os.path.isdir(self.weights) else []


def expect(condition, why):
    if not condition:
        raise AssertionError(why)


def a_file_is_downloaded_and_verified(c):
    code, text = c.run("good")
    expect(code == 0 and c.file("good-file.pth") == DATA and c.files() == ["good-file.pth"], text)
    code, text = c.run("good")
    expect(code == 0 and not Server.seen, "a file that is there is downloaded again")


def a_connection_that_breaks_is_continued(c):
    code, text = c.run("good", plan=["cut", "cut", "fine"])
    expect(code == 0 and c.file("good-file.pth") == DATA, text)
    expect([s[1] for s in Server.seen] == [0, 50000, 75000], f"asked from {Server.seen}")


def a_server_that_cannot_continue_is_asked_for_all(c):
    code, text = c.run("good", plan=["cut", "whole"])
    expect(code == 0 and c.file("good-file.pth") == DATA, text)


def a_connection_that_stalls_is_given_up_and_continued(c):
    code, text = c.run("good", plan=["stall", "fine"])
    expect(code == 0 and c.file("good-file.pth") == DATA, text)
    expect([s[1] for s in Server.seen] == [0, 50000], f"asked from {Server.seen}")


def a_later_run_continues_an_earlier_one(c):
    code, text = c.run("good", plan=["cut", "missing"])
    expect(code == 1 and c.files() == ["good-file.pth.part"], text)
    code, text = c.run("good")
    expect(code == 0 and c.file("good-file.pth") == DATA and Server.seen[0][1] == 50000, text)


def a_corrupt_file_is_thrown_away_and_got_again(c):
    code, text = c.run("good", plan=["corrupt", "fine"])
    expect(code == 0 and c.file("good-file.pth") == DATA and "want " + SUM[:8] in text, text)
    expect([s[1] for s in Server.seen] == [0, 0], f"asked from {Server.seen}")


def a_file_that_stays_corrupt_is_never_left_behind(c):
    code, text = c.run("good", plan=["corrupt"])
    expect(code == 1 and c.files() == [] and len(Server.seen) == 5 and "copy it to" in text, text)


def a_part_that_is_wrong_and_complete_is_thrown_away(c):
    os.makedirs(c.weights)
    open(os.path.join(c.weights, "good-file.pth.part"), "wb").write(b"x" * len(DATA))
    code, text = c.run("good")
    expect(code == 0 and c.file("good-file.pth") == DATA, text)


def a_part_that_is_right_is_not_downloaded_again(c):
    os.makedirs(c.weights)
    open(os.path.join(c.weights, "good-file.pth.part"), "wb").write(DATA)
    code, text = c.run("good")
    expect(code == 0 and c.file("good-file.pth") == DATA and not Server.seen, text)


def a_missing_file_is_told_with_what_to_copy_where(c):
    code, text = c.run("good", plan=["missing"])
    expect(code == 1 and len(Server.seen) == (1 if c.tool == "curl" else 5), text)
    expect(text.splitlines()[-1].endswith(f"copy it to {c.weights}/good-file.pth") and c.files() == [], text)


def without_a_network_one_line_says_what_to_do(c):
    code, text = c.run("good", CAM_WEIGHTS_URL="http://127.0.0.1:1")
    last = text.splitlines()
    expect(code == 1 and last[-1].startswith("get: good: cannot be had from here; get http://127.0.0.1:1/good-file.pth"), text)
    expect(len(last) == 2 or c.tool == "wget", text)


def another_address_may_be_given(c):
    code, text = c.run("good", CAM_WEIGHTS_URL=c.address + "/mirror")
    expect(code == 0 and Server.seen[0][0] == "/mirror/good-file.pth", f"{text} {Server.seen}")


def a_folder_of_the_users_choice_comes_first(c):
    folder = os.path.join(c.top, "my weights")
    code, text = c.run("good", CAM_WEIGHTS=folder)
    expect(code == 0 and os.listdir(folder) == ["good-file.pth"] and not c.files(), text)


def without_a_published_checksum_the_file_s_own_is_told(c):
    code, text = c.run("free", plan=["cut", "fine"])
    expect(code == 0 and c.file("free-file.pth") == DATA and SUM in text, text)


def all_are_got_and_one_that_fails_does_not_stop_the_others(c):
    code, text = c.run("all", plan=["good is missing"])
    expect(code == 1 and c.files() == ["free-file.pth"], text)
    code, text = c.run("all")
    expect(code == 0 and c.files() == ["free-file.pth", "good-file.pth"], text)


def a_file_that_is_not_the_official_one_is_left_alone_and_told(c):
    os.makedirs(c.weights)
    open(os.path.join(c.weights, "good-file.pth"), "wb").write(b"mine")
    code, text = c.run("good")
    expect(code == 1 and c.file("good-file.pth") == b"mine" and not Server.seen and "not the official file" in text, text)


def the_converter_makes_a_camw_of_it(c):
    c.converter(0)
    code, text = c.run("good")
    expect(code == 0 and c.files() == ["good.camw"], text)
    expect(open(os.path.join(c.top, "asked")).read() == f"--net good --quiet -o {c.weights}/good.camw {c.weights}/good-file.pth\n", "arguments")
    code, text = c.run("good")
    expect(code == 0 and not Server.seen, text)


def a_failing_converter_leaves_the_official_file(c):
    c.converter(3)
    code, text = c.run("good")
    expect(code == 1 and c.files() == ["good-file.pth"] and c.file("good-file.pth") == DATA, text)


def unknown_names_are_refused_before_anything_is_downloaded(c):
    for arguments in ([], ["good", "resnet19"], ["--help"]):
        code, text = c.run(*arguments)
        expect(code == 2 and "good free" in text and not Server.seen and not c.files(), text)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    tests = [f for f in globals().values() if callable(f) and getattr(f, "__code__", None) and f.__code__.co_varnames[:1] == ("c",)]
    passed = failed = 0
    for tool in filter(shutil.which, ("curl", "wget")):
        for test in tests:
            c = Case(tool, address)
            c.tool, c.address = tool, address
            try:
                test(c)
                passed += 1
            except (AssertionError, OSError, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"FAIL  {test.__name__} ({tool}): {e}")
            shutil.rmtree(c.top)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    raise SystemExit(main())
