#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: races.py UHMM DOC {call|table|doc}

`uhmm races` from outside: exit status, standard output, standard error. Prints TAP.
  call   wrong calls, bad schedules: one clear line and status 2; timelines, pictures, replays, resumed searches
  table  the table without options: whoever must lose does within 10,000 schedules, whoever must hold does
  doc    docs/races.md is what --markdown prints now; this is the part of the table that every change has to pass
"""
import difflib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import xml.etree.ElementTree

UHMM, DOC = (os.path.abspath(path) for path in sys.argv[1:3])
SUITE = sys.argv[3]
for setting in [name for name in os.environ if name.startswith('UHMM_')]:
    del os.environ[setting]
LIMIT_S = {'call': 120, 'table': 120, 'doc': 1500}[SUITE]
LOSS_MAX = 10000
tests = []


def test(suite):
    def add(function):
        if suite == SUITE:
            tests.append(function)
        return function
    return add


def run(*args, **kwargs):
    done = subprocess.run([UHMM, 'races', *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=LIMIT_S, **kwargs)
    return done.returncode, done.stdout.decode('ascii'), done.stderr.decode('ascii')


def fine(*args, status=0):
    code, out, err = run(*args)
    assert code == status, f'{args}: status {code}, not {status}: {err}{out[-500:]}'
    assert (err == '') == (status == 0), f'{args}: {err}'
    return out


def one_line(text, *words):
    assert text.startswith('uhmm races: ') and text.count('\n') == 1 and text.endswith('\n'), f'not one line: {text!r}'
    for word in words:
        assert word in text, f'{word!r} is not in {text!r}'


def refused(*args, words=()):
    code, out, err = run(*args)
    assert code == 2, f'{args}: status {code}, not 2: {err}'
    assert out == '', out
    one_line(err, *words)


def report(*args, status=0):
    return json.loads(fine(*args, '--json', status=status).splitlines()[-1])


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(v) for key, v in value.items() if key != 'seconds'}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def timeline(*args):
    """The drawing, and the schedule that is named below it."""
    out = fine(*args)
    schedule = re.search(r'^uhmm races --replay (\S+)$', out, re.M)
    assert schedule, out
    return out, schedule[1]


def children(process):
    with open(f'/proc/{process.pid}/task/{process.pid}/children') as f:
        return f.read().split()


# ---- wrong calls ----

@test('call')
def unknown_names_and_options():
    refused('R99', words=['R99', '--list'])
    refused('--model', 'hope', words=['hope', '--list'])
    refused('--show', 'R99', words=['R99'])
    refused('--frobnicate', words=['--frobnicate', '--help'])
    refused('R1\n', words=['R1?'])
    refused('R28', '--model', 'kvm_', words=['kvm_'])


@test('call')
def missing_and_wrong_values():
    for option in ('--show', '--model', '--replay', '--svg', '--bound', '--seconds', '--pct', '--seed', '--jobs', '--state'):
        refused(option, words=[option, 'value'])
    for option, values in {'--bound': ['', '-1', '17', '1x', '99999999999999999999'], '--devices': ['0', '5'],
                           '--invalidators': ['0', '5'], '--seconds': ['', '-1', 'inf', 'nan', '1e3'], '--pct': ['0', 'x'],
                           '--seed': ['-1'], '--jobs': ['0', '65'], '--depth': ['0']}.items():
        for value in values:
            refused(option, value, words=[option])


@test('call')
def options_that_do_not_go_together():
    refused('--svg', 'x.svg', words=['--svg', '--show'])
    refused('--show', 'R1', 'R3', words=['one race'])
    refused('--show', 'R1', '--markdown', words=['--markdown'])
    refused('--json', '--markdown', words=['--markdown', '--json'])
    refused('--state', 'x', words=['--full'])
    refused('--markdown', '--seconds', '5', words=['--seconds'])
    refused('--replay', 'R1/start_only/1+1/b1/1x4', 'R1', words=['--replay'])
    refused('--ci', '--bound', '1', words=['--ci'])
    refused('--full', '--weak', words=['--full'])
    refused('--full', '--show', 'R1', words=['--full'])
    refused('--all', '--weak', words=['--all'])
    refused('--all', '--bound', '2', words=['--all'])
    refused('--seed', '4', words=['--pct'])
    refused('--show', 'R1', '--svg', 'no/such/place.svg', words=['no/such/place.svg'])


@test('call')
def bad_schedules():
    _, schedule = timeline('--show', 'R1', '--model', 'start_only')
    head = schedule.rsplit('/', 1)[0]
    for bad in ('', 'x', '1x4', head, 'R1//1+1/b1/1x4', 'R1/start_only/1/b1/1x4', 'R1/start_only/1+1/q1/1x4',
                'R1/start_only/1+1/b99/1x4', 'R1/start_only/0+1/b1/1x4',
                'R1/start_only/1+9/b1/1x4', head + '/hello', head + '/1x', head + '/1x4..2x1',
                head + '/99999999999999999999x1', 'x' * 20000):
        refused('--replay', bad)
    refused('--replay', 'R99/start_only/1+1/b1/1x4', words=['R99'])
    refused('--replay', 'R1/hope/1+1/b1/1x4', words=['hope'])
    refused('--replay', 'R1/start_only/4+4/b1/1x4', words=['at most'])
    # Schedules of another configuration: a fiber that it does not have, one that is asleep or has ended, more than there is.
    refused('--replay', head + '/9x4', words=['fit'])
    refused('--replay', head + '/1x100000', words=['fit'])


@test('call')
def full_disk():
    with open('/dev/full', 'w') as full:
        for args in (['--help'], ['--list'], ['--show', 'R1']):
            done = subprocess.run([UHMM, 'races', *args], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT_S)
            assert done.returncode == 1, f'{args}: {done.returncode}'
            one_line(done.stderr.decode())


# ---- what is printed ----

@test('call')
def help_and_list():
    assert 'Usage: uhmm races' in fine('--help')
    listed = fine('--list')
    races = json.loads(fine('--list', '--json'))
    ids = [race['race'] for race in races['races']]
    assert len(set(ids)) == len(ids)
    for number in list(range(1, 14)) + [25] + list(range(27, 34)):
        assert f'R{number}' in ids, f'R{number} is not listed'
    names = [model['model'] for model in races['models']]
    assert 'interval' in names and 'start_only' in names
    for name in ids + names:
        assert name in listed


@test('call')
def a_timeline_and_its_replay():
    out, schedule = timeline('--show', 'R1', '--model', 'start_only')
    lines = out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert sum('preempted' in line for line in lines) >= 1, out
    marked = [i for i, line in enumerate(lines) if re.match(r' *\d+! ', line)]
    verdict = [i for i, line in enumerate(lines) if line.startswith('LOST, invariant ')]
    assert len(marked) == 1 and len(verdict) == 1 and marked[0] < verdict[0], out
    again, same = timeline('--replay', schedule)
    assert again == out and same == schedule
    told = json.loads(fine('--replay', schedule, '--json'))
    assert told['result'] == 'lost' and told['invariant'] in range(1, 9) and told['schedule'] == schedule
    assert any(row['kind'] == 'preempted' for row in told['rows'])


@test('call')
def a_model_of_which_the_race_says_nothing():
    out, _ = timeline('--show', 'R7', '--model', 'start_only')
    assert 'LOST' in out


@test('call')
def nothing_to_show():
    out = fine('--show', 'R9', '--model', 'kvm', '--bound', '1')
    assert 'none to show' in out and 'LOST' not in out, out


def on_terminal(columns, *args):
    """Standard output of the command on a terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))
    process = subprocess.Popen([UHMM, 'races', *args], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.DEVNULL)
    os.close(slave)
    out = b''
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        out += block
    os.close(master)
    assert process.wait(LIMIT_S) == 0
    return out.decode('ascii').replace('\r\n', '\n')


