/** Public API of `faultline/kvmi-client`: re-exports, nothing else. */

export * from '../actors/introspector/kvmi/constants.ts';
export { COMMANDS, type CommandSpec, EVENTS, type EventSpec } from '../actors/introspector/kvmi/protocol.ts';
export type { Registers } from '../actors/introspector/tool.ts';
export { KvmiClient, KvmiError, type VcpuState } from './client.ts';
export { ConnectionClosed, type ConnectionOptions, type VmIdentity } from './connection.ts';
export type { AnyVcpuEvent, EventData, EventKind, KvmiEvent, UnhookEvent, VcpuEvent } from './events.ts';
export { connectTo, KvmiListener } from './listener.ts';
