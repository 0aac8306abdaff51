/**
 * A tool to begin with: guards the text of a guest kernel and the data you name, and says who writes there.
 *
 *   node guard.js --listen /tmp/guard.sock --kernel kernel.elf [--watch SYMBOL]… [--on-write continue|crash]
 *
 * The kernel's file says which pages are text and what addresses are called. All else comes over the wire: whoever serves
 * it, the tool is the same. A guest that wants to be sure that it is guarded calls the tool (VMCALL with rax 34, rdi 24,
 * rsi 0): it gets 0 once its pages are.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { exitCodeOf, formatError, SimError } from '../../shared/errors.ts';
import {
  type AnyVcpuEvent,
  KVMI_PAGE_ACCESS_R,
  KVMI_PAGE_ACCESS_X,
  type KvmiClient,
  KvmiListener,
  UNMAPPED_GVA,
  type VcpuEvent,
} from '../index.ts';
import { type DataRange, KernelMap, pagesOf } from './kernel-map.ts';

/** Entries of one SET_PAGE_ACCESS. */
const BATCH = 500;

const say = (text: string) => process.stdout.write(`${text}\n`);

interface Guard {
  readonly map: KernelMap;
  readonly watched: readonly DataRange[];
  readonly onWrite: 'continue' | 'crash';
}

/** One machine, from its first byte to its last. */
async function session(tool: KvmiClient, guard: Guard): Promise<void> {
  const { vcpu_count: vcpus } = await tool.getInfo();
  say(`machine '${tool.machine.name}', ${vcpus} vCPUs`);
  // Whoever runs already stands still until every page is as it should be.
  for (let vcpu = 0; vcpu < vcpus; vcpu++) await tool.pauseVcpu(vcpu);
  const log = new WriteLog(guard);
  const held: AnyVcpuEvent[] = [];
  let armed = false;
  const arming = arm(tool, guard, vcpus).then(() => {
    armed = true;
    for (const event of held) tool.reply(event, 'continue');
  });
  const settled = arming.catch((error: unknown) => error);
  for await (const event of tool) {
    if (event.kind === 'unhook') break;
    if (event.kind === 'commandError') continue;
    if (event.kind === 'pause' && !armed) held.push(event);
    else if (event.kind === 'pf') tool.reply(event, log.answer(event));
    else tool.reply(event, 'continue');
  }
  await tool.close();
  const failed = await settled;
  if (failed !== undefined) throw failed;
  say(`the machine has gone: ${log.summary()}`);
}

/** Takes write access away, and asks for the events, the guest's own call last. */
async function arm(tool: KvmiClient, { map, watched }: Guard, vcpus: number): Promise<void> {
  const text = map.textPages().map((gpa) => ({ gpa, access: KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_X }));
  const data = watched
    .flatMap(({ gpa, end }) => pagesOf(gpa, end))
    .map((gpa) => ({ gpa, access: KVMI_PAGE_ACCESS_R }));
  const pages = [...text, ...data];
  for (let i = 0; i < pages.length; i += BATCH) await tool.setPageAccess(pages.slice(i, i + BATCH));
  for (const kind of ['pf', 'hypercall'] as const) {
    for (let vcpu = 0; vcpu < vcpus; vcpu++) await tool.controlEvents(vcpu, kind, true);
  }
}

/** Who has written where. */
class WriteLog {
  readonly #guard: Guard;
  /** How often, by the line that was said of it. */
  readonly #times = new Map<string, number>();
  #beside = 0;

  constructor(guard: Guard) {
    this.#guard = guard;
  }

  answer(event: VcpuEvent<'pf'>): 'continue' | 'crash' {
    const { gva, gpa } = event.data;
    if (!this.#isGuarded(gpa)) {
      this.#beside += 1;
      return 'continue';
    }
    const { map, onWrite } = this.#guard;
    const where = map.nameOf(gva === UNMAPPED_GVA ? gpa : gva);
    const line = `vCPU ${event.vcpu}: ${map.nameOf(event.registers.rip)} writes ${where}`;
    const times = this.#times.get(line) ?? 0;
    this.#times.set(line, times + 1);
    if (times === 0) say(line);
    return onWrite;
  }

  /** Text is guarded by whole pages; of a page of data, what was named. */
  #isGuarded(gpa: bigint): boolean {
    const { map, watched } = this.#guard;
    const text = map.textPages().includes(gpa - (gpa % 4096n));
    return text || watched.some((range) => gpa >= range.gpa && gpa < range.end);
  }

  summary(): string {
    const writes = [...this.#times.values()].reduce((sum, times) => sum + times, 0);
    return `${count(writes, 'write')} from ${count(this.#times.size, 'place')}, ${this.#beside} beside what is guarded`;
  }
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      listen: { type: 'string' },
      kernel: { type: 'string' },
      watch: { type: 'string', multiple: true, default: [] },
      'on-write': { type: 'string', default: 'continue' },
    },
  });
  const { listen, kernel, watch, 'on-write': onWrite } = values;
  if (listen === undefined || kernel === undefined || (onWrite !== 'continue' && onWrite !== 'crash')) {
    throw new SimError('SIM_USAGE', 'where to listen, and for which kernel?', {
      hint: 'guard --listen /tmp/guard.sock --kernel kernel.elf [--watch SYMBOL]… [--on-write continue|crash]',
    });
  }
  const map = new KernelMap(readFileSync(kernel));
  const watched = watch.map((name) => map.data(name));
  const listener = await KvmiListener.at(listen);
  const text = `text (${map.textPages().length} × 4 KiB)`;
  say(`guards ${[text, ...watch].join(', ')}; waits at ${listen}`);
  // One machine: a tool that stays would go on with listener.next().
  await session(await listener.next(), { map, watched, onWrite });
  listener.close();
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${formatError(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
