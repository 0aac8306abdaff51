/** Thread entry of VM control: memslot changes, hook and unhook, invariant checks, one after the other. */

import { SimError } from '../../shared/errors.ts';
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import { Prng } from '../../shared/prng.ts';
import { expose } from '../../shared/rpc.ts';
import { drive } from '../../shared/sync/point.ts';
import { gpa } from '../../shared/units.ts';
import { allow, hook, unhook } from '../introspector/hook.ts';
import { startThread } from '../thread.ts';
import { filledEntries } from '../vcpu/tlb.ts';
import type { ControlApi, ControlTask, ScriptModule, ScriptSource } from './control.api.ts';
import { checkInvariants } from './invariants.ts';
import { classify, type SlotRequest, setMemoryRegion } from './memslots.ts';
import { whileParked } from './quiesce.ts';

export default async function controlThread(task: ControlTask): Promise<void> {
  const { vm, actor, announce, fail } = startThread(task);
  let watched = false;
  let script: Promise<void> = Promise.resolve();
  let scriptStops = false;
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });

  const change = (request: SlotRequest): number => {
    // Only this thread changes slots, so what it is called now is what it will be.
    const kind = watched ? classify(vm, request) : 0;
    const error = drive(actor, setMemoryRegion(actor, vm, request));
    if (error === 0 && typeof kind === 'string' && kind !== 'none') {
      const { id, baseGfn, npages } = request;
      announce('slot', { change: kind, id, gpa: gpa(baseGfn * PAGE_BYTES), bytes: npages * PAGE_BYTES });
    }
    return error;
  };

  const api: ControlApi = {
    ready: () => {},
    setMemoryRegion: change,
    hook: (allowed) => drive(actor, hook(actor, vm, allowed)),
    allow: (what, id, allowed, wire) => drive(actor, allow(actor, vm, what, id, allowed, wire)),
    unhook: () => drive(actor, unhook(actor, vm)),
    checkInvariants: (giveUpMs) => {
      const tlbOf = (vcpu: number) => filledEntries(vm.mem, vm.cpu(vcpu));
      return drive(
        actor,
        whileParked(actor, vm, () => checkInvariants(actor, vm, tlbOf), giveUpMs),
      );
    },
    watch: (on) => {
      watched = on;
    },
    runScript: async (source) => {
      const step = await loadScript(source, {
        vm,
        actor,
        prng: new Prng(source.seed),
        options: source.options,
        setMemoryRegion: change,
      });
      scriptStops = false;
      script = (async () => {
        for (;;) {
          // First of all the answer to this call goes out.
          await turn();
          if (scriptStops) return;
          step();
        }
      })().catch((error: unknown) => {
        fail(new SimError('SIM_ACTOR_LOST', `the control script ${source.href} threw`, { cause: error }));
      });
    },
    stopScript: () => {
      scriptStops = true;
      return script;
    },
    end: () => end(),
  };
  expose(api, task.control);
  await ended;
}

async function loadScript({ href }: ScriptSource, context: Parameters<ScriptModule>[0]): Promise<() => void> {
  const { default: make } = (await import(href)) as { default: ScriptModule };
  return make(context);
}

/** Lets calls in. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
