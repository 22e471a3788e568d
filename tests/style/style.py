#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: style.py [--root DIR] [--library libuhmm.so]

What CONTRIBUTING.md asks of the sources and a program can see. Prints "path:line: rule: what" for each violation; exit status 1
if there is one. --library compares what the shared object exports with the map. The negative control is selftest.py: a bad
sample for every rule.
"""
import argparse
import pathlib
import re
import statistics
import subprocess
import sys

COLUMNS = 128
FILE_LINES = 1000
FILE_LINES_MEDIAN = 300
FUNCTION_LINES = 70

# Which folders of src/ a folder may include from, itself aside. Nothing that is shipped includes from lab/, which may include
# from all: but for the seam's backend src/port/lab, which is no part of the library.
EDGES = {
    'port': [],
    'core': ['port'],
    'regcache': ['port', 'core'],
    'monitors': ['port', 'core', 'regcache'],
    'devices': ['port', 'core', 'regcache'],
    'integrations': [],  # programs of the library: public headers only
    'lab': [],
}
LAB_BACKEND = ('src', 'port', 'lab')

C_FOLDERS = ['include', 'src', 'lab', 'tools', 'tests', 'bench', 'examples']
SPDX_SUFFIXES = ['.c', '.h', '.py', '.sh', '.map']
SPDX_NAMES = ['meson.build', 'Makefile']
TEXT_SUFFIXES = SPDX_SUFFIXES + ['.md', '.txt', '.mut', '.1', '.3', '.7', '.build']

# Only src/port/ may name these; everything else of the library goes through the seam.
CALL = r'(?<![\w.>])(?:%s)\s*\('
RAW = [re.compile(pattern) for pattern in (
    r'#\s*include\s*<(?:stdatomic|threads|pthread|linux/futex|linux/membarrier|urcu[\w/-]*)\.h>',
    r'\b_Atomic\b', r'\b__atomic_\w+', r'\b__sync_\w+', CALL % r'atomic_\w+', r'\bpthread_\w+', r'\b_Thread_local\b',
    r'\b__thread\b', r'(?:\.|->)private_value\b',
    CALL % 'mmap|mmap64|munmap|mremap|madvise|posix_madvise|process_madvise|mprotect|pkey_mprotect|brk|sbrk|shmat|shmdt|'
    'remap_file_pages|mlock|munlock|msync|userfaultfd|membarrier|futex|syscall',
    CALL % 'clock_gettime|clock_nanosleep|nanosleep|usleep|sleep|gettimeofday|time',
    CALL % 'malloc|calloc|realloc|reallocarray|free|posix_memalign|aligned_alloc|strdup|strndup',
)]

# Libraries of their own beside libuhmm.so, and as any program they use what libc has.
PROGRAMS = ('src', 'integrations')

# The race lab has threads, atomics and mappings of its own only where it makes fibers and their memory. It is a program
# besides, with clocks and an allocator; it looks into words, and its devices have atomic operations.
LAB_RAW = [p for p in RAW
           if not re.search('clock_gettime|malloc|private_value', p.pattern) and p.pattern != CALL % r'atomic_\w+']
LAB_OWN = ('lab/arena.c', 'lab/fiber.c')

UNFINISHED = re.compile(r'\b(' + '|'.join(['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK']) + r')\b')
# The repository speaks of the project, not of how or where it was made.
FOREIGN = re.compile(r'\b(?:this|the|a|last|next) ses' r'sion\b|\bissue (?:trac' r'ker|#?\d)|'
                     r'(?<![\w.])/(?:wo' r'rk|ro' r'ot)/|/ho' r'me/\w', re.I)

DECLARATION = re.compile(r'^[A-Za-z][\w \t*]*?\b(uhmm_\w+)\(', re.M)
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(match):
    return re.sub(r'[^\n]', ' ', match[0])


def code_of(text):
    """The text with comments and literals blanked, line numbers kept; include lines keep their operand."""
    return COMMENT_OR_STRING.sub(lambda m: m[0] if re.search(r'#\s*include\s*$', m.string[:m.start()].rsplit('\n', 1)[-1])
                                 else blank(m), text)


def comments_of(text):
    return ' '.join(m[0] for m in COMMENT_OR_STRING.finditer(text) if m[0].startswith('/'))


def line_at(text, offset):
    return text.count('\n', 0, offset) + 1


class Source:
    def __init__(self, root, path):
        self.path = path
        self.parts = path.parts
        self.text = (root / path).read_text(encoding='utf-8')
        self.lines = self.text.splitlines()
        self.is_c = path.suffix in ('.c', '.h') and path.parts[0] in C_FOLDERS
        self.code = code_of(self.text) if self.is_c else ''


def list_files(root):
    """What git tracks or would track; in a tree without git, everything outside build/."""
    try:
        out = subprocess.run(['git', '-C', str(root), 'ls-files', '-co', '--exclude-standard'], capture_output=True, text=True,
                             check=True).stdout
        names = [pathlib.Path(name) for name in out.splitlines()]
    except (OSError, subprocess.CalledProcessError):
        names = []
    if not names:
        names = [p.relative_to(root) for p in root.rglob('*') if p.is_file()]
        names = [p for p in names if p.parts[0] not in ('build', '.git')]
    return sorted(p for p in names if (root / p).is_file())


def check_text(source):
    for number, line in enumerate(source.lines, 1):
        if line != line.rstrip() and source.path.suffix != '.mut':
            yield number, 'blank', 'trailing white space'
        if len(line.expandtabs(8)) > COLUMNS and source.path.suffix != '.md':
            yield number, 'columns', f'more than {COLUMNS} columns'
        if UNFINISHED.search(line):
            yield number, 'unfinished', UNFINISHED.search(line)[0]
        if FOREIGN.search(line):
            yield number, 'foreign', f'"{FOREIGN.search(line)[0]}" is not about the project'
    if source.text and not source.text.endswith('\n'):
        yield len(source.lines), 'blank', 'no newline at the end'


def check_licence(source):
    if source.path.suffix in SPDX_SUFFIXES or source.path.name in SPDX_NAMES:
        if not any('SPDX-License-Identifier: MIT' in line for line in source.lines[:2]):
            yield 1, 'licence', 'no SPDX line on top'


def check_sizes(source):
    if not source.is_c:
        return
    if len(source.lines) > FILE_LINES:
        yield 1, 'file-size', f'{len(source.lines)} lines, more than {FILE_LINES}'
    opened = None
    for number, line in enumerate(source.lines, 1):
        if line == '{':
            opened = number
        elif opened and line.startswith('}'):
            if number - opened + 1 > FUNCTION_LINES:
                yield opened, 'function-size', f'{number - opened + 1} lines, more than {FUNCTION_LINES}'
            opened = None


def check_edges(source):
    if not source.is_c:
        return
    here = source.parts[1] if source.parts[0] == 'src' and len(source.parts) > 2 else None
    for match in re.finditer(r'#\s*include\s*["<]([^">]+)[">]', source.code):
        target = match[1].split('/')
        number = line_at(source.code, match.start())
        if here and target[0] in EDGES and target[0] != here and target[0] not in EDGES[here] and \
                not (target[0] == 'lab' and source.parts[:3] == LAB_BACKEND):
            yield number, 'edge', f'{here} includes {match[1]}'
        if here != 'port' and 'native' in target:
            yield number, 'edge', f'a backend of the seam by name: {match[1]}'
        if source.parts[0] in ('include', 'examples') and target[0] in EDGES:
            yield number, 'edge', f'{source.parts[0]} includes {match[1]}'
        if source.parts[0] == 'include' and target[0] not in ('uhmm', 'stdbool.h', 'stddef.h', 'stdint.h', 'sys'):
            yield number, 'edge', f'a public header includes {match[1]}'


def check_raw(source):
    if not source.is_c or source.parts[0] not in ('src', 'lab') or source.parts[1] == 'port' or \
            source.parts[:2] == PROGRAMS or source.path.as_posix() in LAB_OWN:
        return
    for pattern in RAW if source.parts[0] == 'src' else LAB_RAW:
        for match in pattern.finditer(source.code):
            home = 'src/port' if source.parts[0] == 'src' else 'lab/arena.c or lab/fiber.c'
            yield line_at(source.code, match.start()), 'raw', f'{match[0].strip()} belongs in {home}'


def declared(source):
    return {match[1]: line_at(source.code, match.start()) for match in DECLARATION.finditer(source.code)
            if 'static inline' not in match[0] and 'typedef' not in match[0]}


def check_documented(source):
    if source.parts[:2] != ('include', 'uhmm'):
        return
    for name, number in declared(source).items():
        before = '\n'.join(source.lines[:number - 1])
        if not re.search(r'\b' + name + r'\b', comments_of(before)):
            yield number, 'undocumented', f'{name} has no comment'


CHECKS = [check_text, check_licence, check_sizes, check_edges, check_raw, check_documented]


def map_names(text):
    exported = re.search(r'global:(.*?)local:', re.sub(r'/\*.*?\*/', '', text, flags=re.S), re.S)
    return set(re.findall(r'(\w+);', exported[1])) if exported else set()


def check_exports(sources, library):
    headers = [s for s in sources if s.parts[:2] == ('include', 'uhmm')]
    in_headers = {name: s.path for s in headers for name in declared(s)}
    the_map = next((s for s in sources if s.path.as_posix() == 'src/libuhmm.map'), None)
    if the_map is None:
        return
    in_map = map_names(the_map.text)
    # A library beside libuhmm.so has a map of its own.
    in_others = {name for s in sources if s.parts[:2] == PROGRAMS and s.path.suffix == '.map' for name in map_names(s.text)}
    in_headers = {name: path for name, path in in_headers.items() if name in in_map or name not in in_others}
    for name in sorted(in_map - set(in_headers)):
        yield the_map.path, 1, 'export', f'{name} is in no public header'
    for name in sorted(set(in_headers) - in_map):
        yield in_headers[name], 1, 'export', f'{name} is not in the map'
    if library:
        out = subprocess.run(['nm', '-D', '--defined-only', '--format=posix', library], capture_output=True, text=True,
                             check=True).stdout
        in_library = {line.split()[0].split('@')[0] for line in out.splitlines()}
        in_library = {name for name in in_library if not name.startswith('UHMM_')}  # the version nodes themselves
        for name in sorted(in_library - in_map):
            yield the_map.path, 1, 'export', f'the library exports {name}, which is not expected'
        for name in sorted(in_map - in_library):
            yield the_map.path, 1, 'export', f'the library lacks {name}'


def violations(root, library=None):
    sources = []
    for path in list_files(root):
        if path.suffix in TEXT_SUFFIXES or path.name in SPDX_NAMES or path.parts[0] == '.ci':
            sources.append(Source(root, path))
    for source in sources:
        for check in CHECKS:
            for number, rule, what in check(source):
                yield source.path, number, rule, what
    sizes = [len(s.lines) for s in sources if s.is_c]
    if sizes and statistics.median(sizes) > FILE_LINES_MEDIAN:
        yield pathlib.Path('.'), 0, 'file-size', f'the median file has {statistics.median(sizes)} lines'
    yield from check_exports(sources, library)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--root', type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument('--library')
    options = parser.parse_args()
    found = 0
    for path, number, rule, what in violations(options.root, options.library):
        print(f'{path}:{number}: {rule}: {what}')
        found += 1
    print(f'{found} violations')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
