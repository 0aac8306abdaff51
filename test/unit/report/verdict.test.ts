/** Which exit code a run has, and what its last line says. */
import test from 'ava';
import type { Ending, VcpuReport } from '../../../src/report/run-report.ts';
import { judge } from '../../../src/report/verdict.ts';
import { SimError, type SimErrorCode } from '../../../src/shared/errors.ts';

const vcpu = (index: number, exitCode: number | null): VcpuReport => ({
  index,
  state: exitCode === null ? 'stopped' : 'exited',
  exitCode,
  instructions: 1,
  exceptions: 0,
});
const finding = (id: string) => ({ id, detail: '', times: 1 });

function run(
  ending: Ending,
  {
    error,
    ids = [],
    exits = [0, 0],
  }: { error?: SimErrorCode; ids?: string[]; exits?: (number | null)[] } = {},
) {
  return judge({
    ending,
    error: error === undefined ? null : new SimError(error, 'message'),
    findings: ids.map(finding),
    vcpus: exits.map((code, index) => vcpu(index, code)),
  });
}

test('all well: 0, and how it ended', (t) => {
  t.deepEqual(run('exited'), { exitCode: 0, verdict: 'every vCPU exited with code 0, all invariants held' });
  t.deepEqual(run('time', { exits: [null] }), { exitCode: 0, verdict: 'ran its time, all invariants held' });
  t.is(run('halted', { exits: [null] }).exitCode, 0);
});

test('findings are counted, and named once each', (t) => {
  t.deepEqual(run('exited', { ids: ['I3'] }), { exitCode: 1, verdict: '1 finding: I3' });
  t.deepEqual(run('exited', { ids: ['I5', 'I3', 'I5'] }), { exitCode: 1, verdict: '3 findings: I3, I5' });
});

test('a guest that exits with another code has failed like a test', (t) => {
  t.deepEqual(run('exited', { exits: [0, 3] }), {
    exitCode: 1,
    verdict: 'the guest says it failed: vCPU 1 exited with code 3',
  });
});

test('each error has its own exit code', (t) => {
  t.is(run('crashed', { error: 'SIM_GUEST_CRASH' }).exitCode, 3);
  t.is(run('limit', { error: 'SIM_LIMIT' }).exitCode, 4);
  t.is(run('exited', { error: 'SIM_REPLY_TIMEOUT' }).exitCode, 4);
  t.deepEqual(run('exited', { error: 'SIM_TOOL_FAILED', exits: [9] }), {
    exitCode: 2,
    verdict: 'SIM_TOOL_FAILED: message',
  });
});

test('a lost thread comes before findings, which it may have caused; findings before everything else', (t) => {
  t.is(run('failed', { error: 'SIM_VCPU_LOST', ids: ['I3'] }).exitCode, 70);
  t.is(run('limit', { error: 'SIM_LIMIT', ids: ['I3'] }).exitCode, 1);
  t.is(run('crashed', { error: 'SIM_GUEST_CRASH', ids: ['I3'] }).verdict, '1 finding: I3');
});
