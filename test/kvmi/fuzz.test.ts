/** Senseless tools: never a crash, a hang, a leaked restriction; answers and closes where the kernel has them. */
import test from 'ava';
import { Prng } from '../../src/shared/prng.ts';
import { until } from '../support/boot.ts';
import { FuzzTool, type Tally } from './fuzz.ts';
import { GUEST, rig } from './rig.ts';

const SEED = BigInt(process.env['SEED'] ?? Math.floor(Date.now()));
const CONVERSATIONS = Number(process.env['CONVERSATIONS'] ?? 60);
const VCPUS = 2;

test.serial('tools that say whatever comes into their heads', async (t) => {
  t.log(`SEED=${SEED} CONVERSATIONS=${CONVERSATIONS}`);
  const prng = new Prng(SEED);
  const { machine, client, listener } = await rig(t, { vcpuCount: VCPUS });
  await client.close();
  const tally: Tally = { conversations: 0, messages: 0, answers: 0, errors: 0, events: 0, closed: 0 };
  const actions = [GUEST.bp, GUEST.cr, GUEST.descriptor, GUEST.hypercall, GUEST.msr, GUEST.pf, GUEST.three];
  for (let i = 0; i < CONVERSATIONS; i++) {
    await FuzzTool.converse(listener, prng, VCPUS, tally);
    if (i % 10 !== 9) continue;
    // A tool in its right mind: the guest does what it is asked to, and nothing of the others is left.
    const tool = await listener.next();
    await tool.getVersion();
    for (let vcpu = 0; vcpu < VCPUS; vcpu++) {
      const before = machine.counters().vcpus[vcpu]!.instructions;
      await until(() => machine.counters().vcpus[vcpu]!.instructions > before + 1000);
      const box = 0x1ff000n + BigInt(vcpu * 64);
      await tool.writePhysical(box, Uint8Array.of(actions[prng.below(actions.length)]!, 0, 0, 0));
      while ((await tool.readPhysical(box + 4n, 1))[0] !== 1);
      await tool.writePhysical(box, Uint8Array.of(0, 0, 0, 0));
      while ((await tool.readPhysical(box + 4n, 1))[0] !== 0);
    }
    t.is(tool.connection.eventsWaiting, 0);
    const check = await machine.control.checkInvariants();
    t.deepEqual(check?.findings ?? [], []);
    // The next ones find a guest that has something to do.
    for (let vcpu = 0; vcpu < VCPUS; vcpu++) {
      const action = actions[prng.below(actions.length)]!;
      await tool.writePhysical(0x1ff000n + BigInt(vcpu * 64), Uint8Array.of(action, 0, 0, 0));
    }
    await tool.close();
    const between = await listener.next();
    for (let vcpu = 0; vcpu < VCPUS; vcpu++) {
      await between.writePhysical(0x1ff000n + BigInt(vcpu * 64), Uint8Array.of(0, 0, 0, 0));
    }
    await between.close();
  }
  t.log(tally);
  t.true(tally.answers > CONVERSATIONS);
});
