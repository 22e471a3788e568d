#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: mutants.py [--build DIR] [--only TEXT] [FILE.mut...]

Do the tests notice? Each mutant is one line of the library written wrongly; the tests it names must then fail. Without
arguments every tests/protocol/mutants/*.mut is tried. A .mut file holds one mutant or several with an empty line between them:

    file: src/core/read.c
    find: if (active(n))
    replace: if (0)
    test: protocol/g01_retry unit/test_mm
    why: G1: a reader that does not wait for an active invalidation

`find` is part of one line and occurs exactly once in the file; `replace` takes its place and may be empty. `test` names sources
under tests/ without their ".c"; every one of them has to fail (a crash, a report and a hang are failures). Sources in the same
folder that have no main() are linked to each test. A line that begins with "#" is a comment.

The tree is never touched: a mutated copy of the one file is compiled from a temporary directory against cached objects of the
rest. Before any mutant, each named test has to pass on the unchanged sources. Output is TAP; exit status 1 if a mutant survived
or did not apply.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
CFLAGS = ['-std=c17', '-D_GNU_SOURCE', '-O1', '-g', '-w', '-fno-omit-frame-pointer', '-DUHMM_LOCKCHECK', '-DPORT_INJECT_ON']
SEAM = 'src/port/native'
TIME_LIMIT_S = 60  # of a test on unchanged sources; a mutant gets three times what that took, and a few seconds
TRIES = 5
BASELINE_TRIES = 2  # a busy machine is not the mutant's doing
FIELDS = ('file', 'find', 'replace', 'test', 'why')


class Broken(Exception):
    """The mutant or its test is not usable; the message says why."""


def parse(path):
    """The mutants of one file, each a dict of FIELDS and a name."""
    blocks, block = [], {}
    for line in path.read_text(encoding='utf-8').splitlines() + ['']:
        if line.startswith('#'):
            continue
        if not line.strip():
            if block:
                blocks.append(block)
            block = {}
            continue
        key, _, value = line.partition(':')
        if key not in FIELDS or key in block:
            raise Broken(f'{path.name}: what is "{line}"?')
        block[key] = value[1:] if value.startswith(' ') else value
    for number, block in enumerate(blocks, 1):
        lacking = [field for field in FIELDS if field not in block]
        if lacking:
            raise Broken(f'{path.name}: mutant {number} lacks {", ".join(lacking)}')
        block['name'] = path.stem if len(blocks) == 1 else f'{path.stem}-{number}'
    return blocks


def run(command, **kwargs):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, errors='replace', check=False,
                          **kwargs)


def sources_of(build):
    """What the library is made of on this machine, by the word of a configured build."""
    database = build / 'compile_commands.json'
    if not database.is_file():
        sys.exit(f'mutants.py: {build} is not a configured build directory; `make test` makes build/test')
    files = {(pathlib.Path(entry['directory']) / entry['file']).resolve() for entry in json.loads(database.read_text())}
    return sorted(path for path in files if path.is_relative_to(ROOT / 'src'))


class Builder:
    """Compiles with a cache that is keyed by everything a compilation reads: all headers, the source, the flags."""

    def __init__(self, build, cache, compiler):
        self.cache, self.compiler = cache, compiler
        cache.mkdir(parents=True, exist_ok=True)
        have_uring = run(['pkg-config', '--exists', 'liburing']).returncode == 0
        self.libraries = ['-lcmocka', '-lpthread', '-ldl'] + (['-luring'] if have_uring else [])
        self.sources = sources_of(build)
        self.mains = {}
        headers = sorted(p for folder in ('include', 'src', 'tests') for p in (ROOT / folder).rglob('*.h'))
        self.world = hashlib.sha256(b''.join(str(p).encode() + p.read_bytes() for p in headers)).hexdigest()

    def includes(self, tree):
        """Include paths, those of a tree with changed headers first."""
        roots = [tree, ROOT] if tree else [ROOT]
        return [f'-I{root / folder}' for root in roots for folder in ('include', 'src', SEAM)]

    def compile(self, source, out, tree=None, folder=None):
        words = [self.compiler, *CFLAGS, *self.includes(tree), f'-I{folder or source.parent}', '-c', source, '-o', out]
        done = run(words)
        if done.returncode != 0:
            raise Broken(f'{source.name} does not compile: {done.stderr.strip().splitlines()[:1]}')
        return out

    def cached(self, source):
        key = hashlib.sha256(f'{self.compiler}{CFLAGS}{self.world}{source}'.encode() + source.read_bytes()).hexdigest()[:24]
        out = self.cache / f'{source.stem}-{key}.o'
        if not out.exists():
            self.compile(source, out.with_suffix('.new')).rename(out)
        return out

    def test_sources(self, test):
        main = ROOT / 'tests' / f'{test}.c'
        if not main.is_file():
            raise Broken(f'no test tests/{test}.c')
        return [main] + [p for p in sorted(main.parent.glob('*.c')) if p != main and not self.has_main(p)]

    def has_main(self, source):
        """By the symbol, which a macro may have made."""
        if source not in self.mains:
            self.mains[source] = ' T main\n' in run(['nm', self.cached(source)]).stdout
        return self.mains[source]

    def link(self, test, out, mutant=None, tree=None):
        """Builds a test. With a mutant, (file, changed copy): a changed header means everything is compiled again."""
        wanted = self.sources + self.test_sources(test)
        if mutant is None:
            objects = [self.cached(source) for source in wanted]
        elif mutant[0].suffix == '.c':
            changed = self.compile(mutant[1], out.with_suffix('.o'), tree, mutant[0].parent)
            objects = [changed if source == mutant[0] else self.cached(source) for source in wanted]
        else:
            objects = [self.compile(source, out.parent / f'{number}.o', tree) for number, source in enumerate(wanted)]
        done = run([self.compiler, '-o', out, *objects, *self.libraries])
        if done.returncode != 0:
            raise Broken(f'{test} does not link: {done.stderr.strip().splitlines()[-1:]}')
        return out


def verdict(program, limit_s):
    """(exit status or a word, seconds). The test runs in its own process group, so that a hang leaves nothing behind."""
    begun = time.monotonic()
    # No core files, and no delay by memory debugging: the mutants are expected to crash.
    process = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               cwd=program.parent, start_new_session=True, env={**os.environ, 'UHMM_FUZZ_SECONDS': '2'})
    try:
        status = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        status = 'a hang'
    try:
        os.killpg(process.pid, 9)  # whatever the test forked
    except ProcessLookupError:
        pass
    process.wait()
    return status, time.monotonic() - begun


def describe(status):
    if isinstance(status, int):
        return f'signal {-status}' if status < 0 else f'exit status {status}'
    return status


class Lab:
    def __init__(self, builder, scratch):
        self.builder, self.scratch = builder, scratch
        self.baseline = {}

    def check_baseline(self, test):
        """Seconds that the test takes on unchanged sources, where it has to pass; None where it skips."""
        if test not in self.baseline:
            program = self.builder.link(test, self.scratch / ('baseline-' + test.replace('/', '-')))
            for _ in range(BASELINE_TRIES):
                self.baseline[test] = verdict(program, TIME_LIMIT_S)
                if self.baseline[test][0] in (0, 77):
                    break
        status, seconds = self.baseline[test]
        if status not in (0, 77):
            raise Broken(f'{test} fails on unchanged sources: {describe(status)}')
        return seconds if status == 0 else None

    def apply(self, mutant):
        """Writes the mutated file into a tree of its own; (original, copy, tree)."""
        original = ROOT / mutant['file']
        if not original.is_file():
            raise Broken(f'no file {mutant["file"]}')
        text = original.read_text(encoding='utf-8')
        if text.count(mutant['find']) != 1 or not mutant['find'].strip():
            raise Broken(f'"{mutant["find"]}" occurs {text.count(mutant["find"])} times in {mutant["file"]}')
        tree = self.scratch / mutant['name']
        copy = tree / mutant['file']
        copy.parent.mkdir(parents=True)
        # Headers included by "name.h" are looked for beside the including file first: bring the neighbours.
        for neighbour in original.parent.glob('*.h'):
            shutil.copy(neighbour, copy.parent)
        copy.write_text(text.replace(mutant['find'], mutant['replace']), encoding='utf-8')
        return original, copy, tree

    def try_mutant(self, mutant):
        """(killed, what happened); killed is None when every named test skips here."""
        original, copy, tree = self.apply(mutant)
        outcomes = []
        for number, test in enumerate(mutant['test'].split()):
            seconds = self.check_baseline(test)
            if seconds is None:
                continue
            program = self.builder.link(test, tree / f'test-{number}', (original, copy), tree)
            # A mistake that shows itself now and then only is looked for as often.
            for _ in range(TRIES):
                status, _ = verdict(program, 3 * seconds + 5)
                if status not in (0, 77):
                    break
            outcomes.append((test, status))
        shutil.rmtree(tree)
        if not outcomes:
            return None, 'every test skips here'
        blind = [test for test, status in outcomes if status in (0, 77)]
        if blind:
            return False, f'SURVIVED {" ".join(blind)}'
        return True, 'killed: ' + ', '.join(f'{test} {describe(status)}' for test, status in outcomes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build' / 'test', help='a configured build directory')
    parser.add_argument('--only', default='', help='mutants whose name contains this')
    parser.add_argument('files', nargs='*', type=pathlib.Path)
    options = parser.parse_args()
    files = options.files or sorted((ROOT / 'tests' / 'protocol' / 'mutants').glob('*.mut'))
    builder = Builder(options.build, options.build / 'mutants', os.environ.get('CC', 'gcc'))
    failures = number = 0
    with tempfile.TemporaryDirectory() as scratch:
        lab = Lab(builder, pathlib.Path(scratch))
        for path in files:
            try:
                mutants = [mutant for mutant in parse(path) if options.only in mutant['name']]
            except Broken as reason:
                mutants = [{'name': path.stem, 'why': 'unreadable', 'broken': reason}]
            for mutant in mutants:
                number += 1
                try:
                    if 'broken' in mutant:
                        raise mutant['broken']
                    killed, what = lab.try_mutant(mutant)
                except Broken as reason:
                    killed, what = False, f'did not apply: {reason}'
                failures += killed is False
                mark = ' # SKIP' if killed is None else ''
                print(f'{"not ok" if killed is False else "ok"} {number} - {mutant["name"]}: {what} ({mutant["why"]}){mark}',
                      flush=True)
    print(f'1..{number}' if number else '1..0 # SKIP no mutants')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
