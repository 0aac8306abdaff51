/**
 * Example, guest code: two vCPUs count up one word on a page that loses W meanwhile. LOCK makes each count one step
 * to others, in the core and in the emulator alike; take it away and counts are lost.
 */
import { R, scene } from '../scene.ts';

const COUNTER = 0x100_000;
const ROUNDS = 2;
const GUEST = `
        mov  ecx, ${ROUNDS}
  next: lock inc qword [${COUNTER}]
        loop next
        xor  eax, eax
        out  0xf4, eax
`;

export const sharedCounter = scene({
  name: 'shared-counter',
  title: 'guest code of two vCPUs counts on a page that loses W',
  slots: [{ id: 1, gfn: 0x100, pages: 1 }],
  vcpus: [GUEST, GUEST],
  *control({ commands }) {
    yield* commands.setPageAccess(COUNTER, R);
  },
  check({ vm }) {
    const count = vm.mem.u64[vm.ramPage(0x100) / 8]!;
    return count === BigInt(2 * ROUNDS) ? [] : [`${2 * ROUNDS} counts made ${count}`];
  },
});
