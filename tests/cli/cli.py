#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: cli.py UHMM DENY_URING {call|exec|chaos}

The tool from outside: exit status, standard output, standard error. Prints TAP.
  call   wrong calls and bad input: one clear line, status 2 (the call was wrong) or 1 (the work failed)
  exec   the kernels on files of odd sizes, without chaos
  chaos  the shipped protocol under chaos, and its negative controls: each sabotaged protocol must be caught
"""
import errno
import json
import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import time

UHMM, DENY = (os.path.abspath(path) for path in sys.argv[1:3])  # tests run in directories of their own
SUITE = sys.argv[3]
for setting in [name for name in os.environ if name.startswith('UHMM_')]:
    del os.environ[setting]  # the tool refuses those that it does not know
KEYS = {'kernel': str, 'device': str, 'protocol': str, 'bytes': int, 'seconds': (int, float), 'answer': str, 'answer_ok': bool,
        'stale_reads': int, 'lost_writes': int, 'hits': int, 'misses': int, 'retries': int, 'invalidations': int}
LIMIT_S = 100
tests = []


def test(suite):
    def add(function):
        if suite == SUITE:
            tests.append(function)
        return function
    return add


class Skip(Exception):
    pass


def run(*args, prefix=(), env=None):
    environment = {**os.environ, **(env or {})}
    done = subprocess.run([*prefix, UHMM, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=LIMIT_S, env=environment)
    return done.returncode, done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace')


def one_line(text, *words):
    assert text.startswith('uhmm'), text
    assert text.count('\n') == 1 and text.endswith('\n'), f'not one line: {text!r}'
    for word in words:
        assert word in text, f'{word!r} is not in {text!r}'


def refused(status, *args, words=(), **kwargs):
    """The call ends with that status, one line with these words on standard error, and nothing on standard output."""
    code, out, err = run(*args, **kwargs)
    assert code == status, f'{args}: status {code}, not {status}: {err}'
    assert out == '', out
    one_line(err, *words)


def report(*args, status=0):
    code, out, err = run('exec', *args, '--json')
    assert code == status, f'{args}: status {code}, not {status}: {err}'
    assert out.count('\n') == 1, out
    if status == 0:
        assert err == '', err
    else:
        one_line(err)
    result = json.loads(out.splitlines()[-1])
    for key, kind in KEYS.items():
        assert isinstance(result[key], kind), f'{key} is {result.get(key)!r}'
    return result


def make(name, data):
    with open(name, 'wb') as f:
        f.write(data)
    return name


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


# ---- wrong calls ----

@test('call')
def no_verb_or_an_unknown_one():
    refused(2, words=['--help'])
    refused(2, 'frobnicate', words=['frobnicate'])
    refused(2, '--frobnicate', words=['--frobnicate'])


@test('call')
def help_everywhere_and_version():
    for args in (['--help'], ['exec', '--help'], ['doctor', '--help'], ['bench', '--help']):
        code, out, err = run(*args)
        assert code == 0 and err == '' and 'sage' in out, f'{args}: {code} {err}'
    code, out, err = run('--version')
    assert code == 0 and err == '' and out.startswith('uhmm ') and out.count('\n') == 1, out


@test('call')
def unknown_kernel_device_protocol_option():
    make('some', b'x')
    refused(2, 'exec', words=['kernel'])
    refused(2, 'exec', 'md5', 'some', words=['md5'])
    refused(2, 'exec', 'xxh64', words=['file'])
    refused(2, 'exec', 'xxh64', 'some', '--device', 'gpu', words=['gpu', 'uring'])
    refused(2, 'exec', 'xxh64', 'some', '--protocol', 'hope', words=['hope'])
    refused(2, 'exec', 'xxh64', 'some', '--monitor', 'rumour', words=['rumour', 'hooks'])
    refused(2, 'exec', 'xxh64', 'some', '--frobnicate', words=['--frobnicate'])
    refused(2, 'exec', 'xxh64', 'some', '--chaos', words=['--chaos'])


@test('call')
def numbers_that_are_none():
    make('some', b'x')
    for option, values in {'--chaos': ['', '-1', '1x', '65', '99999999999999999999', ' 1', '+1', '0x1'],
                           '--seconds': ['', '-1', 'inf', 'nan', '1e3', '1s', '99999999999', '.'],
                           '--reg-delay': ['', '-1', '1.5', '1000001']}.items():
        for value in values:
            refused(2, 'exec', 'xxh64', 'some', option, value, words=[option])


@test('call')
def bad_files():
    make('some', b'x')
    make('empty', b'')
    os.mkdir('directory')
    os.mkfifo('fifo')
    refused(2, 'exec', 'xxh64', 'missing', words=['missing', os.strerror(errno.ENOENT)])
    refused(2, 'exec', 'xxh64', 'some', 'missing', words=['missing'])
    refused(2, 'exec', 'xxh64', 'missing', 'missing too', words=['missing'])
    refused(2, 'exec', 'xxh64', 'empty', words=['empty'])
    refused(2, 'exec', 'xxh64', 'directory', words=['directory'])
    refused(2, 'exec', 'xxh64', 'fifo', words=['fifo', 'regular'])
    refused(2, 'exec', 'xxh64', '/dev/zero', words=['regular'])
    refused(2, 'exec', 'xxh64', 'two\nlines', words=['two?lines'])


@test('call')
def unreadable_file():
    make('secret', b'x')
    os.chmod('secret', 0)
    os.chmod('.', 0o755)
    prefix = []
    if os.geteuid() == 0:
        prefix = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
        if subprocess.run([*prefix, UHMM, '--version'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            raise Skip('cannot run the tool as another user')
    refused(2, 'exec', 'xxh64', 'secret', words=['secret', os.strerror(errno.EACCES)], prefix=prefix)


@test('call')
def bad_outputs():
    make('some', b'x' * 5000)
    os.mkdir('place')
    refused(2, 'exec', 'copy', 'some', words=['--output'])
    refused(2, 'exec', 'xxh64', 'some', '--output', 'out', words=['--output'])
    refused(2, 'exec', 'copy', 'some', '--output', 'place', words=['place'])
    refused(2, 'exec', 'copy', 'some', '--output', 'no/such/place', words=['no/such/place'])
    refused(2, 'exec', 'copy', 'some', '--output', 'some', words=['input'])
    refused(2, 'exec', 'copy', 'some', '--output', '/dev/null', words=['regular'])
    with open('some', 'rb') as f:
        assert f.read() == b'x' * 5000, 'an input that is also the output was touched'
    assert not os.path.exists('out')


@test('call')
def environment_mistakes():
    make('some', b'x')
    refused(2, 'exec', 'xxh64', 'some', words=['UHMM_PROTOCOL'], env={'UHMM_PROTOCOL': 'none'})
    refused(2, 'doctor', words=['UHMM_X'], env={'UHMM_X': ''})


@test('call')
def no_io_uring():
    make('some', b'x')
    for number, word in ((errno.EPERM, 'disabled'), (errno.ENOSYS, 'no io_uring')):
        for chaos in ('0', '2'):
            refused(1, 'exec', 'xxh64', 'some', '--chaos', chaos, words=['io_uring', word], prefix=[DENY, str(number)])
    code, out, err = run('doctor', '--json', prefix=[DENY, str(errno.EPERM)])
    features = {f['feature']: f for f in json.loads(out)['features']}
    assert code == 0 and err == '' and features['io_uring']['found'] is False


@test('call')
def full_disk_under_the_report():
    make('some', b'x')
    with open('/dev/full', 'w') as full:
        for args in (['exec', 'xxh64', 'some'], ['doctor'], ['--help']):
            done = subprocess.run([UHMM, *args], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT_S)
            assert done.returncode == 1, f'{args}: {done.returncode}'
            one_line(done.stderr.decode())


@test('call')
def doctor():
    code, out, err = run('doctor')
    assert code == 0 and err == '' and 'io_uring' in out
    code, out, err = run('doctor', '--json')
    assert code == 0 and err == ''
    features = json.loads(out.splitlines()[-1])['features']
    assert len(features) > 8
    for feature in features:
        assert feature['feature'] and feature['value'] and feature['follows'] and isinstance(feature['found'], bool), feature
    refused(2, 'doctor', '--frobnicate', words=['--frobnicate'])


# ---- the work ----

def reference(kernel, data):
    """The answer, computed apart from the tool where that can be done."""
    if kernel == 'sum':
        return str(sum(data))
    return '{:016x}'.format(xxh64(data))


def xxh64(data, mask=(1 << 64) - 1):
    primes = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)

    def rotate(x, n):
        return ((x << n) | (x >> (64 - n))) & mask

    def turn(acc, lane):
        return rotate((acc + lane * primes[1]) & mask, 31) * primes[0] & mask

    at, size = 0, len(data)
    acc = primes[4]
    if size >= 32:
        lanes = [(primes[0] + primes[1]) & mask, primes[1], 0, -primes[0] & mask]
        while at + 32 <= size:
            for i in range(4):
                lanes[i] = turn(lanes[i], int.from_bytes(data[at + 8 * i:at + 8 * i + 8], 'little'))
            at += 32
        acc = (rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18)) & mask
        for lane in lanes:
            acc = ((acc ^ turn(0, lane)) * primes[0] + primes[3]) & mask
    acc = (acc + size) & mask
    while at + 8 <= size:
        acc = (rotate(acc ^ turn(0, int.from_bytes(data[at:at + 8], 'little')), 27) * primes[0] + primes[3]) & mask
        at += 8
    if at + 4 <= size:
        acc = (rotate(acc ^ int.from_bytes(data[at:at + 4], 'little') * primes[0] & mask, 23) * primes[1] + primes[2]) & mask
        at += 4
    for byte in data[at:]:
        acc = rotate(acc ^ byte * primes[4] & mask, 11) * primes[0] & mask
    acc = (acc ^ acc >> 33) * primes[1] & mask
    acc = (acc ^ acc >> 29) * primes[2] & mask
    return acc ^ acc >> 32


@test('exec')
def odd_sizes():
    for size in (1, 3, 4095, 4096, 4097, 65535, 65536, 65537, 1048577):
        data = noise(size, size)
        make('input', data)
        for kernel in ('xxh64', 'sum'):
            result = report(kernel, 'input')
            assert result['answer'] == reference(kernel, data), f'{kernel} of {size} bytes: {result}'
            assert result['answer_ok'] and result['bytes'] == size and result['kernel'] == kernel
            assert result['device'] == 'uring' and result['protocol'] == 'interval'
            assert result['stale_reads'] == 0 and result['lost_writes'] == 0


@test('exec')
def copies_are_identical():
    for size in (1, 4097, 65536, 3000001):
        data = noise(size, size)
        make('input', data)
        make('output', noise(5000000))  # longer than the input: nothing of it may stay
        result = report('copy', 'input', '--output', 'output')
        with open('output', 'rb') as f:
            assert f.read() == data
        assert result['answer_ok'] and result['bytes'] == size
        os.unlink('output')
        report('copy', 'input', '--output', 'output')
        with open('output', 'rb') as f:
            assert f.read() == data


@test('exec')
def many_files_are_one_stream():
    data, names = b'', []
    for i in range(2500):  # more than descriptors
        part = noise(1 + i * 7 % 5000, i)
        names.append(make(f'part{i}', part))
        data += part
    for chaos in ('0', '1'):
        result = report('sum', *names, '--chaos', chaos, '--seconds', '0')
        assert result['answer'] == reference('sum', data) and result['answer_ok'] and result['bytes'] == len(data)


@test('exec')
def names_that_look_like_options():
    make('-x', b'abc')
    assert report('sum', './-x')['answer'] == str(sum(b'abc'))
    code, out, _ = run('exec', '--json', '--', 'sum', '-x')
    assert code == 0 and json.loads(out)['answer'] == str(sum(b'abc'))


@test('exec')
def seconds_repeat_the_input():
    make('input', noise(100000))
    result = report('xxh64', 'input', '--seconds', '0.3')
    assert result['passes'] > 1 and result['bytes'] == 100000 * result['passes'] and result['seconds'] >= 0.3


@test('exec')
def text_report():
    make('input', noise(100000))
    code, out, err = run('exec', 'xxh64', 'input')
    assert code == 0 and err == '' and 'right' in out and '\r' not in out and '\x1b' not in out


@test('exec')
def progress_on_a_terminal_only():
    make('input', noise(100000))
    leader, follower = pty.openpty()
    done = subprocess.run([UHMM, 'exec', 'xxh64', 'input', '--seconds', '0.5'], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=follower, timeout=LIMIT_S, env={**os.environ, 'TERM': 'xterm'})
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.returncode == 0 and '[#' in shown and '%' in shown, shown
    assert shown.endswith('\x1b[K'), 'the bar is gone in the end'
    assert b'\x1b' not in done.stdout


# ---- chaos ----

def interrupted(*args):
    process = subprocess.Popen([UHMM, 'exec', *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1, f'{args}: status {process.returncode}: {err}'
    one_line(err.decode(), 'interrupted')
    return json.loads(out.splitlines()[-1])


@test('chaos')
def interrupt_ends_cleanly():
    make('input', noise(3000000))
    result = interrupted('xxh64', 'input', '--chaos', '2', '--seconds', '60', '--json')
    assert result['interrupted'] and result['bytes'] > 0 and result['stale_reads'] == 0 and result['lost_writes'] == 0
    interrupted('xxh64', 'input', '--seconds', '60', '--json')
    interrupted('copy', 'input', '--output', 'output', '--seconds', '60', '--json')
    assert not os.path.exists('output'), 'an output that was not finished is left'


@test('chaos')
def sound_loses_nothing():
    data = noise(3000001)
    make('input', data)
    for chaos in ('1', '2', '5'):
        result = report('sum', 'input', '--chaos', chaos, '--seconds', '4')
        assert result['answer'] == reference('sum', data) and result['answer_ok'], result
        assert result['stale_reads'] == 0 and result['lost_writes'] == 0, result
        assert result['changes'] > 0 and result['handovers'] > 0 and result['misses'] > 0 and result['forks'] > 0, result


@test('chaos')
def sound_without_hooks():
    """What the tool falls back to where libc cannot be patched."""
    make('input', noise(3000001))
    result = report('xxh64', 'input', '--chaos', '2', '--seconds', '3', '--monitor', 'explicit')
    assert result['announced_by'] == 'explicit' and result['answer_ok'], result
    assert result['stale_reads'] == 0 and result['lost_writes'] == 0 and result['changes'] > 0, result


@test('chaos')
def sound_copies_under_chaos():
    data = noise(2000003)
    make('input', data)
    result = report('copy', 'input', '--output', 'output', '--chaos', '1', '--seconds', '0')
    with open('output', 'rb') as f:
        assert f.read() == data
    assert result['passes'] == 1 and result['answer_ok']


def caught(protocol):
    """Negative control: without it, a 0 of the shipped protocol would mean nothing. (R1, R9, R32)"""
    make('input', noise(20000000))
    lost = 0
    for _ in range(3):
        result = report('xxh64', 'input', '--chaos', '1', '--protocol', protocol, '--seconds', '3', status=1)
        assert result['protocol'] == protocol
        assert 'failure' not in result, result['failure']
        lost = result['stale_reads'] + result['lost_writes']
        if lost:
            break
    assert lost > 0, f'{protocol} was not caught'


@test('chaos')
def announce_before_is_caught():
    caught('announce_before')


@test('chaos')
def no_retry_is_caught():
    caught('no_retry')


@test('chaos')
def none_is_caught():
    caught('none')


@test('chaos')
def a_file_that_changes_is_a_failure_and_not_stale():
    for change in ('rewrite', 'truncate'):
        make('input', noise(4000000))
        process = subprocess.Popen([UHMM, 'exec', 'xxh64', 'input', '--chaos', '1', '--seconds', '3', '--json'],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1)
        if change == 'rewrite':
            with open('input', 'r+b') as f:
                f.write(noise(4000000, 2))
        else:
            os.truncate('input', 1000)
        out, err = process.communicate(timeout=LIMIT_S)
        one_line(err.decode())
        result = json.loads(out.splitlines()[-1])
        assert process.returncode == 1 and not result['answer_ok'] and 'input' in result['failure'], (change, result)
        assert result['stale_reads'] == 0 and result['lost_writes'] == 0, (change, result)


def main():
    failed = 0
    print(f'1..{len(tests)}', flush=True)
    for number, function in enumerate(tests, 1):
        name = function.__name__
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            try:
                function()
                print(f'ok {number} - {name}', flush=True)
            except Skip as reason:
                print(f'ok {number} - {name} # SKIP {reason}', flush=True)
            except Exception as reason:  # a failed test must not keep the others from running
                failed += 1
                text = f'{type(reason).__name__}: {reason}'.replace('\n', '\n# ')
                print(f'# {text}\nnot ok {number} - {name}', flush=True)
            os.chdir('/')
    return failed != 0


sys.exit(main())
