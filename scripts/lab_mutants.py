#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: lab_mutants.py [--build DIR] [--only TEXT] [--jobs N] [--find] [--schedules N] [--seconds S] [FILE.mut...]

Does the race lab notice? Each mutant is one line of the shipped protocol written wrongly; the searches it names must then lose,
and the same searches of the unchanged sources must hold, as many schedules as it took and more. Without arguments every
tests/lab/mutants/*.mut is tried. The format is that of mutants.py, with searches instead of tests:

    file: src/core/read.c
    find: if (active(n))
    replace: if (0)
    lab: R1/interval/1+1/b2 R7/interval/1+1/w1
    why: a reader that does not wait for an active invalidation

A search is race, model (or "-"), devices+invalidators, and what is tried: "b2" up to two preemptions, "w1" weak memory with up
to one preemption and one deviation, "b-" every schedule. A mutant with a line "equivalent: why" changes nothing that can be
observed: its searches must hold.

The tree is never touched: a mutated copy is compiled by the commands of a build directory in which the lab is built, and linked
with the rest of it. Output is TAP, with how many schedules each loss took; exit status 1 if a mutant survived or did not apply,
and the last lines, on standard error too, name those. --find ignores the named searches and prints which of a list notice.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading

import mutants as plain
from mutants import ROOT, Broken, run

FIELDS = ('file', 'find', 'replace', 'lab', 'why')
CHECKED = 'lab/liblab_checked.a.p/'
SCHEDULES = 400_000  # of one search, at most
SECONDS = 60         # the same; a loss must come long before
HANG_S = 300         # whatever the search itself does not notice
FIND = ('1+1/b2', '1+1/w1', '2+1/b2', '3+1/b2', '1+2/b2', '2+1/w1', '1+2/w1')


class Lab:
    """The lab of a build directory, and variants of it."""

    def __init__(self, options, scratch):
        self.build, self.scratch, self.options = options.build, scratch, options
        database = self.build / 'compile_commands.json'
        entries = json.loads(database.read_text()) if database.is_file() else []
        self.commands = {(self.build / entry['file']).resolve(): shlex.split(entry['command'])
                         for entry in entries if entry['output'].startswith(CHECKED)}
        if not self.commands:
            print('1..0 # SKIP the race lab is not built here')
            sys.exit(0)
        self.hunt = self.build / 'tests/lab/lab_hunt'
        self.objcopy = self.renaming()
        self.baseline = {}
        self.locks = collections.defaultdict(threading.Lock)
        self.notes = []

    def renaming(self):
        """The words that make the checked part's symbols and sections its own, from the build's own rule."""
        for line in run(['ninja', '-C', self.build, '-t', 'commands', 'lab/lab_checked_renamed.o']).stdout.splitlines():
            words = shlex.split(line)
            if words[-1] == 'lab/lab_checked_renamed.o':
                return words[:-2]
        sys.exit(f'lab_mutants.py: {self.build} has no rule for lab/lab_checked_renamed.o')

    def object_of(self, source):
        words = self.commands[source]
        return self.build / words[words.index('-o') + 1]

    def includers(self, header):
        """Sources that read a header, from the dependency files that the last build wrote."""
        objects = [self.object_of(source).relative_to(self.build) for source in self.commands]
        out = run(['ninja', '-C', self.build, '-t', 'deps', *objects])
        target, found = None, set()
        for line in out.stdout.splitlines():
            if line and not line.startswith(' '):
                target = self.build / line.split(':')[0]
            elif line.strip() and (self.build / line.strip()).resolve() == header:
                found.add(target)
        return [source for source in self.commands if self.object_of(source) in found]

    def compile(self, source, written, out, tree):
        """By the build's own command, with the changed tree's headers before the others."""
        words = list(self.commands[source])
        words[words.index('-o') + 1] = out
        words[words.index('-c') + 1] = written
        for option in ('-MQ', '-MF'):
            at = words.index(option)
            del words[at:at + 2]
        words.remove('-MD')
        first = [f'-I{tree / folder}' for folder in ('include', 'src', '.')] + [f'-I{source.parent}']
        done = run(words[:1] + first + [word for word in words[1:] if word != '-Werror'] + ['-w'], cwd=self.build)
        if done.returncode != 0:
            raise Broken(f'{source.name} does not compile: {done.stderr.strip().splitlines()[:2]}')
        return out

    def link(self, original, copy, tree):
        changed = {}
        if original.suffix == '.c':
            changed[original] = self.compile(original, copy, tree / 'mutant.o', tree)
        else:
            for number, source in enumerate(self.includers(original)):
                # A copy beside the changed header, for includes by "name.h".
                written = tree / source.relative_to(ROOT)
                written.parent.mkdir(parents=True, exist_ok=True)
                written.write_bytes(source.read_bytes())
                changed[source] = self.compile(source, written, tree / f'{number}.o', tree)
        if not changed:
            raise Broken(f'{original} is not in the lab')
        compiler = self.commands[next(iter(self.commands))][0]
        objects = [changed.get(source, self.object_of(source)) for source in self.commands]
        joined, renamed, program = tree / 'joined.o', tree / 'renamed.o', tree / 'hunt'
        parts = [self.build / 'lab/lab_engine_joined.o', self.build / 'lab/lab_marked_renamed.o', renamed]
        main = list(self.build.glob('tests/lab/lab_hunt.p/*.o'))
        for words in ([compiler, '-r', '-nostdlib', '-o', joined, *objects], [*self.objcopy, joined, renamed],
                      [compiler, '-o', program, *main, *parts, '-lpthread', '-ldl']):
            done = run(words, cwd=self.build)
            if done.returncode != 0:
                raise Broken(f'does not link: {done.stderr.strip().splitlines()[-2:]}')
        joined.unlink()
        renamed.unlink()
        return program

    def search(self, program, name, schedules=0):
        """('lost', 'held' or a word for worse; how many schedules; the rest of the line)"""
        try:
            done = subprocess.run([program, str(schedules or self.options.schedules), str(self.options.seconds), name],
                                  capture_output=True, text=True, errors='replace', check=False, timeout=HANG_S,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return 'hangs', 0, ''
        if done.returncode == 2 and not done.stdout:
            raise Broken(f'{name}: {done.stderr.strip()}')
        found = re.search(r' (held|lost) (\d+) (.*)', done.stdout)
        if done.returncode == -signal.SIGALRM:
            return 'goes round for ever', 0, ''
        if done.returncode != 0 or not found:
            return plain.describe(done.returncode), 0, ''
        return found[1], int(found[2]), found[3]

    def check_baseline(self, name):
        """The unchanged sources hold it; how many schedules that was."""
        with self.locks[name]:
            if name not in self.baseline:
                self.baseline[name] = self.search(self.hunt, name)
        what, schedules, rest = self.baseline[name]
        if what != 'held':
            raise Broken(f'{name} is not held by the unchanged sources: {what} {schedules} {rest}')
        return schedules

    def holds(self, name):
        try:
            return self.check_baseline(name) > 0
        except Broken:
            return False

    def try_mutant(self, mutant):
        program = self.link(*plain.apply(mutant, self.scratch))
        words, survived = [], False
        for name in mutant['lab'].split():
            self.check_baseline(name)
            what, schedules, rest = self.search(program, name)
            survived |= what == 'held'
            count = f' after {schedules:,}: {rest[2:60]}' if what == 'lost' else f' {schedules:,}' if schedules else ''
            words.append(f'{name} {what}{count}')
        program.unlink()
        if 'equivalent' in mutant:
            held = all(' held ' in word for word in words)
            return held, f'{"equivalent" if held else "NOT EQUIVALENT"}: {", ".join(words)}: {mutant["equivalent"]}'
        return not survived, f'{"SURVIVED" if survived else "killed"}: {", ".join(words)}'

    def outcome_of(self, mutant):
        try:
            if 'broken' in mutant:
                raise mutant['broken']
            return self.find(mutant) if self.options.find else self.try_mutant(mutant)
        except Broken as reason:
            return False, f'did not apply: {reason}'

    def find(self, mutant):
        program = self.link(*plain.apply(mutant, self.scratch))
        pairs = [line.split() for line in run([self.hunt, '--list']).stdout.splitlines()]
        pairs = [(pair, most) for pair, most in pairs if self.options.race in pair and not pair.endswith('/kvm')]
        found = {}
        for size in FIND:
            for pair, most in pairs:
                if pair in found or size[0] > most[0] or size[2] > most[2]:
                    continue
                what, schedules, rest = self.search(program, f'{pair}/{size}')
                if what != 'held' and self.holds(f'{pair}/{size}'):
                    found[pair] = f'{pair}/{size} {what} {schedules} {rest[:50]}'
            if found:
                break
        return bool(found), '; '.join(found.values()) or 'NOBODY NOTICES'


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build' / 'test', help='a build directory with the lab')
    parser.add_argument('--only', default='', help='mutants whose name contains this')
    parser.add_argument('--jobs', type=int, default=min(os.cpu_count() or 1, 4), help='mutants tried at the same time')
    parser.add_argument('--schedules', type=int, default=SCHEDULES, help='of one search, at most')
    parser.add_argument('--seconds', type=float, default=SECONDS, help='of one search, at most')
    parser.add_argument('--find', action='store_true', help='which searches notice?')
    parser.add_argument('--race', default='', help='for --find: of these only')
    parser.add_argument('files', nargs='*', type=pathlib.Path)
    return parser.parse_args()


def main():
    options = parse_arguments()
    options.build = options.build.resolve()
    files = options.files or sorted((ROOT / 'tests' / 'lab' / 'mutants').glob('*.mut'))
    mutants = list(plain.mutants_of(files, options.only, FIELDS, ('equivalent',)))
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        lab = Lab(options, pathlib.Path(scratch))
        return plain.report(mutants, pool.map(lab.outcome_of, mutants), lab.notes)


if __name__ == '__main__':
    sys.exit(main())
