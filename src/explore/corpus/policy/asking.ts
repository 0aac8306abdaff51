/** Asking the tool: what is looked up for it, held meanwhile, and done with its answer. */
import {
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../../actors/introspector/kvmi/constants.ts';
import { lockedLinear, readLinear, writeLinear } from '../../../actors/vcpu/linear-memory.ts';
import { accessPiece } from '../../../actors/vcpu/tracked-access.ts';
import { OUTCOME_OK, OUTCOME_RETRY, type Vcpu } from '../../../actors/vcpu/vcpu.ts';
