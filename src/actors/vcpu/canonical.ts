/** Which linear addresses exist. */
import { LINEAR_ADDRESS_BITS } from '../../shared/x86/paging.ts';

/** Are bits 63…47 all equal? */
export function isCanonical(gva: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(LINEAR_ADDRESS_BITS, gva)) === gva;
}
