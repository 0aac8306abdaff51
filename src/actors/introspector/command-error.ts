/** A command of the tool that the machine refuses, as the kernel's ioctl or the wire would: with an errno. */
import { SimError } from '../../shared/errors.ts';
import {
  EAGAIN,
  EBUSY,
  EEXIST,
  EFAULT,
  EINTR,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
} from '../mmu/errno.ts';

const NAMES: ReadonlyMap<number, string> = new Map([
  [EPERM, 'EPERM'],
  [ENOENT, 'ENOENT'],
  [EINTR, 'EINTR'],
  [EAGAIN, 'EAGAIN'],
  [ENOMEM, 'ENOMEM'],
  [EFAULT, 'EFAULT'],
  [EBUSY, 'EBUSY'],
  [EEXIST, 'EEXIST'],
  [EINVAL, 'EINVAL'],
  [EOPNOTSUPP, 'EOPNOTSUPP'],
  [ENOSYS, 'ENOSYS'],
]);

/** `EINVAL` for 22 and for −22. */
export function errnoName(errno: number): string {
  return NAMES.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`;
}

/**
 * The command had no effect, except where its own description says otherwise. The session goes on. From another
 * thread it arrives as a SimError with the same fields.
 */
export class CommandError extends SimError {
  /** Positive: 22 for EINVAL. */
  readonly errno: number;
  readonly errnoName: string;

  /** `error` as results carry it: negated. */
  constructor(command: string, error: number, why = '') {
    const name = errnoName(error);
    super('SIM_COMMAND', `${command}: ${name}${why === '' ? '' : `, ${why}`}`);
    this.errno = Math.abs(error);
    this.errnoName = name;
  }
}
