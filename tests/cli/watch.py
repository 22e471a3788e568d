#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: watch.py UHMM PROGRAM [STATIC|- [USER|-]]

`uhmm watch` from outside, on watch_program, whose changes are known exactly; STATIC is the same program statically
linked, if that can be had; USER is watch_user, a program with hooks of its own.
Prints TAP.
"""
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios

UHMM, PROGRAM = (os.path.abspath(path) for path in sys.argv[1:3])
STATIC, USER = (None if path == '-' else os.path.abspath(path) for path in (sys.argv[3:] + ['-', '-'])[:2])
for setting in [name for name in os.environ if name.startswith('UHMM_')]:
    del os.environ[setting]
LIMIT_S = 100
tests = []


def test(function):
    tests.append(function)
    return function


class Skip(Exception):
    pass


def run(*args, stdin=subprocess.DEVNULL, env=None, **kwargs):
    done = subprocess.run([UHMM, 'watch', *args], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT_S,
                          env={**os.environ, **(env or {})}, **kwargs)
    return done.returncode, done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace')


def report(*args, status=0, **kwargs):
    """The JSON report, which is the last line of standard error."""
    code, _, err = run('--json', *args, **kwargs)
    assert code == status, f'{args}: status {code}: {err}'
    return json.loads(err.splitlines()[-1])


def counts(r, key='calls'):
    return {kind: c[key] for kind, c in r['changes'].items() if c[key]}


def one_line(text, *words):
    assert text.startswith('uhmm watch: ') and text.count('\n') == 1 and text.endswith('\n'), f'not one line: {text!r}'
    for word in words:
        assert word in text, f'{word!r} is not in {text!r}'


def refused(status, *args, words=()):
    code, out, err = run(*args)
    assert (code, out) == (status, ''), f'{args}: {code} {out!r}'
    one_line(err, *words)


COUNTS = {'mmap': 10, 'mmap fixed': 7, 'munmap': 5, 'DONTNEED': 4, 'mprotect': 3, 'mremap move': 2, 'mremap in place': 1,
          'MADV_FREE': 1}
PAGE, BIG = 4096, 32 * 4096


@test
def wrong_calls():
    refused(2, words=['no command'])
    refused(2, '--nonsense', 'true', words=['--nonsense'])
    refused(2, '--trace', words=['--trace'])
    refused(2, '--monitor', 'magic', 'true', words=['magic'])
    refused(2, '--trace', '/nonexistent/trace', '--', PROGRAM, 'killed', words=['/nonexistent/trace'])
    refused(2, '--output', '/nonexistent/report', '--', PROGRAM, 'killed', words=['/nonexistent/report'])
    refused(127, '--', 'no-such-command-anywhere', words=['not found'])
    refused(127, '--', '/nonexistent/command', words=['not found'])
    refused(127, '--', '', words=['not found'])
    refused(126, '--', '/', words=['not executable'])
    code, out, err = run('--help')
    assert code == 0 and 'COMMAND' in out and not err


@test
def changes_are_counted_exactly():
    r = report('--', PROGRAM, 'counts')
    assert counts(r) == COUNTS, counts(r)
    assert counts(r, 'failed') == {'munmap': 6}
    assert r['total']['calls'] == sum(COUNTS.values()) and r['total']['failed'] == 6
    assert counts(r, 'bytes') == {'mmap': 10 * BIG, 'mmap fixed': 7 * PAGE, 'munmap': 5 * BIG, 'DONTNEED': 8 * PAGE,
                                  'mprotect': 3 * PAGE, 'mremap move': 2 * BIG, 'mremap in place': BIG - PAGE,
                                  'MADV_FREE': PAGE}
    assert r['changes']['mmap']['sizes'] == {'to_4k': 0, 'to_64k': 0, 'to_2m': 10, 'more': 0}
    assert r['watched'] and r['exit_status'] == 0 and r['programs'] == 1 and r['cache']['uses'] == 0
    # Call sites add up to the same, and each is in the program itself.
    assert sum(s['calls'] for s in r['call_sites']) == r['total']['calls']
    assert {os.path.basename(s['object']) for s in r['call_sites']} == {os.path.basename(PROGRAM)}, r['call_sites']


@test
def nothing_is_seen_without_hooks_and_that_is_said():
    r = report('--monitor', 'none', '--', PROGRAM, 'counts')
    assert counts(r) == {} and r['programs_without_hooks'] == 1 and r['hooks'] == 'switched off', r
    r = report('--monitor', 'none', '--', PROGRAM, 'stale')
    assert r['cache']['uses'] == 10 and r['cache']['stale_hearing_nothing'] == 0, r['cache']
    code, _, err = run('--monitor', 'none', '--', PROGRAM, 'counts')
    assert code == 0 and 'without hooks' in err, err
    r = report('--', PROGRAM, 'nothing')
    assert counts(r) == {} and r['watched'] and r['programs_without_hooks'] == 0


@test
def symbols_or_offsets():
    sites = report('--', PROGRAM, 'heap')['call_sites']
    assert {(s['change'], s['calls']) for s in sites} == {('mmap', 1), ('munmap', 1)}, sites
    for s in sites:  # made inside libc, asked for by the program
        assert os.path.basename(s['object']) == os.path.basename(PROGRAM), s
        assert 'scene_heap' in s['symbol'] or '+0x' in s['symbol'], s


@test
def what_would_have_gone_stale():
    r = report('--', PROGRAM, 'stale')['cache']
    assert (r['uses'], r['stale_hearing_nothing'], r['stale_with_hooks_today']) == (10, 3, 0), r
    r = report('--', PROGRAM, 'missed', status=(0 if locked() else 7))
    by = r['cache']['stale_by']
    assert (by['mremap_onto'], by['by_syscall'], by['unknown_call']) == (1, 1, int(locked())), by
    r = report('--', PROGRAM, 'unseen')['cache']
    assert (r['stale_hearing_nothing'], r['stale_by']['unseen']) == (1, 1), r
    r = report('--', PROGRAM, 'calls')['cache']
    assert (r['uses'], r['stale_hearing_nothing'], r['stale_with_hooks_today']) == (17, 16, 0), r
    r = report('--', PROGRAM, 'window')['cache']
    assert r['stale_by']['while_changing'] > 0, r


def locked():
    version = os.uname().release.split('.')
    return (int(version[0]), int(version[1])) >= (5, 18)


@test
def threads_and_children_are_followed():
    r = report('--', PROGRAM, 'threads')
    changer = [s['calls'] for s in r['call_sites'] if s['calls'] == 400]
    assert len(changer) == 2, r['call_sites']  # 4 threads, 100 pairs, two places
    r = report('--', PROGRAM, 'children')
    assert counts(r)['mmap'] == 3 + 4 + 10 and counts(r)['munmap'] == 3 + 4 + 5 and counts(r)['fork'] == 1, counts(r)
    assert r['programs'] == 4 and sorted(p['calls'] for p in r['processes'])[1:] == [6, 8, sum(COUNTS.values())], r['processes']
    r = report('--', 'sh', '-c', f'{PROGRAM} counts; {PROGRAM} counts | cat; exit 5', status=5)
    assert counts(r)['mremap move'] == 4 and counts(r)['mmap fixed'] == 14, counts(r)


@test
def trace_is_what_perfetto_reads():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'trace.json')
        r = report('--trace', path, '--', PROGRAM, 'threads')
        trace = json.load(open(path))
        events = [e for e in trace['traceEvents'] if e['ph'] == 'X']
        assert len(events) == r['total']['calls'] + r['total']['failed'] and r['events_dropped'] == 0
        for e in events:
            assert e['name'] == e['args']['kind'] and e['dur'] >= 0 and 0 <= e['ts'] < 1e6 * r['seconds'], e
            assert e['args']['bytes'] > 0 and int(e['args']['address'], 16) % 4096 == 0 and e['args']['call_site'], e
        names = {e['tid']: e['args']['name'] for e in trace['traceEvents'] if e['ph'] == 'M' and e['name'] == 'thread_name'}
        assert {e['tid'] for e in events} <= set(names), 'a thread without a name'
        assert list(names.values()).count('changer') >= 1, names
        assert any(e['ph'] == 'M' and e['name'] == 'process_name' for e in trace['traceEvents'])
        for tid in {e['tid'] for e in events}:  # one thread makes one call after the other
            mine = sorted((e['ts'], e['ts'] + e['dur']) for e in events if e['tid'] == tid)
            assert all(a[1] <= b[0] + 0.001 for a, b in zip(mine, mine[1:])), 'calls of a thread overlap'
        run('--trace', path, '--', PROGRAM, 'stale')
        uses = [e for e in json.load(open(path))['traceEvents'] if e['ph'] == 'i']
        assert len(uses) == 3 and all(e['name'] == 'stale use' and e['s'] == 't' for e in uses), uses


@test
def events_that_are_lost_are_counted():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'trace.json')
        r = report('--trace', path, '--', PROGRAM, 'storm')
        trace = json.load(open(path))
        written = sum(e['ph'] == 'X' for e in trace['traceEvents'])
        assert r['total']['calls'] == 60000 == written + r['events_dropped'], (written, r['events_dropped'])
        assert trace['otherData']['events_dropped'] == r['events_dropped']


@test
def the_program_is_kept_as_it_is():
    assert run('--', 'sh', '-c', 'exit 42')[0] == 42
    assert run('--', 'sh', '-c', 'exit 127')[0] == 127
    code, out, _ = run('--', 'cat', stdin=open(__file__, 'rb'))
    assert (code, out) == (0, open(__file__).read())
    code, out, _ = run('--', 'pwd', cwd='/usr')
    assert (code, out) == (0, '/usr\n')
    others = {'LD_PRELOAD': 'libm.so.6', 'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'}
    code, out, _ = run('--', 'sh', '-c', 'echo $LD_PRELOAD', env=others)
    assert out.endswith('libuhmm-watch.so:libm.so.6\n'), out
    code, out, err = run('--output', '/dev/null', '--', 'sh', '-c', 'echo out; echo err >&2')
    assert (code, out, err) == (0, 'out\n', 'err\n')
    code, out, _ = run('--', 'cat', '/proc/self/status')
    assert 'Threads:\t1\n' in out, 'there is a thread more'
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, 'script')
        with open(script, 'w') as f:
            f.write(f'#!/bin/sh\n{PROGRAM} counts\n')
        os.chmod(script, 0o755)
        assert counts(report('--', script))['mmap fixed'] == 7
        assert counts(report('--', 'script', env={'PATH': folder + ':' + os.environ['PATH']}))['mmap fixed'] == 7


def start(*args, **kwargs):
    p = subprocess.Popen([UHMM, 'watch', *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         **kwargs)
    assert p.stdout.readline() == b'ready\n'
    return p


@test
def signals():
    assert run('--', PROGRAM, 'killed')[0] == -signal.SIGKILL
    assert 'signal 9' in run('--', PROGRAM, 'killed')[2]
    assert report('--', PROGRAM, 'killed', status=-signal.SIGKILL)['signal'] == 9
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to the tool, passed on; the program leaves with a status of its own
        p = start('--', PROGRAM, 'wait')
        p.send_signal(number)
        assert p.wait(LIMIT_S) == 40 + number % 20, p.returncode
        assert b'exit status' in p.stderr.read()
    p = start('--', PROGRAM, 'wait', start_new_session=True)
    os.killpg(p.pid, signal.SIGINT)
    assert p.wait(LIMIT_S) == 42
    p = start('--', 'sh', '-c', 'echo ready; exec sleep 60')
    p.send_signal(signal.SIGTERM)
    assert p.wait(LIMIT_S) == -signal.SIGTERM


@test
def programs_that_cannot_be_watched_run_all_the_same():
    if STATIC:
        code, _, err = run('--', STATIC, 'missed')
        assert code in (0, 7) and 'statically linked' in err.splitlines()[0], err
        r = report('--', STATIC, 'nothing')
        assert not r['watched'] and 'statically' in r['unseen']
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        copy = os.path.join(folder, 'program')
        shutil.copy(PROGRAM, copy)
        if os.getuid() != 0:
            raise Skip('a set-user-ID program needs root to be made')
        os.chown(copy, 65534, 65534)
        os.chmod(copy, 0o755 | stat.S_ISUID)
        code, _, err = run('--', copy, 'nothing')
        assert code == 0 and 'set-user-ID' in err.splitlines()[0], err


def screen(*args):
    """What a terminal of 80 x 24 was sent, and the exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ['TERM'] = 'xterm'
        os.execv(UHMM, [UHMM, 'watch', *args])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    seen = b''
    while True:
        select.select([fd], [], [], LIMIT_S)
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    return seen.decode(errors='replace'), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@test
def a_program_with_hooks_of_its_own():
    if not USER:
        raise Skip('not built here')
    c = counts(report('--', USER))
    assert (c['munmap'], c['DONTNEED']) == (8, 5) and c['mmap'] >= 8, c
    r = report('--monitor', 'none', '--', USER)
    assert counts(r) == {}, counts(r)


