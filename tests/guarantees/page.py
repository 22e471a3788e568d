#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: page.py ROOT

man/uhmm-guarantees.7 is what guarantees/expand.py makes of the table; and of a table with a mistake in it expand.py makes
nothing, whatever the mistake.
"""
import pathlib
import subprocess
import sys
import tempfile

MISTAKES = [
    ('op munmap: front ;', 'operation munmap: front ;'),
    ('; 0 ; $all ; ; -++ ; $any', '; 0 ; $nothing ; ; -++ ; $any'),
    ('; 0 ; $all ; ; -++ ; $any', '; 0 ; $all ; anon ; -++ ; $any'),
    ('; 0 ; $all ; ; -++ ; $any', '; 0 ; $all ; ; -+ ; $any'),
    ('; 0 ; $all ; ; -++ ; $any', '; 0 ; $all ; ; -++ ; '),
    ('; 0 ; $all ; ; -++ ; $any', '; 0 ; $all ; ; -++ ; by hand'),
    ('; 0 ; $all ; ; -++ ; $any', '; x ; $all ; ; -++ ; $any'),
    ('way inline ; +-+', 'way inline ; +?+'),
]


def expand(root, table):
    return subprocess.run([sys.executable, str(root / 'guarantees' / 'expand.py'), '--man', str(table),
                           str(root / 'guarantees' / 'page.7')], capture_output=True, text=True, check=False)


def main():
    root = pathlib.Path(sys.argv[1])
    table = root / 'guarantees' / 'table.txt'
    made = expand(root, table)
    wrong = []
    if made.returncode or made.stdout != (root / 'man' / 'uhmm-guarantees.7').read_text(encoding='utf-8'):
        wrong.append('man/uhmm-guarantees.7 is not what the table says: guarantees/expand.py --man guarantees/table.txt '
                     'guarantees/page.7 -o man/uhmm-guarantees.7')
    with tempfile.TemporaryDirectory() as where:
        for old, new in MISTAKES:
            text = table.read_text(encoding='utf-8')
            bad = pathlib.Path(where) / 'table.txt'
            bad.write_text(text.replace(old, new, 1), encoding='utf-8')
            if old not in text or expand(root, bad).returncode == 0:
                wrong.append(f'not refused: {new}')
    print('\n'.join(wrong) or f'the page is current; {len(MISTAKES)} mistakes refused')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
