/** Where the code that uses a lock stands, without the frames of the lock code itself. */

/** Frames looked at: deeper than stacks usually go, for paths are generators within generators. */
const STACK_FRAMES = 30;

/** The innermost `frames` calls outside the lock code, one a line. Some microseconds. */
export function callerStack(frames = STACK_FRAMES): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = STACK_FRAMES;
  const lines = (new Error().stack ?? '').split('\n').slice(1);
  Error.stackTraceLimit = limit;
  // The first frame is this function. What it says of its folder is what the other frames of the lock code say, be it
  // a URL or, where Node applies source maps, a path to the source.
  const here = lines[0] ?? '';
  const folder = here.slice(here.indexOf('(') + 1, here.lastIndexOf('caller-stack.'));
  return lines
    .filter((line) => !line.includes(folder) && !line.includes('(<anonymous>)'))
    .slice(0, frames)
    .map((line) => line.trim().replace(/^at /, ''))
    .join('\n');
}
