/** An access program from lists in its options: what test/support/boot.ts gives vCPUs without a guest. */
import type { Access } from '../../src/actors/vcpu/access-program.ts';

export interface AccessLists {
  readonly accesses: readonly (readonly Access[])[];
  readonly endless: boolean;
}

export default function* accessLists(index: number, options: unknown): Iterable<Access> {
  const { accesses, endless } = options as AccessLists;
  do yield* accesses[index] ?? accesses[0]!;
  while (endless);
}
