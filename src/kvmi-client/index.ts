/** Public API of `faultline/kvmi-client`: re-exports, nothing else. */

export type { WireVersion } from '../actors/introspector/introspector.api.ts';
/** Ids and values of wire-12, as the kernel's headers have them. */
export * from '../actors/introspector/kvmi/constants.ts';
/** Ids of wire-7. */
export * as wire7 from '../actors/introspector/kvmi/constants-7.ts';
export { COMMANDS, type CommandSpec, EVENTS, type EventSpec } from '../actors/introspector/kvmi/protocol.ts';
export { COMMANDS_7, EVENTS_7 } from '../actors/introspector/kvmi/protocol-7.ts';
export type { Registers } from '../actors/introspector/tool.ts';
export { type ClientOptions, KvmiClient, KvmiError, type VcpuState } from './client.ts';
export {
  type Connection,
  ConnectionClosed,
  type ConnectionOptions,
  type RawReply,
  type VmIdentity,
} from './connection.ts';
export type {
  AnyVcpuEvent,
  CommandErrorEvent,
  EventData,
  EventKind,
  KvmiEvent,
  UnhookEvent,
  VcpuEvent,
} from './events.ts';
export { connectTo, KvmiListener } from './listener.ts';
export { type Action, type PfReply, type Request, Requests, type Version } from './requests.ts';
