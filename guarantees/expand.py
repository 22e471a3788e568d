#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: expand.py {--cells|--table|--man} TABLE [TEMPLATE] [-o FILE]

Makes of the table of guarantees, whose first lines say how it is written, what is built from it: --cells, the header of the
test that runs every cell; --table, the header of `uhmm doctor --table`; --man, the manual page, out of its template. The rule
that turns marks into verdicts is Op.verdict(), and nowhere else.
"""
import argparse
import itertools
import re
import sys

LETTERS = {'yes': 'y', 'no': 'n', 'needless': 'd', 'kept': 'k', 'uncached': 'u'}  # d: dropped for nothing
VERDICTS = {(True, True): 'yes', (True, False): 'no', (False, True): 'needless', (False, False): 'kept'}
# What C knows by the same name as a system call; every other function of the column `call` is the test's own.
CALLS = {'munmap', 'mmap', 'mremap', 'madvise', 'mprotect', 'pkey_mprotect', 'mlock', 'mlock2', 'munlock', 'msync', 'shmat',
         'shmdt', 'remap_file_pages', 'ftruncate', 'truncate', 'open', 'openat', 'creat', 'fallocate', 'brk'}


class Table:
    def __init__(self, text):
        self.monitors, self.mappings, self.ways, self.sets, self.ops, self.programs = {}, {}, {}, {}, [], {}
        self.unwatched = {}
        self.group = None
        for number, line in enumerate(text.splitlines(), 1):
            line = line.strip()
            if line and not line.startswith('#'):
                try:
                    self.read(line)
                except (KeyError, ValueError, IndexError) as error:
                    raise SystemExit(f'table, line {number}: {error!r}: {line}') from error

    def read(self, line):
        kind, rest = line.split(None, 1)
        columns = [column.strip() for column in rest.split(';')]
        if kind in ('monitor', 'mapping'):
            getattr(self, kind + 's')[columns[0]] = columns[1]
        elif kind == 'way':
            self.ways[columns[0]] = (marks(columns[1]), columns[2])
        elif kind == 'unwatched':
            self.unwatched[list(self.monitors).index(columns[0])] = self.members(columns[1], self.mappings)
        elif kind == 'set':
            name, members = rest.split('=')
            self.sets[name.strip()] = members.split()
        elif kind == 'group':
            self.group = rest
        elif kind == 'op':
            self.read_op(columns)
        elif kind == 'program':
            self.programs[columns[0]] = (dict(zip([*self.monitors, 'auto'], columns[1].split(), strict=True)), columns[2])
        else:
            raise ValueError('unknown kind')

    def read_op(self, columns):
        alternatives = re.search(r'\{([^}]+)\}', columns[0])
        for word in alternatives[1].split(',') if alternatives else [None]:
            filled = [re.sub(r'\{[^}]*\}', word, c) if word else c for c in columns]
            self.ops.append(Op(self, self.group, filled))

    def members(self, text, known):
        out = []
        for word in text.split():
            out += self.sets[word[1:]] if word.startswith('$') else [word]
        unknown = set(out) - set(known)
        if unknown or len(out) != len(set(out)):
            raise ValueError(f'unknown or twice: {sorted(unknown)}')
        return [name for name in known if name in out]  # in the table's order


def marks(text):
    if not re.fullmatch(r'[-+]{3,4}', text):
        raise ValueError(f'three marks or four, not "{text}"')
    return [mark == '+' for mark in text.ljust(4, '-')]


class Op:
    def __init__(self, table, group, columns):
        columns += [''] * (9 - len(columns))
        self.table, self.group = table, group
        self.name, self.call, self.page = columns[0], columns[1], int(columns[2])
        self.changes = table.members(columns[3], table.mappings)
        self.keeps = table.members(columns[4], table.mappings)
        self.drops = {}
        for part in columns[5].split(','):
            sign, _, some = part.partition(':')
            for mapping in table.members(some, table.mappings) if some.strip() else self.changes + self.keeps:
                self.drops[mapping] = marks(sign.strip())
        self.ways = table.members(columns[6], table.ways)
        self.needs, self.remark = columns[7].split(), columns[8]
        if set(self.changes) & set(self.keeps) or not self.ways or not self.drops:
            raise ValueError('changes and keeps overlap, or no way or mapping')

    def verdict(self, monitors, mapping, way):
        """Of one monitor, or of several at once."""
        watching = [m for m in monitors if mapping not in self.table.unwatched.get(m, [])]
        if not watching:
            return 'uncached'
        drops, way_marks = self.drops[mapping], self.table.ways[way][0]
        heard = any(drops[m] and way_marks[m] for m in watching)
        heard |= drops[3] and len(watching) > 1 and way_marks[1]
        return VERDICTS[mapping in self.changes, heard]

    def cells(self):
        return itertools.product(self.changes + self.keeps, self.ways)

    def lines(self):
        """[(changes?, mappings, [what each column says])]: mappings of which the same is to be said, together."""
        groups = {}
        for mapping in self.changes + self.keeps:
            said = tuple(self.said(monitors, mapping) for _, monitors in columns_of(self.table))
            groups.setdefault((mapping in self.changes, said), []).append(mapping)
        return [(changes, mappings, said) for (changes, said), mappings in groups.items()]

    def said(self, monitors, mapping):
        """The verdict, and in brackets the ways for which there is another."""
        by_verdict = {}
        for way in self.ways:
            by_verdict.setdefault(self.verdict(monitors, mapping, way), []).append(way)
        (first, _), *others = sorted(by_verdict.items(), key=lambda item: -len(item[1]))
        return first + ''.join(f' ({verdict}: {", ".join(ways)})' for verdict, ways in others)

    def conditions(self):
        words = {'later': 'shows later', 'unseen': '', 'fs': 'if the file system can do it', 'swap': 'with swap space',
                 'nodes': 'with several memory nodes', 'ksm': 'with KSM running', 'pins': '',
                 'refused': 'refused by the kernel where uffd watches'}
        return [words[n] if n in words else f'since Linux {n}' for n in self.needs if words.get(n, n)]


def columns_of(table):
    """What is shown side by side: each monitor, and the last two together."""
    one = [(name, [place]) for place, name in enumerate(table.monitors)]
    return one + [('+'.join(list(table.monitors)[1:]), [1, 2])]


def identifier(name):
    return re.sub(r'\W', '_', name)


def c_string(text):
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def c_call(op):
    name, arguments = re.fullmatch(r'(\w+)\((.*)\)', op.call).groups()
    if name in CALLS:
        return f'return CALL({name}, {arguments});'
    return f'return act_{name}({arguments});'


def write_cells(table):
    out = ['/* Made by guarantees/expand.py of guarantees/table.txt. */']
    for number, op in enumerate(table.ops):
        out += [f'static long call_{number}(void)', '{', f'\t{c_call(op)}', '}']
    out += ['static const struct op ops[] = {']
    for number, op in enumerate(table.ops):
        needs = ' | '.join(['OP_' + n.upper() for n in op.needs if not n[0].isdigit()]) or '0'
        out += [f'\t{{{c_string(op.name)}, call_{number}, {op.page}, {needs}, {since(op)}}},']
    out += ['};', 'static const struct cell cells[] = {']
    for number, op in enumerate(table.ops):
        for mapping, way in op.cells():
            letters = ''.join(LETTERS[op.verdict(m, mapping, way)] for _, m in columns_of(table))
            out += [f'\t{{&ops[{number}], MAPPING_{identifier(mapping).upper()}, WAY_{way.upper()}, "{letters}"}},']
    return '\n'.join(out + ['};', ''])


def write_table(table):
    out = ['/* Made by guarantees/expand.py of guarantees/table.txt. */', 'static const char *const columns[] = {']
    out += [f'\t{c_string(name)},' for name, _ in columns_of(table)] + ['};']
    for kind in ('mapping', 'way'):
        named = [(n, d if kind == 'mapping' else d[1]) for n, d in getattr(table, kind + 's').items()]
        out += [f'static const struct word {kind}s[] = {{']
        out += [f'\t{{{c_string(n)}, {c_string(d)}}},' for n, d in named] + ['};']
    out += ['static const struct row rows[] = {']
    for op in table.ops:
        for changes, mappings, said in op.lines():
            fields = [op.group, op.name, named_together(table, mappings), ', '.join(op.conditions()), op.remark]
            out += ['\t{' + ', '.join(c_string(f) for f in fields) + f', {str(changes).lower()}, {since(op)}, {{'
                    + ', '.join(c_string(s) for s in said) + '}},']
    return '\n'.join(out + ['};', ''])


def since(op):
    """As a number: 6013 for 6.13; 0 for kernels that are not asked for."""
    major, minor = next((n for n in op.needs if n[0].isdigit()), '0.0').split('.')
    return int(major) * 1000 + int(minor)


def roff(text):
    return text.replace('\\', '\\e').replace('-', '\\-').lstrip('.\'')


def named_together(table, members):
    return 'every kind' if members == table.members('$all', table.mappings) else ', '.join(members)


def man_line(table, changes, mappings, said):
    """The program's own announcements are left out where they are the only ones."""
    names = [name for name, _ in columns_of(table)]
    start = f'{"Changes" if changes else "Keeps"} {named_together(table, mappings)}: '
    silent = 'no' if changes else 'kept'
    if set(said) == {silent}:
        return start + silent
    if len(set(said)) == 1:
        return start + said[0]
    return start + '; '.join(f'{name} {s}' for name, s in zip(names, said) if name != 'explicit' or s != silent)


