#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: summary.py {TESTLOG.json | NAME=STATUS}...

Adds up Meson's test logs and prints "N passed, N failed, N skipped" as the last line. A cmocka program counts as its cases, any
other test as one, and so does NAME=STATUS, a job that ended with that exit status. Every skip is printed with the reason the
test gave. A log that does not exist counts as one failure. Exit status 1 when anything failed or nothing passed.
"""
import json
import re
import sys

TAP = re.compile(r'^(ok|not ok) \d+ (?:- )?(.*)$')
SKIP = re.compile(r'# ?skip', re.IGNORECASE)


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else 'no reason given'


def tap_cases(test):
    """(passed, failed, skipped) of a program that speaks TAP, or None. A program that died counts one failure more."""
    passed = failed = 0
    skipped = []
    comment = ''
    for line in test.get('stdout', '').splitlines():
        case = TAP.match(line)
        if not case:
            comment = line.lstrip('# ') if line.startswith('#') else comment
            continue
        if SKIP.search(line):
            name = SKIP.sub('', case[2]).strip()
            skipped.append(f'{name}: {comment or "no reason given"}')
        elif case[1] == 'ok':
            passed += 1
        else:
            failed += 1
        comment = ''
    if passed + failed + len(skipped) == 0:
        return None
    if test['result'] not in ('OK', 'SKIP', 'EXPECTEDFAIL') and failed == 0:
        failed = 1
    return passed, failed, skipped


def add(test):
    cases = tap_cases(test)
    if cases:
        passed, failed, skipped = cases
        for name in skipped:
            print(f'skipped: {test["name"]}: {name}')
        return passed, failed, len(skipped)
    if test['result'] in ('OK', 'EXPECTEDFAIL'):
        return 1, 0, 0
    if test['result'] == 'SKIP':
        print(f'skipped: {test["name"]}: {last_line(test.get("stdout", "") + test.get("stderr", ""))}')
        return 0, 0, 1
    return 0, 1, 0


def read(argument):
    """A list of (passed, failed, skipped)."""
    job = re.fullmatch(r'([a-z]+)=(\d+)', argument)
    if job:
        return [(1, 0, 0) if job[2] == '0' else (0, 1, 0)]
    try:
        with open(argument, encoding='utf-8') as log:
            return [add(json.loads(line)) for line in log if line.strip()]
    except FileNotFoundError:
        print(f'failed: {argument} was not written: the build or the run broke off')
        return [(0, 1, 0)]


def main(arguments):
    total = [(0, 0, 0)]
    for argument in arguments:
        total += read(argument)
    passed, failed, skipped = (sum(column) for column in zip(*total))
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
