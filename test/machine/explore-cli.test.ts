/** `faultline explore` and `faultline replay` as processes: what they find, how they end, what they refuse. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { faultline, start } from '../support/cli.ts';

const RC01 = ['explore', 'create-slot', '--bug', 'createSlotGap', '--quiet', '--strategy', 'random'];
const module = (name: string) =>
  fileURLToPath(new URL(`../support/scenarios/${name}${import.meta.url.slice(-3)}`, import.meta.url));

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'faultline-explore-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  return dir;
}

test.serial(
  'a finding: the report, then the command that repeats it, then the verdict; exit code 1',
  async (t) => {
    const { code, lines, err } = await faultline(t, ...RC01);
    t.is(code, 1);
    t.is(err, '');
    t.is(lines[0], 'finding I3: policy and tracking disagree');
    t.regex(lines.at(-1)!, /^1 finding: I3, in \d+ of 10 000 schedules of create-slot$/);
    const [, token] = /^repeat: faultline replay (FL1\.[\w-]+)$/.exec(lines.at(-2)!) ?? [];
    t.true(token !== undefined && token.length <= 32, token);

    const again = await faultline(t, 'replay', token!);
    t.is(again.code, 1);
    t.regex(again.lines.at(-1)!, /^reproduced in \d+ steps, step by step$/);
    t.deepEqual(again.lines.slice(0, 3), lines.slice(0, 3), 'the same finding');

    const damaged = await faultline(t, 'replay', `${token!.slice(0, -1)}${token!.endsWith('A') ? 'B' : 'A'}`);
    t.is(damaged.code, 2);
    t.is(damaged.out, '');
    t.regex(damaged.err, /^SIM_TOKEN: .* is no token, or a damaged one: its checksum is wrong\n {2}hint: /);
  },
);

test.serial('the same finding whatever the number of threads', async (t) => {
  const outcomes = [];
  for (const jobs of ['1', '3']) {
    const { lines } = await faultline(t, ...RC01, '--json', '--jobs', jobs, '--seed', '5');
    const finding = lines.map((line) => JSON.parse(line)).find(({ event }) => event === 'finding');
    outcomes.push([finding.seed, finding.token, finding.message]);
  }
  t.deepEqual(outcomes[0], outcomes[1]);
});

test.serial('what exhausts says that it has; without a strategy all of them take turns', async (t) => {
  const words = ['explore', 'create-slot', '--quiet', '--jobs', '2'];
  const all = await faultline(t, ...words, '--strategy', 'dpor', '--schedules', '100k');
  t.is(all.code, 0);
  t.regex(all.lines.at(-1)!, /^nothing found in all [\d ]+ schedules of create-slot that dpor tries$/);
  const { code, lines } = await faultline(t, ...words, '--bug', 'RC-01', '--json');
  t.is(code, 1);
  t.like(JSON.parse(lines[0]!), { strategy: 'auto' });
  const refused = await faultline(t, ...words, '--strategy', 'dpor', '--resume', 'no-such-file');
  t.is(refused.code, 2);
  t.regex(refused.err, /^SIM_USAGE: --resume: dpor cannot go on where it stopped\n/);
});

test.serial('PCT says what it promises for executions of this length', async (t) => {
  const words = [
    'explore',
    'create-slot',
    '--quiet',
    '--jobs',
    '1',
    '--schedules',
    '50',
    '--strategy',
    'pct2',
  ];
  const { code, lines } = await faultline(t, ...words);
  t.is(code, 0);
  const [, often, actors, steps] =
    /^a bug of depth 2 shows in one schedule of ([\d ]+) or more often, with (\d+) actors and up to ([\d ]+) steps: in [\d ]+ schedules with 99 %$/.exec(
      lines.at(-2)!,
    ) ?? [];
  const number = (text = '') => Number(text.replaceAll(/\D/g, ''));
  t.is(number(often), number(actors) * number(steps), lines.at(-2));
  t.true(number(steps) > 20);
  const json = await faultline(t, ...words, '--json');
  const { bound, longest } = JSON.parse(json.lines.at(-2)!);
  t.like(bound, { depth: 2, probability: 1 / number(often) });
  t.is(longest, number(steps));
});

test.serial('JSON lines: start, finding, result, verdict with the command that repeats it', async (t) => {
  const { code, lines } = await faultline(t, ...RC01, '--json', '--jobs', '1');
  t.is(code, 1);
  const objects = lines.map((line) => JSON.parse(line));
  t.deepEqual(
    objects.map(({ event }) => event),
    ['start', 'finding', 'result', 'verdict'],
  );
  t.like(objects[0], { scenario: 'create-slot', quirks: ['createSlotGap'], strategy: 'random', seed: 1 });
  t.like(objects[1], {
    oracle: 'invariant',
    rule: 'I3',
    preemptions: 1,
    minimal: 'all',
    actors: ['control', 'receiver'],
  });
  t.like(objects[2], { ending: 'found', findings: 1 });
  t.like(objects[3], { exitCode: 1, repeat: `faultline replay ${objects[1].token}` });
});

test.serial('nothing found: exit code 0; time over before the schedules: 4; time alone: 0', async (t) => {
  const words = ['explore', 'create-slot', '--quiet', '--jobs', '1'];
  const none = await faultline(t, ...words, '--schedules', '50');
  t.is(none.code, 0);
  t.is(none.lines.at(-1), 'nothing found in 50 schedules of create-slot');
  const late = await faultline(t, ...words, '--schedules', '100m', '--time', '300ms');
  t.is(late.code, 4);
  t.regex(
    late.lines.at(-1)!,
    /^SIM_LIMIT: time is over; nothing found in [\d ]+ of 100 000 000 schedules of create-slot$/,
  );
  const timed = await faultline(t, ...words, '--time', '300ms');
  t.is(timed.code, 0);
});

test.serial('--keep-going finds them all once each and counts', async (t) => {
  const { code, lines } = await faultline(t, ...RC01, '--keep-going', '--schedules', '200', '--json');
  t.is(code, 1);
  const objects = lines.map((line) => JSON.parse(line));
  const keys = objects.filter(({ event }) => event === 'finding').map(({ key }) => key);
  t.true(keys.length >= 2);
  t.is(new Set(keys).size, keys.length);
  t.like(objects.at(-2), { ending: 'done', executions: 200 });
});

test.serial('--resume goes on where it stopped, and knows its own files', async (t) => {
  const file = join(directory(t), 'state.json');
  const words = ['explore', 'create-slot', '--quiet', '--json', '--resume', file];
  const result = async (schedules: string) => {
    const { lines } = await faultline(t, ...words, '--schedules', schedules);
    return JSON.parse(lines.at(-2)!);
  };
  t.is((await result('1000')).executions, 1000);
  const { steps } = JSON.parse(readFileSync(file, 'utf8'));
  const more = await result('1100');
  t.is(more.executions, 1100);
  t.true(more.steps > steps);
  t.is((await result('1100')).executions, 1100, 'nothing is left to do');
  const other = await faultline(t, ...words, '--seed', '9');
  t.is(other.code, 2);
  t.regex(other.err, /^SIM_USAGE: .* is of another campaign: its seed is 1, not 9\n/);
  writeFileSync(file, 'something else');
  t.is((await faultline(t, ...words)).code, 2);
});

test.serial('a module of the user: found, and repeated with its path', async (t) => {
  const path = module('lost-update');
  const { code, lines } = await faultline(t, 'explore', path, '--quiet');
  t.is(code, 1);
  const words = /^repeat: faultline replay (\S+) (\S+)$/.exec(lines.at(-2)!)!;
  t.is(words[2], path);
  t.is((await faultline(t, 'replay', words[1]!, path)).code, 1);
  const lost = await faultline(t, 'replay', words[1]!);
  t.is(lost.code, 2);
  t.regex(lost.err, /^SIM_TOKEN: the scenario of this token is none of the bundled ones\n/);
  const wrong = await faultline(t, 'replay', words[1]!, 'create-slot');
  t.is(wrong.code, 2);
  t.regex(wrong.err, /^SIM_TOKEN: a token of another scenario than 'create-slot'\n/);
});

test.serial(
  'scenarios that cannot be executed or repeated: named, with the remedy, exit code 2',
  async (t) => {
    for (const [name, message] of [
      [
        'chance',
        /^SIM_SCENARIO: scenario 'misbehaving' uses Math\.random at .*chance.*\n {2}hint: take numbers from/,
      ],
      [
        'throws',
        /^SIM_SCENARIO: the scenario module '.*' cannot be loaded\n {2}cause: .*RangeError: not today/,
      ],
      ['no-scenario', /^SIM_SCENARIO: '.*' exports no scenario: its name is lower case/],
      ['forgetful', /^SIM_SCENARIO: scenario 'misbehaving' is not the same each time: /],
    ] as const) {
      const { code, out, err } = await faultline(t, 'explore', module(name), '--quiet', '--jobs', '1');
      t.is(code, 2, err);
      t.is(out, '');
      t.regex(err, message);
    }
  },
);

test.serial('a scenario that never ends is given up: who does not move, and what to do', async (t) => {
  const { code, err } = await faultline(t, 'explore', module('endless'), '--quiet', '--jobs', '1');
  t.is(code, 2);
  t.regex(
    err,
    /^SIM_SCENARIO: scenario '.*' does not end: an actor takes no further step, in the schedule of seed 1 for 10 s\n {2}hint: a loop/,
  );
});

test.serial('bad usage: one line with the word, one with the remedy, exit code 2', async (t) => {
  for (const [words, message] of [
    [['explore'], 'SIM_USAGE: which scenario?\n'],
    [['explore', 'flsh'], "SIM_USAGE: there is no scenario 'flsh'\n  hint: did you mean flush?\n"],
    [['explore', 'flush', 'x'], "SIM_USAGE: 'x' is one scenario too many\n"],
    [
      ['explore', 'flush', '--stragety', 'x'],
      'SIM_USAGE: there is no flag --stragety\n  hint: did you mean --strategy?\n',
    ],
    [
      ['explore', 'flush', '--strategy', 'randon'],
      "SIM_USAGE: there is no strategy 'randon'\n  hint: did you mean random?\n",
    ],
    [
      ['explore', 'flush', '--bug', 'createSlotGab'],
      "SIM_USAGE: --bug: there is no known bug 'createSlotGab'\n  hint: did you mean createSlotGap?\n",
    ],
    [['explore', 'flush', '--jobs', '0'], "SIM_USAGE: --jobs: '0' is no number of threads\n"],
    [['explore', 'flush', '--depth', '1.2'], "SIM_USAGE: --depth: '1.2' is no depth\n"],
    [
      ['explore', 'flush', '--seed', '0x100000000'],
      "SIM_USAGE: --seed: '0x100000000' is no unsigned 32-bit number\n",
    ],
    [['explore', './no/such.js'], "SIM_FILE: there is no scenario module './no/such.js'\n"],
    [['replay'], 'SIM_USAGE: which token?\n'],
    [['replay', 'FL9.abc'], 'SIM_TOKEN: a token of version 9; this is version 1\n'],
    [['replay', 'nonsense'], "SIM_TOKEN: 'nonsense' is no token, or a damaged one"],
    [['replay', 'FL1.x', '--engine', 'warp'], "SIM_USAGE: --engine: there is no engine 'warp'\n"],
  ] as const) {
    const { code, out, err } = await faultline(t, ...words);
    t.is(code, 2, words.join(' '));
    t.is(out, '');
    t.true(err.startsWith(message), err);
  }
});

test.serial('a token is executed on real threads, step by step as in one', async (t) => {
  for (const [scenario, ...flags] of [
    ['create-slot', '--bug', 'createSlotGap'],
    [module('lost-update')],
  ] as const) {
    const { lines } = await faultline(t, 'explore', scenario, ...flags, '--quiet', '--json', '--jobs', '1');
    const { token, step } = JSON.parse(lines.at(-3)!);
    const words = ['replay', token, scenario, '--engine'];
    for (const engine of ['explored', 'controlled', 'controlled']) {
      const { code, lines: said, err } = await faultline(t, ...words, engine);
      t.is(code, 1, err);
      t.is(said.at(-1), `reproduced in ${step} steps, step by step`, engine);
    }
  }
});

test.serial('a replay that diverges says where; exit code 5', async (t) => {
  const { lines } = await faultline(t, ...RC01, '--json', '--jobs', '1');
  const { token } = JSON.parse(lines.at(-3)!);
  // The same schedule without its bug: what somebody sees who has repaired it.
  const { decodeToken, encodeToken } = await import('../../src/explore/finding/token.ts');
  const repaired = encodeToken({ ...decodeToken(token), quirks: [] });
  const { code, out } = await faultline(t, 'replay', repaired);
  t.is(code, 5);
  t.regex(out, /^diverged after \d+ steps: all 1 deviations were followed, and it was not seen\n$/);
});

test.serial('replay from a file, every step, and a trace', async (t) => {
  const { lines } = await faultline(t, ...RC01, '--json', '--jobs', '1');
  const { token, step } = JSON.parse(lines.at(-3)!);
  const dir = directory(t);
  writeFileSync(join(dir, 'token'), `${token}\n`);
  const trace = join(dir, 'run.pftrace');
  const { code, out } = await faultline(t, 'replay', join(dir, 'token'), '--step', '--trace', trace);
  t.is(code, 1);
  const steps = out.slice(0, out.indexOf('\n\n')).split('\n');
  t.is(steps.length, step);
  t.regex(
    steps[0]!,
    /^ +1 +control +mutexLock: update slots_lock\.WORD 0 → \w+ +memslots\.ts:\d+ setMemoryRegion$/,
  );
  // Trace.packet, length-delimited.
  t.is(readFileSync(trace)[0], 0x0a);
  const jsonl = join(dir, 'run.jsonl');
  await faultline(t, 'replay', token, '--trace', jsonl);
  const records = readFileSync(jsonl, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.true(records.some(({ actor, name }) => actor === 'control' && name === 'memslot create'));
  t.true(records.some(({ actor, name }) => actor === 'receiver' && name === 'set page access'));
  t.false(existsSync(join(dir, 'no')));
  t.is((await faultline(t, 'replay', token, '--trace', join(dir, 'no', 'such'))).code, 2);
});

test.serial('Ctrl-C: what was done and found, its state, and 130', async (t) => {
  const file = join(directory(t), 'state.json');
  const { child, ended } = start(t, 'explore', 'create-slot', '--schedules', '100m', '--resume', file);
  let seen = 0;
  await new Promise<void>((resolve) => {
    child.stderr!.on('data', (text: string) => {
      seen = Number(/([\d ]+) schedules/.exec(text)?.[1]?.replaceAll(' ', '') ?? 0);
      if (seen > 0) resolve();
    });
  });
  child.kill('SIGINT');
  const { code, lines } = await ended;
  t.is(code, 130);
  t.regex(lines.at(-1)!, /^stopped; nothing found in [\d ]+ of 100 000 000 schedules of create-slot$/);
  t.true(existsSync(file));
});

test.serial('Ctrl-C in a campaign that keeps going shows its findings', async (t) => {
  const { child, ended } = start(t, ...RC01, '--schedules', '100m', '--keep-going');
  await new Promise<void>((resolve) => {
    child.stdout!.once('data', () => resolve());
  });
  child.kill('SIGINT');
  const { code, lines } = await ended;
  t.is(code, 130);
  t.regex(lines.at(-1)!, /^\d+ findings?: I3, in /);
  t.regex(lines.at(-2)!, /^repeat: faultline replay FL1\./);
});

test.serial('--list, and help', async (t) => {
  const { code, lines } = await faultline(t, 'explore', '--list');
  t.is(code, 0);
  t.true(lines.some((line) => /^flush +three vCPU faults/.test(line)));
  t.regex((await faultline(t, 'explore', '--help')).out, /usage: faultline explore SCENARIO \[flags\]/);
  t.regex((await faultline(t, 'help', 'replay')).out, /usage: faultline replay TOKEN \[SCENARIO\] \[flags\]/);
});
