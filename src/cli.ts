#!/usr/bin/env node
/** The command line: words → command → exit code. Errors are printed here and nowhere else. */
import { dispatch } from './cli/commands.ts';
import { exitCodeOf, formatError } from './shared/errors.ts';

// Whoever reads our output may stop reading: `faultline run | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

try {
  process.exitCode = await dispatch(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${formatError(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
