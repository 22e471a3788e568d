#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: names.py TRAP docs/trap.md NAME...

The experiments that the program has, those that are run as tests, and those that the page refers to are the same.
"""
import pathlib
import re
import subprocess
import sys


def main():
    program, page, tests = sys.argv[1], pathlib.Path(sys.argv[2]).read_text(encoding='utf-8'), set(sys.argv[3:])
    listed = subprocess.run([program, '--list'], capture_output=True, text=True, check=True).stdout.splitlines()
    there = {line.split()[0] for line in listed}
    cited = {name for group in re.findall(r'\[(`\w+`(?:, `\w+`)*)\](?!\()', page) for name in re.findall(r'\w+', group)}
    wrong = 0
    for what, names in (('is no experiment, but run', tests - there), ('is no experiment, but cited', cited - there),
                        ('is not run', there - tests), ('is not cited', there - cited)):
        for name in sorted(names):
            print(f'{name} {what}')
            wrong += 1
    print(f'{len(there)} experiments')
    return 1 if wrong or not there else 0


if __name__ == '__main__':
    sys.exit(main())
