/** Memory of a PC for devices that are tried by themselves: no vCPU runs, time is what the test says. */
import type { BoardServices, PortDevice } from '../../src/actors/vcpu/platform/device.ts';
import type { MachineLayout } from '../../src/shared/layout/machine.ts';
import type { Mem } from '../../src/shared/mem.ts';
import { SmallMachine } from './small-machine.ts';

export class DeviceBed implements BoardServices {
  readonly mem: Mem;
  readonly layout: MachineLayout;
  /** Levels of the interrupt lines, and how often each rose. */
  readonly lines = new Map<number, boolean>();
  readonly rises = new Map<number, number>();
  time = 0;

  constructor() {
    const { vm } = new SmallMachine({ board: true });
    this.mem = vm.mem;
    this.layout = vm.layout;
  }

  now(): number {
    return this.time;
  }

  setLine(line: number, high: boolean): void {
    if (high && this.lines.get(line) !== true) this.rises.set(line, (this.rises.get(line) ?? 0) + 1);
    this.lines.set(line, high);
  }

  risen(line: number): number {
    return this.rises.get(line) ?? 0;
  }
}

/** `write` and `read` by single bytes. */
export function bytesOf(device: PortDevice) {
  return {
    out: (port: number, ...values: number[]) => {
      for (const value of values) device.write(port, 1, value);
    },
    in: (port: number) => device.read(port, 1),
  };
}
