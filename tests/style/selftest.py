#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The negative control of style.py: a tree with nothing wrong is passed, and each of these mistakes, alone in it, is caught."""
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import style  # noqa: E402  # found beside this file

TOP = '/* SPDX-License-Identifier: MIT */\n'

GOOD = {
    'include/uhmm/x.h': TOP + '/* uhmm_x: does x. */\nint uhmm_x(void);\n',
    'src/libuhmm.map': TOP + 'UHMM_0.1 {\n\tglobal:\n\t\tuhmm_x;\n\tlocal:\n\t\t*;\n};\n',
    'src/port/sync.h': TOP + '#include <pthread.h>\n',
    'src/core/x.c': TOP + '#include "port/sync.h"\n/* mmap() in a comment is fine */\nint uhmm_x(void)\n{\n\treturn 0;\n}\n',
    'src/core/x.h': TOP,
    'src/port/lab/x.h': TOP + '#include "lab/memory.h"\n',
    'lab/x.c': TOP + 'uint32_t f(const struct uhmm_a32 *a)\n{\n\treturn a->private_value;\n}\n',
    'lab/arena.c': TOP + 'void f(void)\n{\n\tp = mmap(0, 1, 0, 0, 0, 0);\n}\n',
}

LONG_BODY = 'int f(void)\n{\n' + '\tg();\n' * 70 + '}\n'

# path, text, the rule that must object
BAD = [
    ('src/core/y.c', TOP + '#include "regcache/regcache.h"\n', 'edge'),
    ('src/port/y.c', TOP + '#include "core/core.h"\n', 'edge'),
    ('src/monitors/y.c', TOP + '#include "devices/uring.h"\n', 'edge'),
    ('src/core/y.c', TOP + '#include "port/native/port_sync.h"\n', 'edge'),
    ('include/uhmm/y.h', TOP + '#include <liburing.h>\n', 'edge'),
    ('examples/y.c', TOP + '#include "core/core.h"\n', 'edge'),
    ('src/core/y.c', TOP + '#include "lab/engine.h"\n', 'edge'),
    ('src/port/native/y.c', TOP + '#include "lab/engine.h"\n', 'edge'),
    ('lab/y.c', TOP + '#include <pthread.h>\n', 'raw'),
    ('lab/y.c', TOP + 'void f(void)\n{\n\tp = mmap(0, 1, 0, 0, 0, 0);\n}\n', 'raw'),
    ('src/core/y.c', TOP + '#include <stdatomic.h>\n', 'raw'),
    ('src/core/y.c', TOP + 'static _Atomic int a;\n', 'raw'),
    ('src/core/y.c', TOP + 'int f(int *a)\n{\n\treturn __atomic_load_n(a, 0);\n}\n', 'raw'),
    ('src/core/y.c', TOP + 'int f(int *a)\n{\n\treturn __sync_fetch_and_add(a, 1);\n}\n', 'raw'),
    ('src/core/y.c', TOP + 'static pthread_mutex_t lock;\n', 'raw'),
    ('src/core/y.c', TOP + 'static __thread int t;\n', 'raw'),
    ('src/core/y.c', TOP + 'static _Thread_local int t;\n', 'raw'),
    ('src/core/y.c', TOP + 'void f(void)\n{\n\tmunmap(p, n);\n}\n', 'raw'),
    ('src/core/y.c', TOP + 'void f(void)\n{\n\tmadvise(p, n, 4);\n}\n', 'raw'),
    ('src/core/y.c', TOP + 'void f(void)\n{\n\tsyscall(202);\n}\n', 'raw'),
    ('src/core/y.c', TOP + 'void f(void)\n{\n\tclock_gettime(1, &t);\n}\n', 'raw'),
    ('src/core/y.c', TOP + 'void f(void)\n{\n\tp = malloc(1);\n}\n', 'raw'),
    ('src/core/y.c', TOP + 'int f(struct uhmm_a32 *a)\n{\n\treturn a->private_value;\n}\n', 'raw'),
    ('src/core/y.c', TOP + LONG_BODY, 'function-size'),
    ('src/core/y.c', TOP + 'int x;\n' * 1000, 'file-size'),
    ('src/core/y.c', TOP + '/* ' + 'x' * 128 + ' */\n', 'columns'),
    ('src/core/y.c', TOP + '\t' * 16 + 'x;\n', 'columns'),
    ('src/core/y.c', 'int x;\n', 'licence'),
    ('scripts/y.sh', '#!/bin/sh\n', 'licence'),
    ('src/core/y.c', TOP + '/* ' + 'TO' + 'DO: later */\n', 'unfinished'),
    ('docs/y.md', 'FIX' + 'ME\n', 'unfinished'),
    ('src/core/y.c', TOP + 'int x; \n', 'blank'),
    ('src/core/y.c', TOP + 'int x;', 'blank'),
    ('docs/y.md', 'as asked for in issue ' + '2\n', 'foreign'),
    ('docs/y.md', 'see /wo' + 'rk/notes\n', 'foreign'),
    ('include/uhmm/y.h', TOP + 'int uhmm_y(void);\n', 'undocumented'),
    ('include/uhmm/y.h', TOP + '/* uhmm_y: y. */\nint uhmm_y(void);\n', 'export'),
    ('src/libuhmm.map', GOOD['src/libuhmm.map'].replace('uhmm_x;', 'uhmm_x;\n\t\tuhmm_z;'), 'export'),
]


def rules_broken(files, library=None):
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding='utf-8')
        return sorted({rule for _, _, rule, _ in style.violations(root, library)})


def build(directory, source):
    """A shared object made of one line of C, or None where there is no compiler by that name."""
    path = pathlib.Path(directory) / 'sample.c'
    path.write_text(source, encoding='utf-8')
    out = path.with_suffix('.so')
    subprocess.run(['cc', '-shared', '-fPIC', '-o', out, path], check=True)
    return out


def main():
    failures = 0
    if rules_broken(GOOD):
        print(f'the good tree is refused: {rules_broken(GOOD)}')
        failures += 1
    for path, text, rule in BAD:
        broken = rules_broken({**GOOD, path: text})
        if rule not in broken:
            print(f'not caught: {rule} in {path}: {text[len(TOP):len(TOP) + 60]!r} (found {broken})')
            failures += 1
    # What the shared object exports: exactly the map, a name more, a name less.
    with tempfile.TemporaryDirectory() as directory:
        for source, expected in (('int uhmm_x;', []), ('int uhmm_x, leaked;', ['export']), ('int other;', ['export'])):
            if rules_broken(GOOD, build(directory, source)) != expected:
                print(f'exports of "{source}": expected {expected}')
                failures += 1
    print(f'{len(BAD) + 4} samples, {failures} failures')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
