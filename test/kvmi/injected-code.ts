/**
 * Guest code that a tool brings along: written to a free page and entered by SET_REGISTERS; it ends with INT3, whose event
 * says what became of the registers.
 */
import type { ExecutionContext } from 'ava';
import type { AnyVcpuEvent, VcpuEvent } from '../../src/kvmi-client/events.ts';
import type { Registers } from '../../src/kvmi-client/index.ts';
import { join8, type Rig, u8 } from './rig.ts';

/** Free, and mapped where it is. */
export const CODE_GPA = 0x2800000n;
const INT3 = 0xcc;

/** vCPU 0, in the middle of injected code. */
export interface Injected {
  /** The next event, of this kind. */
  event<Kind extends AnyVcpuEvent['kind']>(kind: Kind): Promise<VcpuEvent<Kind>>;
  /** Waits for the end, sends the vCPU back to where it was. @returns the registers at the end */
  end(): Promise<Registers>;
}

/** Lets vCPU 0 run `code` with some registers changed. BREAKPOINT events are on afterwards. */
export async function inject(
  t: ExecutionContext,
  { client }: Pick<Rig, 'client'>,
  code: readonly number[],
  registers: Partial<Registers> = {},
): Promise<Injected> {
  await client.writePhysical(CODE_GPA, join8(Uint8Array.from(code), u8(INT3)));
  await client.controlEvents(0, 'breakpoint', true);
  const event: Injected['event'] = async (kind) => {
    const came = await client.nextEvent();
    t.is(came?.kind, kind);
    return came as never;
  };
  const paused = event('pause');
  await client.pauseVcpu(0);
  const before = await paused;
  await client.setRegisters(0, { ...before.registers, ...registers, rip: CODE_GPA });
  client.reply(before, 'continue');
  return {
    event,
    end: async () => {
      const hit = await event('breakpoint');
      t.is(hit.registers.rip, CODE_GPA + BigInt(code.length));
      await client.setRegisters(0, before.registers);
      client.reply(hit, 'retry');
      return hit.registers;
    },
  };
}