@test
def live_view():
    seen, code = screen('--top', '--', 'sh', '-c',
                        f'echo early; for i in 1 2 3 4 5 6 7 8; do {PROGRAM} storm; sleep 0.2; done; exit 6')
    assert code == 6, code
    begin, end = seen.find('\033[?1049h'), seen.find('\033[?1049l')
    assert 0 <= begin < end, 'the alternate screen is not entered and left'
    view, after = seen[begin:end], seen[end:]
    frames = view.split('\033[H')[2:]
    assert frames, 'nothing was drawn'
    for frame in frames:
        lines = frame.split('\r\n')
        assert len(lines) <= 24, f'{len(lines)} lines'
        for line in lines:
            plain = line.replace('\033[K', '').replace('\033[7m', '').replace('\033[m', '').replace('\033[J', '')
            assert '\033' not in plain.replace('\033[?25h', '') and len(plain) <= 80, repr(line)
    assert 'mmap fixed' in frames[-1] and 'CALL SITE' in frames[-1]
    assert 'early' not in view and 'early' in after, 'what the program says is let out after the view'
    with open(os.devnull, 'w') as null:  # no terminal at all
        done = subprocess.run([UHMM, 'watch', '--top', '--', PROGRAM, 'nothing'], stdin=null, stdout=null,
                              stderr=subprocess.PIPE, start_new_session=True, timeout=LIMIT_S)
    assert done.returncode == 2 and b'terminal' in done.stderr, done


