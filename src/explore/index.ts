/** Public API of the explorer, `faultline/explore`: what scenarios are written with. Re-exports, nothing else. */

export { hook, shutConnection, unhook } from '../actors/introspector/hook.ts';
export { KVMI_VCPU_EVENT_PAUSE, KVMI_VCPU_EVENT_PF } from '../actors/introspector/kvmi/constants.ts';
export type { Session, SessionEvent } from '../actors/introspector/session.ts';
export { harvestDirtyLog } from '../actors/mmu/dirty-log.ts';
export { type HostRange, invalidateRangeEnd, invalidateRangeStart } from '../actors/mmu/host-invalidation.ts';
export { type SlotRequest, setMemoryRegion } from '../actors/mmu/memslots.ts';
export type { Vm } from '../actors/mmu/vm.ts';
export type { Access } from '../actors/vcpu/access-program.ts';
export type { Actor } from '../shared/sync/actor.ts';
export {
  choosing,
  notifying,
  type Path,
  type Point,
  reading,
  relaxing,
  stepping,
  updating,
  waiting,
  writing,
} from '../shared/sync/point.ts';
export type { Participant } from './engine/execution.ts';
export type { Broken, Scenario, ScenarioParts } from './scenario/scenario.ts';
export {
  CONTINUE,
  CRASH,
  execute,
  R,
  RETRY,
  read,
  type Scene,
  type SceneSlot,
  scene,
  slotOf,
  W,
  write,
  X,
} from './scenario/scene.ts';
export type { Registers, Tool, ToolSide } from './world/tool-side.ts';
export type { World, WorldOptions } from './world/world.ts';
