/**
 * Number of what a schedule means: the default policy, how steps are counted, what a place is. Bumped when schedules
 * of before cannot be followed any more. That the machine's code has changed is no reason: a replay says where it
 * diverges, if it does.
 */
export const ENGINE_ABI = 1;
