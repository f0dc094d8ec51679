#!/usr/bin/env python3
"""How long it takes to join a cluster with many users: `make join-million`, or join-million.py PROGRAM [USERS].

One node gets its users by `loaddata`; then a second and a third machine join it, each timed from `flotilla join` to a ready node that has
every user, and until both vote. Python's standard library only; everything is on loopback, in a folder of its own that goes again."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = sys.argv[1]
USERS = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
BATCH = 5_000
LOADERS = 2
OFFSET = 17_500
# A hash of no password in particular: nothing is hashed while users are loaded.
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43

work = tempfile.mkdtemp(prefix="join-million-")
processes = {}


def port(base, machine):
    return base + OFFSET + 10 * machine


def admin(machine):
    return port(7980, machine)


def flotilla(*arguments):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"flotilla {arguments[0]}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def options(machine):
    loopback = "127.0.0.1"
    return [
        "--config", f"{work}/m{machine}/flotilla.toml", "--data", f"{work}/m{machine}/data", "--name", f"m{machine}",
        "--peer", f"{loopback}:{port(7982, machine)}", "--admin", f"{loopback}:{admin(machine)}",
        "--sftp", f"{loopback}:{port(2021, machine)}", "--storage", f"files={work}/files",
    ]


def serve(machine):
    log = open(f"{work}/m{machine}/log", "ab")
    command = [PROGRAM, "serve", "--config", f"{work}/m{machine}/flotilla.toml"]
    processes[machine] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def ask(machine, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", admin(machine), timeout=600)
    token = open(f"{work}/admin.token").read().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


def until(what, check, limit):
    end = time.monotonic() + limit
    while True:
        if any(process.poll() is not None for process in processes.values()):
            sys.exit(f"a node ended; see {work}")
        try:
            if check():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            sys.exit(f"waited {limit} s in vain: {what}; see {work}")
        time.sleep(0.05)


def ready(machine):
    return ask(machine, "GET", "/readyz")[0] == 200


def name(number):
    return f"user-{number:07}"


def load(numbers, failed):
    for first in numbers:
        rows = [
            {"username": name(number), "password": HASH, "status": 1, "permissions": {"/": ["*"]}, "max_sessions": 2,
             "quota_size": 1 << 30}
            for number in range(first, min(first + BATCH, USERS))
        ]
        status, text = ask(1, "POST", "/api/v2/loaddata", json.dumps({"users": rows}))
        if status != 200:
            failed.append(f"{status} {text[:300]}")
            return


def memory(machine):
    for line in open(f"/proc/{processes[machine].pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024


def folder_bytes(folder):
    return sum(os.lstat(os.path.join(at, file)).st_blocks * 512 for at, _, files in os.walk(folder) for file in files)


def join(machine):
    token = flotilla("--endpoint", f"http://127.0.0.1:{admin(1)}", "--token-file", f"{work}/admin.token", "cluster", "token")
    begin = time.monotonic()
    flotilla("join", token, *options(machine))
    joined = time.monotonic()
    serve(machine)
    until("the new node is ready", lambda: ready(machine), 600)
    last = f"/api/v2/users/{name(USERS - 1)}?consistency=stale"
    until("it has the last user", lambda: ask(machine, "GET", last)[0] == 200, 600)
    done = time.monotonic()
    print(f"machine {machine}: join {joined - begin:.1f} s, ready with every user after {done - begin:.1f} s, {memory(machine)} MiB", flush=True)


def voters():
    nodes = json.loads(ask(1, "GET", "/api/v2/cluster")[1])["nodes"]
    return sum(node["role"] in ("leader", "voter") for node in nodes)


def main():
    for machine in (1, 2, 3):
        os.makedirs(f"{work}/m{machine}")
    os.makedirs(f"{work}/files")
    print(f"{PROGRAM}, {USERS} users, {os.cpu_count()} processors", flush=True)
    flotilla("init", "--token-out", f"{work}/admin.token", *options(1))
    serve(1)
    until("the first node is ready", lambda: ready(1), 60)
    begin = time.monotonic()
    failed = []
    firsts = range(0, USERS, BATCH)
    loaders = [threading.Thread(target=load, args=(firsts[at::LOADERS], failed)) for at in range(LOADERS)]
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join()
    if failed:
        sys.exit(f"loaddata: {failed}")
    took = time.monotonic() - begin
    print(f"loaded in {took:.0f} s ({USERS / took:.0f} per second), {memory(1)} MiB, data folder {folder_bytes(f'{work}/m1/data') >> 20} MiB", flush=True)
    join(2)
    begin = time.monotonic()
    join(3)
    until("three vote", lambda: voters() == 3, 600)
    print(f"three voters {time.monotonic() - begin:.1f} s after the third machine's token", flush=True)


try:
    main()
finally:
    for process in processes.values():
        process.kill()
    for process in processes.values():
        process.wait()
    if not os.environ.get("KEEP"):
        shutil.rmtree(work, ignore_errors=True)
