/** A host that takes pages away and gives them back, for settings. */
import { invalidateRangeEnd, invalidateRangeStart } from '../../../actors/mmu/host-invalidation.ts';
import { isPresent, spteAddress } from '../../../actors/mmu/spte.ts';
import { ROOT_LIMIT } from '../../../shared/layout/spte.ts';
import { type Path, stepping } from '../../../shared/sync/point.ts';
import type { World } from '../../world/world.ts';
import type { PageWatch } from '../page-watch.ts';
import { GFN } from '../setting.ts';

/** Steps for which the host has the page to itself. */
const LOOKS = 6;

/**
 * The host takes the first pages of the slot, has them for itself for some steps, and gives them back. Meanwhile the
 * page under watch must not change, and nothing must map it.
 */
export function* hostTakes({ vm, control }: World, watch: PageWatch, npages = 1): Path<void> {
  const range = { ramPage: GFN, npages };
  yield* invalidateRangeStart(control, vm, range);
  watch.closed = 'that the host had taken away';
  for (let look = 0; look < LOOKS; look++) {
    yield stepping();
    for (let root = 0; root < ROOT_LIMIT; root++) {
      if (!isPresent(vm.mem.load64(spteAddress(vm, root, GFN)))) continue;
      vm.onFinding({
        id: 'I7',
        detail: `root ${root} maps gfn 0x${GFN.toString(16)} while the host has its page`,
      });
    }
  }
  watch.closed = null;
  yield* invalidateRangeEnd(control, vm, range);
}