@test('call')
def as_wide_as_the_terminal():
    widest = {}
    for columns, limit in ((40, 80), (80, 80), (120, 120), (300, 140)):
        lines = on_terminal(columns, '--show', 'R12').splitlines()
        body = lines[lines.index('') + 1:]
        body = body[:body.index('')]
        widest[columns] = max(map(len, body))
        assert widest[columns] <= limit, f'{columns}: {widest[columns]}'
    assert widest[300] > widest[80]


@test('call')
def a_picture():
    fine('--show', 'R8', '--svg', 'r8.svg')
    root = xml.etree.ElementTree.parse('r8.svg').getroot()
    _, _, width, height = map(float, root.get('viewBox').split())
    texts = [e for e in root.iter('{http://www.w3.org/2000/svg}text')]
    assert len(texts) > 20
    for text in texts:
        x, y = float(text.get('x')), float(text.get('y'))
        assert 0 <= x < width and 0 < y < height, f'{text.text!r} is outside'
        if text.get('class') in ('t', 't b'):
            assert x + 8 * len(text.text or '') <= width, f'{text.text!r} is clipped'
    words = ' '.join(text.text or '' for text in texts)
    assert 'LOST' in words and 'preempted' in words and '--replay' in words


@test('call')
def the_same_every_time():
    args = ['R1', 'R3', 'R9', '--bound', '1']
    first = without_times(report(*args, '--jobs', '1', status=0))
    assert first == without_times(report(*args, '--jobs', '3', status=0))


