#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The race lab as somebody else uses it: installed, found by pkg-config, with a driver model and a race of one's own.

usage: outsider.py BUILD EXAMPLE

Installs the build into a directory that is thrown away, compiles the example as its head comment says, plainly and with
-fsanitize=thread -c, and runs it: the naive driver loses and is shown to, the mended one holds, the exit status says so.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

count = 0
failed = False


def ok(good, what, more=''):
    global count, failed
    count += 1
    failed = failed or not good
    print(f'{"ok" if good else "not ok"} {count} - {what}', flush=True)
    if not good:
        for line in str(more).splitlines()[-40:]:
            print(f'# {line}')


def run(*call, env=None):
    p = subprocess.run([str(c) for c in call], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                       timeout=240)
    return p.returncode, p.stdout


def install(build, root):
    status, out = run('meson', 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', root)
    found = list(pathlib.Path(root).rglob('uhmm-lab.pc'))
    ok(status == 0 and len(found) == 1, 'installs, with a pkg-config file', out)
    return found[0] if found else None


def flags(pc, root):
    """What pkg-config says, for a prefix that has been put elsewhere."""
    prefix = next(line.split('=', 1)[1] for line in pc.read_text().splitlines() if line.startswith('prefix='))
    env = dict(os.environ, PKG_CONFIG_PATH=str(pc.parent))
    status, out = run('pkg-config', f'--define-variable=prefix={root}{prefix}', '--cflags', '--libs', 'uhmm-lab', env=env)
    ok(status == 0, 'pkg-config knows uhmm-lab', out)
    return out.split()


def run_example(program, how):
    status, out = run(program, 'MINE', '--json')
    ok(status == 0, f'{how}: all as expected', out)
    try:
        json.loads(out.splitlines()[-1])
    except (ValueError, IndexError):
        ok(False, f'{how}: --json ends with an object', out)
    status, out = run(program, '--show', 'MINE', '--model', 'my_naive')
    ok(status == 0 and 'LOST, invariant 1' in out, f'{how}: the naive driver is shown to lose', out)
    replay = [line.split()[-1] for line in out.splitlines() if '--replay MINE/my_naive/' in line]
    status, out = run(program, '--replay', replay[0] if replay else '-')
    ok(bool(replay) and 'LOST, invariant 1' in out, f'{how}: what was printed can be replayed', out)
    status, out = run(program, '--seconds', '5', '--model', 'my_mended', 'MINE', 'R1', 'R9', 'R10')
    ok(status == 0 and 'LOST' not in out and out.count('held') > 4, f'{how}: the mended driver holds', out)
    status, out = run(program, '--model', 'my_naive', '--bound', '0', 'MINE')
    ok('held' in out, f'{how}: control: without a preemption nobody loses', out)
    status, out = run(program, '--model', 'my_mended', 'R12', 'R14', 'R18')
    ok(out.count('not run') == 3, f'{how}: races that need more of a model are not run', out)


def main():
    build, example = sys.argv[1:]
    with tempfile.TemporaryDirectory() as root:
        pc = install(build, root)
        if pc:
            args = flags(pc, root)
            status, out = run('cc', '-Wall', '-Wextra', '-Werror', example, *args, '-o', f'{root}/plain')
            ok(status == 0, 'the example compiles as its head comment says', out)
            run_example(f'{root}/plain', 'plain')
            cflags = [a for a in args if a.startswith('-I')]
            status, out = run('cc', '-O2', '-fsanitize=thread', *cflags, '-c', example, '-o', f'{root}/checked.o')
            ok(status == 0, 'the example compiles with -fsanitize=thread', out)
            status, out = run('cc', f'{root}/checked.o', *args, '-o', f'{root}/checked')
            ok(status == 0, 'and links without it', out)
            run_example(f'{root}/checked', 'checked')
    print(f'1..{count}')
    return failed


if __name__ == '__main__':
    sys.exit(main())
