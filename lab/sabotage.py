#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: sabotage.py SOURCE OUT FIND REPLACE WORDS

Writes a copy of a shipped source with one mistake, which the lab then has to find: its negative control. FIND occurs once
in it. The copy says in WORDS what is wrong (see lab/control.h).
"""
import pathlib
import sys


def main():
    source, out, find, replace, words = sys.argv[1:]
    text = pathlib.Path(source).read_text(encoding='utf-8')
    if text.count(find) != 1:
        sys.exit(f'sabotage.py: "{find}" occurs {text.count(find)} times in {source}, not once')
    text = text.replace(find, replace)
    pathlib.Path(out).write_text(f'{text}\nconst char lab_sabotage_words[] = "{words}";\n', encoding='utf-8')


if __name__ == '__main__':
    main()
