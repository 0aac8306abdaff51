/**
 * Scenarios, declared: memslots, restrictions, what each vCPU does, what the tool answers, what VM control and others do
 * meanwhile, and what has to hold.
 *
 * ```ts
 * export default scene({
 *   name: 'tighten',
 *   title: 'a page is made read-only while a vCPU writes to it',
 *   slots: [{ id: 1, gfn: 0x20, pages: 4 }],
 *   vcpus: [[write(0x20_000, 1n), write(0x20_000, 2n)]],
 *   *control({ commands }) {
 *     yield* commands.setPageAccess(0x20_000, R | X);
 *   },
 *   *tool() {
 *     return CONTINUE;
 *   },
 * });
 * ```
 *
 * A vCPU is a list of accesses, or the text of a guest program (asm.ts) that the real core executes from its own page in
 * ring 0 and that ends with `out 0xf4, eax`. Each access to memory from gpa 0x100000 on is then a scheduling point.
 *
 * Everything here is a path (`function*`, called with `yield*`) over shared memory: no clock, no randomness, no promise.
 */
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_EVENT_ACTION_RETRY,
} from '../../actors/introspector/kvmi/constants.ts';
import type { SlotRequest } from '../../actors/mmu/memslots.ts';
import type { Access } from '../../actors/vcpu/access-program.ts';
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { SLOT_LOG_DIRTY, SLOT_READONLY } from '../../shared/layout/memslot.ts';
import { type Quirks, quirkByName, REFERENCE_QUIRKS } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import type { Path } from '../../shared/sync/point.ts';
import type { Participant } from '../engine/execution.ts';
import { guestParticipant, guestWorldOptions, LOW_PAGES, loadGuests, programGpa } from '../world/guests.ts';
import type { Tool } from '../world/tool-side.ts';
import type { World } from '../world/world.ts';
import { asm } from './asm.ts';
import type { Scenario } from './scenario.ts';

export const R = ACCESS_R;
export const W = ACCESS_W;
export const X = ACCESS_X;
export const CONTINUE = KVMI_EVENT_ACTION_CONTINUE;
export const RETRY = KVMI_EVENT_ACTION_RETRY;
export const CRASH = KVMI_EVENT_ACTION_CRASH;

export const read = (gpa: number, size: Access['size'] = 8): Access => ({ kind: 'read', gpa, size });
export const write = (gpa: number, value: bigint, size: Access['size'] = 8): Access => ({
  kind: 'write',
  gpa,
  size,
  value,
});
export const execute = (gpa: number, size: Access['size'] = 1): Access => ({ kind: 'execute', gpa, size });

export interface SceneSlot {
  /** From 1: slot 0 is the low memory. */
  readonly id: number;
  readonly gfn: number;
  readonly pages: number;
  /** First page of guest RAM behind it. Default: a place of its own. */
  readonly ramPage?: number;
  /** Address space, 0 or 1. Default 0. */
  readonly space?: number;
  readonly readOnly?: boolean;
  readonly logDirty?: boolean;
}

export interface Scene {
  readonly name: string;
  readonly title: string;
  /** In the order of their ids, from 1. */
  readonly slots?: readonly SceneSlot[];
  /** Before the first schedule: gfn → what is allowed, any of R | W | X. */
  readonly restrict?: Readonly<Record<number, number>>;
  /** Is the VM introspected from the start? Default: yes, with PF events of all vCPUs. */
  readonly hooked?: boolean;
  /** What each vCPU does: accesses, or the text of a guest program. */
  readonly vcpus: readonly (readonly Access[] | string)[];
  /** Answers events. Default: everything may go on. */
  readonly tool?: (world: World, ...event: Parameters<Tool>) => Path<number>;
  /** What VM control does. */
  readonly control?: (world: World) => Path<unknown>;
  /** Others, by name, each with an actor of its own: the host, a second control thread. */
  readonly others?: Readonly<Record<string, (world: World, actor: Actor) => Path<unknown>>>;
  /** What is wrong in the end, a sentence each. */
  readonly check?: NonNullable<Scenario['atEnd']>;
  /** Names of quirks that are on. */
  readonly bugs?: readonly string[];
  /** All weaknesses of the reference design. */
  readonly reference?: boolean;
  /** A lost connection means RETRY, not CONTINUE. */
  readonly strict?: boolean;
  readonly stepLimit?: number;
}

/** Pages of the low memory of a world without guest code. */
const FEW_LOW_PAGES = 16;

/**
 * Findings in a scene without a `check` of its own are shrunk to the parts that they need: others, control, tool, accesses,
 * programs, restrictions. What a check says may be true of the whole scene only, so one with a check stays whole.
 *
 * @throws RangeError naming what is wrong with the scene
 */
export function scene(spec: Scene): Scenario {
  return sceneWithout(spec, new Set());
}