@test('call')
def not_as_expected():
    # Without a preemption start_only does not lose R1, which it must.
    code, out, err = run('R1', '--model', 'start_only', '--bound', '0')
    assert code == 1 and 'MUST LOSE' in out, out
    one_line(err)
    result = report('R1', '--model', 'start_only', '--bound', '0', status=1)
    assert result['as_expected'] is False and result['pairs'][0]['result'] == 'held'


@test('call')
def random_schedules():
    args = ['R1', '--model', 'kvm', '--pct', '500', '--seed', '7']
    result = report(*args)
    search = result['pairs'][0]['searches'][0]
    assert search['search'] == 'pct' and search['schedules'] == 500 and search['result'] == 'held', search
    assert not search['exhaustive']


@test('call')
def exhaustive_only_at_the_end():
    whole = report('R9', '--model', 'kvm', '--all')['pairs'][0]['searches'][0]
    assert whole['exhaustive'] and 'bound' not in whole and 'exhaustive' in whole['text'], whole
    part = report('R9', '--model', 'kvm', '--bound', '1')['pairs'][0]['searches'][0]
    assert not part['exhaustive'] and part['complete'] and part['bound'] == 1, part
    cut = report('R12', '--model', 'interval', '--devices', '2', '--invalidators', '2', '--bound', '4', '--seconds', '1',
                 status=0)['pairs'][0]['searches'][0]
    assert not cut['exhaustive'] and not cut['complete'] and 'stopped' in cut['text'], cut


@test('call')
def a_full_run_goes_on():
    args = ['R9', '--model', 'kvm', '--full', '--state', 'state']
    first = report(*args, '--seconds', '20')
    kept = [name for _, _, names in os.walk('state') for name in names]
    assert kept, 'nothing was kept'
    second = report(*args, '--seconds', '20')
    for a, b in zip(first['pairs'][0]['searches'], second['pairs'][0]['searches']):
        assert b['schedules'] >= a['schedules'], f'{a} then {b}'
        if a['complete']:
            assert without_times(a) == without_times(b)


@test('call')
def an_interrupted_full_run_says_how_far_it_came():
    args = [UHMM, 'races', 'R9', '--full', '--state', 'state']
    process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not children(process):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and err == b'', (process.returncode, err)
    assert b'not finished' in out and b'not run' in out, out


@test('call')
def a_killed_command_leaves_no_search_behind():
    args = ['R9', '--model', 'interval', '--devices', '2', '--invalidators', '2', '--bound', '6']
    process = subprocess.Popen([UHMM, 'races', *args],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    workers = []
    while not workers and process.poll() is None:
        workers = children(process)
    process.kill()
    process.wait()
    for child in workers:
        for _ in range(1000):
            try:
                with open(f'/proc/{child}/stat') as f:
                    if f.read().rsplit(')', 1)[1].split()[0] == 'Z':
                        break
            except OSError:
                break
            subprocess.run(['sleep', '0.01'], check=False)
        else:
            raise AssertionError(f'process {child} goes on')


# ---- the table ----

def check_table(result):
    for pair in result['pairs']:
        name = f"{pair['race']} {pair['model']}"
        assert pair['as_expected'], f"{name}: {pair['result']}: {[s['text'] for s in pair['searches']]}"
        if pair['result'] == 'not built':
            assert not pair['searches'], name
            continue
        for search in pair['searches']:
            if pair['expected'] == 'lost':
                assert search['schedules_to_loss'] <= LOSS_MAX, f"{name}: {search['schedules_to_loss']} schedules"
    control = result.get('control')
    assert control is None or control['result'] == 'lost', f'the control held: {control}'


@test('table')
def without_options():
    check_table(report())


@test('doc')
def doc_is_current():
    now = fine('--markdown')
    with open(DOC, encoding='ascii') as f:
        kept = f.read()
    if now != kept:
        for line in list(difflib.unified_diff(kept.splitlines(), now.splitlines(), 'docs/races.md', 'now', lineterm=''))[:60]:
            print('#', line)
    assert now == kept, 'docs/races.md is not current: regenerate it with "uhmm races --markdown >docs/races.md" and read it'


def main():
    if 'without the race lab' in run('--list')[2]:
        print('1..0 # SKIP this build has no race lab')
        return 0
    print(f'1..{len(tests)}')
    failed = 0
    for number, function in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as place:
            os.chdir(place)
            try:
                function()
                print(f'ok {number} {function.__name__}', flush=True)
            except Exception as error:  # whatever it is, the next test is run too
                failed += 1
                for line in f'{type(error).__name__}: {error}'.splitlines():
                    print('#', line[:2000])
                print(f'not ok {number} {function.__name__}', flush=True)
            os.chdir('/')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
