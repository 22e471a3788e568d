#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: preload.py NAME=PATH...

The preloads change nothing in programs that have no use for them, and are where they should be in those that do. NAME is
fabric, ucx (the preloads), user, old (programs), race (ucx_race).
"""
import itertools
import os
import subprocess
import sys

files = dict(arg.split('=', 1) for arg in sys.argv[1:])
preloads = [files[name] for name in ('fabric', 'ucx') if name in files]
failures = []


def run(preload, *command, **environment):
    env = dict(os.environ, **environment)
    env.pop('LD_PRELOAD', None)
    if preload:
        env['LD_PRELOAD'] = ':'.join(preload)
    p = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def expect(what, good, seen):
    print('ok' if good else f'FAILED, saw {seen}', '-', what)
    if not good:
        failures.append(what)


FORKS = ('import os, subprocess, threading, mmap\n'
         't = [threading.Thread(target=lambda: [mmap.mmap(-1, 1 << 20).close() for _ in range(200)]) for _ in range(3)]\n'
         '[x.start() for x in t]\n'
         'for _ in range(5):\n'
         '    pid = os.fork()\n'
         '    if not pid:\n'
         '        os._exit(4)\n'
         '    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4\n'
         '    assert subprocess.run(["true"]).returncode == 0\n'
         '[x.join() for x in t]\n'
         'print("done")')
BYSTANDERS = [
    ('sh', '-c', 'exit 3'),
    ('sh', '-c', 'kill -TERM $$'),
    ('sh', '-c', 'echo a | cat; for i in 1 2 3; do true & done; wait; ls /nowhere'),
    (sys.executable, '-c', FORKS),
]

for count in range(1, len(preloads) + 1):
    for which in itertools.permutations(preloads, count):
        name = '+'.join(os.path.basename(p) for p in which)
        for command in BYSTANDERS:
            plain, preloaded = run([], *command), run(which, *command)
            expect(f'{name}: {command[0]} {command[-1][:20]!r} goes as without', plain == preloaded, preloaded)
        libm = [*which, 'libm.so.6']
        expect(f'{name}: and with another preload', run(libm, 'sh', '-c', 'exit 3') == (3, '', ''), '')

IMPORTED = 'setting imported memory monitor as default'
if 'user' in files and run([], files['user'])[0] == 77:
    print('ok - # SKIP libfabric has no udp provider here')
elif 'user' in files:
    fabric = [files['fabric']]
    for which in [fabric] + ([[*preloads], [*reversed(preloads)]] if len(preloads) == 2 else []):
        got = run(which, files['user'], FI_LOG_LEVEL='info')
        expect('a program that uses libfabric has our monitor', got[0] == 0 and IMPORTED in got[2], got)
        expect('its child, too, goes on', got[1].count('done') == 1, got)
    got = run([], files['user'], FI_LOG_LEVEL='info')
    expect('without the preload it has not (negative control)', got[0] == 0 and IMPORTED not in got[2], got)
    got = run(fabric, files['user'], FI_LOG_LEVEL='info', FI_MR_CACHE_MONITOR='disabled')
    expect('a cache that is switched off stays off', got[0] == 0 and IMPORTED not in got[2], got)
    got = run(fabric, files['user'])
    expect('nothing is said', got == (0, 'done\n', ''), got)

if 'old' in files:
    got = run([files['fabric']], files['old'])
    expect('an old libfabric: one line, and the program goes on',
           got[0] == 0 and got[2].count('\n') == 1 and 'older than 1.13' in got[2], got)

if 'race' in files:
    got = run([files['ucx']], files['race'], 'measure')
    expect('UCX under the preload', got[0] == 0 and got[2] == '', got)
    got = run(preloads, files['race'], 'measure')
    expect('UCX under both', got[0] == 0 and got[2] == '', got)

sys.exit(1 if failures else 0)
