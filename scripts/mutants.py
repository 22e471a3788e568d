#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: mutants.py [--build DIR] [--only TEXT] [--jobs N] [--patience S] [--once N] [FILE.mut...]

Do the tests notice? Each mutant is one line of the library written wrongly; the tests it names must then fail. Without
arguments every tests/protocol/mutants/*.mut is tried. A .mut file holds one mutant or several with an empty line between them:

    file: src/core/read.c
    find: if (active(n))
    replace: if (0)
    test: protocol/g01_retry unit/test_mm
    why: G1: a reader that does not wait for an active invalidation

`find` is part of one line and occurs exactly once in the file, or in what comes after the one place where `after` occurs, if
that is given, up to the end of that function; `replace` takes its place and may be empty. `test` names sources under tests/
without their ".c"; every one of them has to fail (a crash, a report and a hang are failures). Sources in the same
folder that have no main() are linked to each test. A line that begins with "#" is a comment.

The tree is never touched: a mutated copy of the one file is compiled from a temporary directory against cached objects of the
rest. Before any mutant, each named test has to pass on the unchanged sources. Output is TAP; exit status 1 if a mutant survived
or did not apply. The last lines, on standard error too, name those that did, for a log of which only the end is kept.

A test is run until it notices, for as long as --patience says: a mutant survives when many runs in a row were blind. What needs
more than one run is said, because a test that forces its race needs one. --once N looks for those: each test is run N times,
and every run has to notice.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
CFLAGS = ['-std=c17', '-D_GNU_SOURCE', '-O1', '-g', '-w', '-fno-omit-frame-pointer', '-DUHMM_LOCKCHECK', '-DPORT_INJECT_ON']
SEAM = 'src/port/native'
LAB_SEAM = 'src/port/lab'
TIME_LIMIT_S = 60  # of a test on unchanged sources; a mutant gets three times what that took, and a few seconds
TRIES = 5
PATIENCE_S = 30  # seconds of runs beyond TRIES, for a mistake that shows itself now and then only
BASELINE_TRIES = 5  # a busy machine is not the mutant's doing; the suites run the same tests without a second chance
FIELDS = ('file', 'find', 'replace', 'test', 'why')


class Broken(Exception):
    """The mutant or its test is not usable; the message says why."""


def parse(path, fields=FIELDS, more=()):
    """The mutants of one file, each a dict of these fields, of `more` if they are there, and a name."""
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
        if key not in (*fields, *more, 'after') or key in block:
            raise Broken(f'{path.name}: what is "{line}"?')
        block[key] = value[1:] if value.startswith(' ') else value
    for number, block in enumerate(blocks, 1):
        lacking = [field for field in fields if field not in block]
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
    # The seam has two backends, of which a library has one.
    return sorted(path for path in files if path.is_relative_to(ROOT / 'src') and not path.is_relative_to(ROOT / LAB_SEAM))


class Builder:
    """Compiles with a cache that is keyed by everything a compilation reads: all headers, the source, the flags."""

    def __init__(self, build, cache, compiler):
        self.cache, self.compiler = cache, compiler
        cache.mkdir(parents=True, exist_ok=True)
        have_uring = run(['pkg-config', '--exists', 'liburing']).returncode == 0
        self.libraries = ['-lcmocka', '-lpthread', '-ldl'] + (['-luring'] if have_uring else [])
        self.sources = sources_of(build)
        self.mains = {}
        self.locks = collections.defaultdict(threading.Lock)
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
        with self.locks[out]:
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


def apply(mutant, scratch):
    """Writes the mutated file into a tree of its own; (original, copy, tree)."""
    original = ROOT / mutant['file']
    if not original.is_file():
        raise Broken(f'no file {mutant["file"]}')
    text = original.read_text(encoding='utf-8')
    before, where, behind = '', text, ''
    if 'after' in mutant:
        if text.count(mutant['after']) != 1:
            raise Broken(f'"{mutant["after"]}" occurs {text.count(mutant["after"])} times in {mutant["file"]}')
        before, where = text.split(mutant['after'])
        before += mutant['after']
        where, gap, behind = where.partition('\n}\n')
        behind = gap + behind
    if where.count(mutant['find']) != 1 or not mutant['find'].strip():
        raise Broken(f'"{mutant["find"]}" occurs {where.count(mutant["find"])} times in {mutant["file"]}')
    tree = scratch / mutant['name']
    copy = tree / mutant['file']
    copy.parent.mkdir(parents=True)
    # Headers included by "name.h" are looked for beside the including file first: bring the neighbours.
    for neighbour in original.parent.glob('*.h'):
        shutil.copy(neighbour, copy.parent)
    copy.write_text(before + where.replace(mutant['find'], mutant['replace']) + behind, encoding='utf-8')
    return original, copy, tree


class Lab:
    def __init__(self, builder, scratch, options):
        self.builder, self.scratch = builder, scratch
        self.once, self.patience_s = options.once, options.patience
        self.baseline = {}
        self.locks = collections.defaultdict(threading.Lock)
        self.notes = []

    def run_baseline(self, test):
        program = self.builder.link(test, self.scratch / ('baseline-' + test.replace('/', '-')))
        for number in range(BASELINE_TRIES):
            status, seconds = verdict(program, TIME_LIMIT_S)
            if status in (0, 77):
                break
            self.notes.append(f'{test} on unchanged sources, run {number + 1} of at most {BASELINE_TRIES}: {describe(status)}')
        return status, seconds

    def check_baseline(self, test):
        """Seconds that the test takes on unchanged sources, where it has to pass; None where it skips."""
        with self.locks[test]:
            if test not in self.baseline:
                self.baseline[test] = self.run_baseline(test)
        status, seconds = self.baseline[test]
        if status not in (0, 77):
            raise Broken(f'{test} fails on unchanged sources: {describe(status)}')
        return seconds if status == 0 else None

    def try_test(self, program, limit_s):
        """(the last run's status, how often it was run)."""
        begun, runs, status = time.monotonic(), 0, 0
        while status in (0, 77) and (runs < TRIES or time.monotonic() - begun < self.patience_s):
            status, _ = verdict(program, limit_s)
            runs += 1
        return status, runs

    def try_test_once(self, program, limit_s):
        """The same for --once: the first blind run is the last one."""
        for runs in range(1, self.once + 1):
            status, _ = verdict(program, limit_s)
            if status in (0, 77):
                break
        return status, 1

    def try_mutant(self, mutant):
        """(killed, what happened); killed is None when every named test skips here."""
        original, copy, tree = apply(mutant, self.scratch)
        outcomes = []
        for number, test in enumerate(mutant['test'].split()):
            seconds = self.check_baseline(test)
            if seconds is None:
                continue
            program = self.builder.link(test, tree / f'test-{number}', (original, copy), tree)
            status, runs = (self.try_test_once if self.once else self.try_test)(program, 3 * seconds + 5)
            outcomes.append((test, status))
            if runs > 1 and status not in (0, 77):
                self.notes.append(f'{mutant["name"]}: {test} noticed at run {runs}')
        shutil.rmtree(tree)
        if not outcomes:
            return None, 'every test skips here'
        blind = [test for test, status in outcomes if status in (0, 77)]
        if blind:
            return False, f'SURVIVED {" ".join(blind)}'
        return True, 'killed: ' + ', '.join(f'{test} {describe(status)}' for test, status in outcomes)

    def outcome_of(self, mutant):
        """(killed, what happened)"""
        try:
            if 'broken' in mutant:
                raise mutant['broken']
            return self.try_mutant(mutant)
        except Broken as reason:
            return False, f'did not apply: {reason}'


def mutants_of(files, only, fields=FIELDS, more=()):
    for path in files:
        try:
            yield from (mutant for mutant in parse(path, fields, more) if only in mutant['name'])
        except Broken as reason:
            yield {'name': path.stem, 'why': 'unreadable', 'broken': reason}


def report(mutants, outcomes, notes):
    """TAP of what became of each mutant, as it becomes known; the exit status."""
    failures = []
    for number, (mutant, (killed, what)) in enumerate(zip(mutants, outcomes), 1):
        mark = ' # SKIP' if killed is None else ''
        line = f'{number} - {mutant["name"]}: {what} ({mutant["why"]})'
        print(f'{"not ok" if killed is False else "ok"} {line}{mark}', flush=True)
        if killed is False:
            failures.append(line)
    print(f'1..{len(mutants)}' if mutants else '1..0 # SKIP no mutants')
    for stream in (sys.stdout, sys.stderr):
        for note in notes + [f'FAILED {line}' for line in failures]:
            print(f'# {note}', file=stream)
        print(f'# {len(mutants) - len(failures)} of {len(mutants)} mutants noticed or skipped', file=stream, flush=True)
    return 1 if failures else 0


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build' / 'test', help='a configured build directory')
    parser.add_argument('--only', default='', help='mutants whose name contains this')
    parser.add_argument('--jobs', type=int, default=min(os.cpu_count() or 1, 4), help='mutants tried at the same time')
    parser.add_argument('--patience', type=float, default=PATIENCE_S, metavar='S', help='seconds until a mutant has survived')
    parser.add_argument('--once', type=int, default=0, metavar='N', help='every one of N runs has to notice')
    parser.add_argument('files', nargs='*', type=pathlib.Path)
    return parser.parse_args()


def main():
    options = parse_arguments()
    files = options.files or sorted((ROOT / 'tests' / 'protocol' / 'mutants').glob('*.mut'))
    builder = Builder(options.build, options.build / 'mutants', os.environ.get('CC', 'gcc'))
    mutants = list(mutants_of(files, options.only))
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        lab = Lab(builder, pathlib.Path(scratch), options)
        return report(mutants, pool.map(lab.outcome_of, mutants), lab.notes)


if __name__ == '__main__':
    sys.exit(main())
