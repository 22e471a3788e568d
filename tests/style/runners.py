#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: runners.py BUILD_DIR

The negative control of what counts and judges: scripts/summary.py must not lose a failure, scripts/mutants.py must tell a
mutant that survives, one that does not apply and one that does not compile from one that is killed.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TAP = '1..3\nok 1 - one\n# not here\nnot ok 2 # SKIP two\nok 3 - three\n'

# log entries, expected last line, expected exit status
SUMMARIES = [
    ([('a', 'OK', ''), ('b', 'OK', '')], '2 passed, 0 failed, 0 skipped', 0),
    ([('a', 'OK', ''), ('b', 'FAIL', '')], '1 passed, 1 failed, 0 skipped', 1),
    ([('a', 'OK', ''), ('b', 'TIMEOUT', '')], '1 passed, 1 failed, 0 skipped', 1),
    ([('a', 'OK', ''), ('b', 'SKIP', 'no such kernel\n')], '1 passed, 0 failed, 1 skipped', 0),
    ([('a', 'OK', TAP)], '2 passed, 0 failed, 1 skipped', 0),
    ([('a', 'FAIL', TAP.replace('ok 3', 'not ok 3'))], '1 passed, 1 failed, 1 skipped', 1),
    ([('a', 'FAIL', '1..9\nok 1 - one\n')], '1 passed, 1 failed, 0 skipped', 1),  # died in its second case
    ([], '0 passed, 0 failed, 0 skipped', 1),
]

MUTANTS = """
file: src/port/native/alloc.c
find: p->objects >= p->max_objects
replace: p->objects > p->max_objects
test: unit/test_port_alloc
why: noticed

file: src/port/native/alloc.c
find: p->objects >= p->max_objects
replace: p->max_objects <= p->objects
test: unit/test_port_alloc
why: the same thing in other words

file: src/port/native/alloc.c
find: p->objects >= p->max_objects
replace: p->objects >= nothing
test: unit/test_port_alloc
why: does not compile

file: src/port/native/alloc.c
find: not in this file
replace:
test: unit/test_port_alloc
why: does not apply

file: src/port/native/alloc.c
find: p->objects >= p->max_objects
replace: p->objects > p->max_objects
test: unit/test_port_alloc unit/test_port_thread
why: one of its two tests is blind
"""
VERDICTS = ['ok', 'not ok', 'not ok', 'not ok', 'not ok']
REASONS = ['killed', 'SURVIVED', 'does not compile', 'did not apply', 'SURVIVED unit/test_port_thread']


def run(*words):
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)


def check_summary(directory):
    for entries, last, status in SUMMARIES:
        log = directory / 'testlog.json'
        log.write_text(''.join(json.dumps({'name': n, 'result': r, 'stdout': o}) + '\n' for n, r, o in entries),
                       encoding='utf-8')
        done = run(ROOT / 'scripts/summary.py', log)
        if done.stdout.splitlines()[-1] != last or done.returncode != status:
            yield f'summary of {entries}: {done.stdout!r}, exit status {done.returncode}'
    done = run(ROOT / 'scripts/summary.py', directory / 'none.json', 'lint=1', 'run=0')
    if done.stdout.splitlines()[-1] != '1 passed, 2 failed, 0 skipped' or done.returncode != 1:
        yield f'summary of a missing log: {done.stdout!r}, exit status {done.returncode}'


def check_mutants(directory, build):
    sample = directory / 'sample.mut'
    sample.write_text(MUTANTS, encoding='utf-8')
    done = run(ROOT / 'scripts/mutants.py', '--build', build, '--patience', 0, sample)
    lines = [line for line in done.stdout.splitlines() if not line.startswith(('1..', '#'))]
    if len(lines) != len(VERDICTS) or done.returncode != 1:
        yield f'mutants: {done.stdout!r} {done.stderr!r}, exit status {done.returncode}'
        return
    for line, verdict, reason in zip(lines, VERDICTS, REASONS):
        if not line.startswith(verdict + ' ') or reason not in line:
            yield f'mutants: expected {verdict}, {reason}: {line}'
    # The end of either stream alone tells it all.
    for stream in (done.stdout, done.stderr):
        end = stream.splitlines()[-VERDICTS.count('not ok') - 1:]
        if [line.startswith('# FAILED ') for line in end] != [True] * (len(end) - 1) + [False] or '1 of 5' not in end[-1]:
            yield f'mutants: the last lines do not say what failed: {end}'


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        wrong = [*check_summary(directory), *check_mutants(directory, pathlib.Path(sys.argv[1]))]
    print('\n'.join(wrong) or 'as expected')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
