#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: programs.py KIND --source ROOT --build LIBRARY_DIR [--cc CC]

Builds a program of one kind (dynamic, static, musl, go, java, container), runs it, and compares what each monitor saw of its
changes with the lines of guarantees/table.txt that begin so. Exit status 77 where a compiler of that kind is missing. A
monitor that cannot be had here is said and passed over, but not one that the table says is refused.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MONITORS = ('explicit', 'hooks', 'uffd', 'auto')
HEADERS_OF_THE_KERNEL = ['-idirafter', '/usr/include', '-idirafter', '/usr/include/x86_64-linux-gnu']


class Skipped(Exception):
    pass


def need(*commands):
    for command in commands:
        if not shutil.which(command):
            raise Skipped(f'{command} is not installed')


def call(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode == 77:
        raise Skipped(done.stdout.strip())
    if done.returncode:
        print(done.stdout + done.stderr)
        raise SystemExit(f'exit status {done.returncode}: {command}')
    return done.stdout


class Builder:
    def __init__(self, options, where):
        self.cc, self.where = options.cc.split(), where
        self.root, self.library = options.source.resolve(), options.build.resolve()
        self.here = self.root / 'tests' / 'programs'
        self.flags = ['-O1', '-g', '-D_GNU_SOURCE', f'-I{self.root}/include']
        self.shared = [f'-L{self.library}', '-luhmm', f'-Wl,-rpath,{self.library}', '-lpthread']
        self.sources = [self.here / 'c_program.c', self.here / 'probe.c']

    def dynamic(self):
        call([*self.cc, *self.flags, *self.sources, '-o', self.where / 'dynamic', *self.shared])
        return call([self.where / 'dynamic', 'dynamic'])

    def container(self):
        call([*self.cc, *self.flags, *self.sources, '-o', self.where / 'container', *self.shared])
        return call([self.where / 'container', 'container', 'no-userfaultfd'])

    def static(self):
        uring = ['-luring'] if 'io_uring_' in self.names_wanted() else []
        command = [*self.cc, '-static', *self.flags, *self.sources, '-o', self.where / 'static', self.library / 'libuhmm.a',
                   *uring, '-lpthread', '-ldl']
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skipped('no static libc, or library of its kind: ' + done.stderr.strip().splitlines()[-1])
        return call([self.where / 'static', 'static'])

    def names_wanted(self):
        return call(['nm', '-u', self.library / 'libuhmm.a'])

    def musl(self):
        need('musl-gcc', 'meson', 'ninja')
        tree = self.where / 'musl'
        environment = {**os.environ, 'CC': 'musl-gcc'}
        # liburing's own library is glibc's.
        call(['meson', 'setup', tree, self.root, '-Dtests=false', '-Dlab=false', '-Dliburing=disabled', '-Dwerror=false',
              '-Dc_args=' + ' '.join(HEADERS_OF_THE_KERNEL)], env=environment)
        call(['ninja', '-C', tree, 'src/libuhmm.a'])
        call(['musl-gcc', *self.flags, *HEADERS_OF_THE_KERNEL, *self.sources, '-o', self.where / 'program',
              tree / 'src' / 'libuhmm.a'])
        return call([self.where / 'program', 'musl'])

    def go(self):
        need('go')
        for name in ('go_program.go', 'probe.c', 'probe.h'):
            shutil.copy(self.here / name, self.where)
        environment = {**os.environ, 'GO111MODULE': 'off', 'GOCACHE': str(self.where / 'cache'), 'CGO_ENABLED': '1',
                       'CC': ' '.join(self.cc), 'CGO_CFLAGS': ' '.join(self.flags), 'CGO_LDFLAGS': ' '.join(self.shared),
                       'GOFLAGS': ''}
        call(['go', 'build', '-o', self.where / 'program', '.'], env=environment, cwd=self.where)
        return call([self.where / 'program'])

    def java(self):
        need('java', 'javac')
        home = pathlib.Path(shutil.which('javac')).resolve().parent.parent
        if not (home / 'include' / 'jni.h').exists():
            raise Skipped('no jni.h')
        native = self.where / 'libnative.so'
        call([*self.cc, '-shared', '-fPIC', *self.flags, f'-I{home}/include', f'-I{home}/include/linux',
              self.here / 'java_native.c', self.here / 'probe.c', '-o', native, *self.shared])
        call(['javac', '-nowarn', '-XDignore.symbol.file', '-d', self.where, self.here / 'JavaProgram.java'])
        return call(['java', '-XX:+UseSerialGC', '-XX:MaxDirectMemorySize=512m', '--add-opens',
                     'java.base/java.nio=ALL-UNNAMED', '-cp', self.where, 'JavaProgram', native, self.where / 'file'])


def expected_of(table, kind):
    """{(what, monitor): verdict}"""
    out = {}
    for line in table.read_text(encoding='utf-8').splitlines():
        match = re.fullmatch(r'program (' + kind + r' [^;]*?) *; ([^;]*?) *;.*', line)
        if match:
            out.update({(match[1], monitor): verdict for monitor, verdict in zip(MONITORS, match[2].split())})
    return out


def compare(expected, report):
    found = {}
    for line in report.splitlines():
        match = re.fullmatch(r'(.*) (\w+): (\w+)', line)
        if match:
            found[match[1], match[2]] = match[3]
    wrong = 0
    for key, verdict in expected.items():
        name = ' '.join(key)
        if found.get(key) == verdict:
            print(f'{name}: {verdict}')
        elif found.get(key, '').startswith('E') and verdict in ('yes', 'no'):
            print(f'{name}: unavailable here: {found[key]}')
        else:
            print(f'FAIL {name}: {found.get(key)}, where the table says {verdict}')
            wrong += 1
    return wrong + (not expected)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('kind', choices=[name for name in vars(Builder) if not name.startswith('_') and name != 'names_wanted'])
    parser.add_argument('--source', type=pathlib.Path, required=True)
    parser.add_argument('--build', type=pathlib.Path, required=True)
    parser.add_argument('--cc', default='cc')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='uhmm-programs.') as where:
        try:
            report = getattr(Builder(options, pathlib.Path(where)), options.kind)()
        except Skipped as why:
            print(f'skipped: {why}')
            return 77
    return 1 if compare(expected_of(options.source / 'guarantees' / 'table.txt', options.kind), report) else 0


if __name__ == '__main__':
    sys.exit(main())
