/** Runs one oracle case in Faultline's core and says what came out, in the words of the native harness. */
import type { CaseResult, OracleCase } from '../../scripts/native-oracle/case.ts';

/** `fast`: the block cache and its handlers. `emulated`: every instruction single-stepped, access by access. */
export type LabMode = 'fast' | 'emulated';

export interface CoreLab {
  run(item: OracleCase, mode: LabMode): CaseResult;
}