def man_operation(table, op):
    lines = [man_line(table, *line) for line in op.lines()]
    lines[-1] += ''.join(f'; {c}' for c in op.conditions() + [op.remark] if c)
    return '\n.br\n'.join(roff(line) + '.' for line in lines)


def man_operations(table):
    """Neighbours of which the same is to be said are said together."""
    out = []
    for group, ops in itertools.groupby(table.ops, key=lambda op: op.group):
        out += [f'.SS {roff(group)}']
        for text, same in itertools.groupby(ops, key=lambda op: man_operation(table, op)):
            for place, op in enumerate(same):
                out += ['.TQ' if place else '.TP', f'.B {roff(op.name)}']
            out += text.split('\n')
    return out


def man_programs(table):
    out = []
    for name, (said, words) in table.programs.items():
        verdicts = '; '.join(f'{monitor} {verdict}' for monitor, verdict in said.items() if monitor != 'explicit')
        out += ['.TP', f'.B {roff(name)}', roff(words) + ':', roff(verdicts) + '.']
    return out


def wrap(line):
    """Sources keep within 128 columns; a newline is a blank to roff."""
    while len(line) > 120 and not line.startswith('.'):
        cut = line.rfind(' ', 0, 120)
        yield line[:cut]
        line = line[cut + 1:]
    yield line


