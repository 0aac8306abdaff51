/**
 * Byte rings: jobs to a vCPU, messages from a vCPU to the receiver. Records are whole: a 16-byte head, then the
 * payload padded to 8 bytes; positions grow for ever and are taken modulo the capacity.
 */
import { i32, struct, u8 } from '../struct.ts';

export const RING = struct(
  'ring',
  {
    HEAD: i32('consumer', 'bytes taken out, modulo 2³²'),
    TAIL: i32('producer', 'bytes put in, modulo 2³²'),
  },
  64,
);
export const RECORD = struct('ring-record', {
  BYTES: i32('producer', 'payload bytes'),
  KIND: i32('producer', 'message id'),
  SEQ: i32('producer', 'sequence number'),
  VCPU: i32('producer', 'vCPU index'),
});
/** Data bytes of a job ring and of a message ring. Holds several of the largest KVMI messages (8192 bytes). */
export const RING_DATA_BYTES = 64 * 1024;
export const RING_DATA = struct('ring-data', {
  BYTES: u8('producer', 'records; only those from HEAD to TAIL mean anything', RING_DATA_BYTES),
});
export const RING_BYTES = RING.bytes + RING_DATA.bytes;