@test
def table_fits_a_terminal():
    _, _, err = run('--', PROGRAM, 'counts')
    assert max(len(line) for line in err.splitlines()) <= 80, err
    assert 'mremap in place' in err and 'CALL SITE' in err and 'registration cache' in err


@test
def nothing_is_left_behind():
    code, out, _ = run('--', 'sh', '-c', f'echo $LIBUHMM_WATCH; ls -d $LIBUHMM_WATCH; {PROGRAM} children')
    folder, there = out.splitlines()
    assert code == 0 and folder == there and not os.path.exists(folder), out
    with tempfile.TemporaryDirectory() as place:  # a program that outlives the command is said to, and not waited for
        wait = f'{PROGRAM} wait >{place}/ready 2>&1 & echo $! >{place}/pid; until [ -s {place}/ready ]; do sleep 0.02; done'
        code, out, err = run('--', 'sh', '-c', f'echo $LIBUHMM_WATCH; {wait}')
        pid = int(open(f'{place}/pid').read())
        os.kill(pid, signal.SIGTERM)
        assert code == 0 and 'still run' in err, err
        assert not os.path.exists(out.strip())


def main():
    print(f'1..{len(tests)}', flush=True)
    failed = 0
    for number, function in enumerate(tests, 1):
        name = function.__name__.replace('_', ' ')
        try:
            function()
            print(f'ok {number} - {name}', flush=True)
        except Skip as why:
            print(f'ok {number} - {name} # SKIP {why}', flush=True)
        except (AssertionError, subprocess.TimeoutExpired, ValueError, KeyError, IndexError) as wrong:
            failed += 1
            print(f'not ok {number} - {name}', flush=True)
            print('\n'.join('# ' + line for line in repr(wrong).split('\\n')), flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