def write_man(table, template):
    words = {
        '@MAPPINGS@': [f'.TP\n.B {roff(n)}\n{roff(d)}' for n, d in table.mappings.items()],
        '@WAYS@': [f'.TP\n.B {roff(n)}\n{roff(d)}' for n, (_, d) in table.ways.items()],
        '@OPERATIONS@': man_operations(table),
        '@PROGRAMS@': man_programs(table),
        '@CELLS@': [str(sum(len(list(op.cells())) for op in table.ops))],
    }
    text = template
    for mark, lines in words.items():
        text = text.replace(mark, '\n'.join(lines))
    return '\n'.join(part for line in text.splitlines() for part in wrap(line)) + '\n'


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split('\n', 1)[0][7:])
    what = parser.add_mutually_exclusive_group(required=True)
    for name in ('cells', 'table', 'man'):
        what.add_argument('--' + name, action='store_true')
    parser.add_argument('files', nargs='+')
    parser.add_argument('-o', '--output')
    options = parser.parse_args()
    texts = [open(name, encoding='utf-8').read() for name in options.files]
    table = Table(texts[0])
    text = write_cells(table) if options.cells else write_table(table) if options.table else write_man(table, texts[1])
    if options.output:
        with open(options.output, 'w', encoding='utf-8') as file:
            file.write(text)
    else:
        sys.stdout.write(text)


if __name__ == '__main__':
    main()
