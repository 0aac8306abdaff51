/** Public API: re-exports, nothing else. */

export { CommandError } from './actors/introspector/command-error.ts';
export { UNMAPPED_GVA } from './actors/introspector/kvmi/constants.ts';
export type {
  Answer,
  PageAccess,
  PageAccessEntry,
  PageFaultEvent,
  PauseAnswer,
  PauseEvent,
  Registers,
  Tool,
  ToolEvent,
  ToolEventKind,
  ToolModule,
  ToolSession,
  VmInfo,
} from './actors/introspector/tool.ts';
export type { OracleFinding } from './actors/mmu/vm.ts';
export type { ControlFront } from './machine/control-front.ts';
export type { IntrospectorFront, PageFaultHandler, PauseHandler } from './machine/introspector-front.ts';
export type { MachineOptions, MemoryRegion } from './machine/options.ts';
export { Machine, type MachineStatus } from './machine.ts';
export type { Counters, Ending, Finding, RunReport } from './report/run-report.ts';
export { EXIT, type ExitCode, formatError, SimError, type SimErrorCode } from './shared/errors.ts';
export type { AccessKind, EventAnswer, Listener, MachineFacts } from './shared/hub.ts';
export type { Gpa, Gva } from './shared/units.ts';