/** @param dropped  names of {@link partNames} */
function sceneWithout(spec: Scene, dropped: ReadonlySet<string>): Scenario {
  const guest = spec.vcpus.some((program) => typeof program === 'string');
  const low = guest ? LOW_PAGES : FEW_LOW_PAGES;
  const slots = placedSlots(spec, low);
  const options = {
    vcpuCount: spec.vcpus.length,
    quirks: quirksOf(spec),
    strict: spec.strict ?? false,
    ramPages: Math.max(low, ...slots.map(({ ramPage, npages }) => ramPage + npages)),
    // As much again above the last slot, for slots that move.
    gfnCount: 2 * Math.max(low, ...slots.map(({ baseGfn, npages }) => baseGfn + npages)),
  };
  const parts = spec.check === undefined ? partNames(spec) : [];
  return {
    name: spec.name,
    title: spec.title,
    machine: guest ? guestWorldOptions(options) : options,
    ...(spec.stepLimit === undefined ? {} : { stepLimit: spec.stepLimit }),
    setUp(world) {
      if (guest) loadGuests(world, spec.vcpus.map(assembled));
      else must(world.slot({ id: 0, npages: low }), 'slot 0');
      for (const slot of slots) must(world.slot(slot), `slot ${slot.id}`);
      if (spec.hooked === false) return;
      world.hook();
      world.enablePf(...world.vcpus.keys());
      for (const [gfn, access] of Object.entries(spec.restrict ?? {})) {
        if (dropped.has(restrictionOf(gfn))) continue;
        must(world.access(Number(gfn), access), `restriction of gfn ${gfn}`);
      }
    },
    participants: (world) => participantsOf(spec, dropped, world),
    ...(spec.check === undefined ? {} : { atEnd: spec.check }),
    ...(parts.length === 0
      ? {}
      : {
          parts: {
            names: parts,
            without: (places) => sceneWithout(spec, new Set(places.map((place) => parts[place]!))),
          },
        }),
  };
}

function participantsOf(spec: Scene, dropped: ReadonlySet<string>, world: World): Participant[] {
  const participants: Participant[] = [];
  for (const [index, program] of spec.vcpus.entries()) {
    if (dropped.has(programOf(index))) continue;
    if (typeof program === 'string') {
      participants.push(guestParticipant(world, index));
      continue;
    }
    const accesses = program.filter((_, place) => !dropped.has(accessOf(index, place)));
    if (accesses.length > 0 || program.length === 0) participants.push(world.vcpuRunner(index, accesses));
  }
  const tool = dropped.has(TOOL) ? goOn : (spec.tool ?? goOn);
  if (spec.hooked !== false || spec.tool !== undefined) {
    participants.push(world.toolRunner((...event) => tool(world, ...event)));
  }
  if (spec.control !== undefined && !dropped.has('control')) {
    participants.push(world.controlRunner(spec.control(world)));
  }
  for (const [name, other] of Object.entries(spec.others ?? {})) {
    // Left out or not: actors keep their numbers.
    const actor = world.actor(name);
    if (!dropped.has(name)) participants.push({ name, waiter: actor, path: other(world, actor) });
  }
  return participants;
}

const TOOL = 'what the tool does';
const programOf = (vcpu: number): string => `the program of vcpu ${vcpu}`;
const accessOf = (vcpu: number, place: number): string => `access ${place + 1} of vcpu ${vcpu}`;
const restrictionOf = (gfn: string): string => `the restriction of gfn 0x${Number(gfn).toString(16)}`;

/** What a scene may be able to do without, the big parts first. */
function partNames({ others = {}, control, tool, vcpus, restrict = {} }: Scene): string[] {
  return [
    ...Object.keys(others),
    ...(control === undefined ? [] : ['control']),
    ...(tool === undefined ? [] : [TOOL]),
    ...vcpus.flatMap((program, index) =>
      typeof program === 'string' ? [programOf(index)] : program.map((_, place) => accessOf(index, place)),
    ),
    ...Object.keys(restrict).map(restrictionOf),
  ];
}

/** The request that makes a slot of `spec` as it was declared; change a copy of it to delete or move the slot. */
export function slotOf(spec: Pick<Scene, 'slots' | 'vcpus'>, id: number): SlotRequest {
  const guest = spec.vcpus.some((program) => typeof program === 'string');
  const slot = placedSlots(spec, guest ? LOW_PAGES : FEW_LOW_PAGES).find((placed) => placed.id === id);
  if (slot === undefined) throw new RangeError(`no slot ${id} in this scene`);
  return slot;
}

function* goOn(): Path<number> {
  return CONTINUE;
}

function placedSlots(spec: Pick<Scene, 'slots'>, low: number): SlotRequest[] {
  let free = low;
  return (spec.slots ?? []).map((slot) => {
    const { id, gfn, pages, space = 0, readOnly = false, logDirty = false } = slot;
    if (id === 0) throw new RangeError('slot 0 is the low memory; number slots from 1');
    const { ramPage = free } = slot;
    free = Math.max(free, ramPage + pages);
    const flags = (readOnly ? SLOT_READONLY : 0) | (logDirty ? SLOT_LOG_DIRTY : 0);
    return { id, asId: space, flags, baseGfn: gfn, npages: pages, ramPage };
  });
}

function quirksOf({ bugs = [], reference = false }: Scene): Quirks {
  const named = bugs.map((name) => {
    const quirk = quirkByName(name);
    if (quirk === undefined) throw new RangeError(`no bug is named ${name}`);
    return quirk.id;
  });
  return reference ? [...REFERENCE_QUIRKS, ...named] : named;
}

function assembled(program: readonly Access[] | string, index: number): Uint8Array {
  if (typeof program !== 'string') {
    throw new RangeError(`vCPU ${index} is a list of accesses beside one with a guest program: use one kind`);
  }
  return asm(programGpa(index), program).bytes;
}

function must(error: number, what: string): void {
  if (error < 0) throw new RangeError(`${what} is refused with errno ${-error}`);
}
