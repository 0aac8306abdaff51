/** Thread entry of the introspector: serves calls from the main thread and runs the receiver loop between them. */
import { SimError } from '../../shared/errors.ts';
import { expose, wrap } from '../../shared/rpc.ts';
import { drive } from '../../shared/sync/point.ts';
import { EFAULT } from '../mmu/errno.ts';
import { startThread } from '../thread.ts';
import { ringBell } from './hook.ts';
import type { HandlerApi, IntrospectorApi, IntrospectorTask } from './introspector.api.ts';
import { Receiver } from './receiver.ts';
import {
  TOOL_EVENT_KINDS,
  type Tool,
  type ToolEventKind,
  type ToolModule,
  type ToolSession,
} from './tool.ts';
import { ToolHost } from './tool-host.ts';
import { PortChannel } from './wire/port-channel.ts';
import { ToolLink } from './wire/tool-link.ts';
import { WireSession } from './wire/wire-session.ts';

export default async function introspectorThread(task: IntrospectorTask): Promise<void> {
  const { vm, actor, announce, fail } = startThread(task);
  const remote = wrap<HandlerApi>(task.handlers);
  /** What a session is attached with: the module's handlers, and those that forward to the main thread. */
  let module: Tool = {};
  const forwarded: { -readonly [Kind in ToolEventKind]?: Tool[Kind] } = {};
  let host: ToolHost | null = null;
  /** The session of a tool on the wire; then there is no host. */
  let wire: WireSession | null = null;
  const remark = (text: string) => announce('tool', { text });
  const link =
    task.kvmi === null
      ? null
      : new ToolLink({
          plan: task.kvmi,
          hook: () => remote.hook(),
          unhook: () => remote.unhook(),
          remark,
          fail,
        });
  let watched = false;
  let ended = false;
  const ring = () => drive(actor, ringBell(vm));

  const receiver = new Receiver(vm, actor.clock, {
    take: () => (wire ?? host)?.poll() ?? false,
    look: () => {
      const session = wire ?? host;
      if (session?.over === false && session.shut) detach('the connection was shut');
    },
    answered: () => wire === null,
    over: () => ended,
  });

  const session = (): ToolSession => {
    if (host === null) throw new SimError('SIM_CLOSED', 'nothing is introspected: the machine is not hooked');
    return host.commands;
  };
  const detach = (reason: string) => {
    host?.end(reason);
    wire?.end(reason);
  };
  const attachWire = (number: number) => {
    const connection = link?.takeConnection() ?? null;
    if (connection === null) return;
    announce('session', { session: number, connected: true });
    wire = new WireSession({
      actor,
      vm,
      channel: connection.channel,
      wire: task.kvmi?.wire ?? 12,
      remark,
      given: () => receiver.soon(),
      ended: (reason) => {
        announce('session', { session: number, connected: false });
        remark(`session over: ${reason}`);
        link?.sessionEnded();
      },
    });
    wire.start(connection.early);
    ring();
  };
  const attach = async () => {
    const number = vm.mem.load(vm.word('KVMI_SESSION'));
    if (link !== null) {
      attachWire(number);
      return;
    }
    host = new ToolHost({
      actor,
      vm,
      tool: bothOf(module, forwarded),
      replyTimeoutMs: task.replyTimeoutMs,
      reports: {
        ended: () => announce('session', { session: number, connected: false }),
        failed: fail,
        pageFault: ({ vcpu, seq, gpa, gva, access }) =>
          announce('pageFault', { vcpu, seq, gpa, gva, access }),
        reply: (vcpu, seq, answer) => announce('reply', { vcpu, seq, answer }),
      },
    });
    host.watched = watched;
    announce('session', { session: number, connected: true });
    ring();
    const attached = host;
    await attached.attach();
    if (attached.failure !== null) throw attached.failure;
  };

  const api: IntrospectorApi = {
    load: async () => {
      if (task.tool !== null) module = await loadTool(task.tool.href, task.tool.options);
      return TOOL_EVENT_KINDS.filter((kind) => module[kind] !== undefined);
    },
    link: async () => link?.open(),
    accept: (port) => {
      if (link === null) port.close();
      else link.accept(new PortChannel(port));
      return link !== null;
    },
    preUnhook: () => wire?.preUnhook() ?? -EFAULT,
    leave: async (waitMs) => {
      const gone = link?.retire();
      if (wire === null || wire.preUnhook() < 0) return;
      remark('the machine is to end: the tool is asked to leave');
      const late = setTimeout(() => detach('the tool was asked to leave, and stayed'), waitMs);
      await gone;
      clearTimeout(late);
    },
    attach,
    handle: async (kind, on) => {
      if (on) forwarded[kind] = (event: never) => remote.event(event) as never;
      else delete forwarded[kind];
      if (host !== null && !host.over) await host.enable([kind], on);
    },
    watch: (on) => {
      watched = on;
      if (host !== null) host.watched = on;
    },
    detach,
    end: () => {
      detach('the machine ends');
      link?.close();
      ended = true;
      ring();
    },
    getInfo: () => session().getInfo(),
    setPageAccess: (pages, opts) => session().setPageAccess(pages, opts),
    getPageAccess: (gpa) => session().getPageAccess(gpa),
    controlEvents: (vcpu, kind, enable) => session().controlEvents(vcpu, kind, enable),
    pauseVcpu: (vcpu, opts) => session().pauseVcpu(vcpu, opts),
    getRegisters: (vcpu) => session().getRegisters(vcpu),
    setRegisters: (vcpu, registers) => session().setRegisters(vcpu, registers),
    readPhysical: (gpa, bytes) => session().readPhysical(gpa, bytes),
    writePhysical: (gpa, data) => session().writePhysical(gpa, data),
    close: () => session().close(),
  };
  expose(api, task.control);
  await receiver.run();
}

/** Handlers are looked up when an event comes: those of the main thread may change during a session. */
function bothOf(module: Tool, forwarded: Tool): Tool {
  return new Proxy(module, {
    get: (target, name) => Reflect.get(forwarded, name) ?? Reflect.get(target, name),
  });
}

/** @throws SimError SIM_TOOL_FAILED for a module that cannot be loaded, or exports no tool */
async function loadTool(href: string, options: unknown): Promise<Tool> {
  let tool: unknown;
  try {
    const { default: exported } = (await import(href)) as { default?: ToolModule };
    tool = typeof exported === 'function' ? await exported(options) : exported;
  } catch (error) {
    throw new SimError('SIM_TOOL_FAILED', `the tool module ${href} cannot be loaded`, {
      hint: 'give a JavaScript module that Node can import',
      cause: error,
    });
  }
  if (typeof tool !== 'object' || tool === null) {
    throw new SimError('SIM_TOOL_FAILED', `the default export of ${href} is no tool: ${typeof tool}`, {
      hint: 'export an object of handlers (pageFault, pause, attached, detached), or a function that returns one',
    });
  }
  for (const name of ['attached', 'pageFault', 'pause', 'detached'] as const) {
    const handler: unknown = (tool as Tool)[name];
    if (handler !== undefined && typeof handler !== 'function') {
      throw new SimError('SIM_TOOL_FAILED', `'${name}' of the tool ${href} is no function`);
    }
  }
  return tool as Tool;
}
