/** A scenario as the user names it: by the name of one that comes with the package, or as a module. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SimError } from '../../shared/errors.ts';
import { scenarioByName } from './known.ts';
import type { Scenario } from './scenario.ts';
import { trappedLoading } from './traps.ts';

/** Is this a file's name, not that of a bundled scenario? */
export function isModulePath(name: string): boolean {
  return /[/\\]|\.[cm]?[jt]s$/.test(name);
}

/**
 * @throws SimError SIM_USAGE, SIM_FILE when there is no such scenario or file; SIM_SCENARIO when the module cannot be
 *         loaded, or what it exports is no scenario
 */
export async function loadScenario(name: string): Promise<Scenario> {
  if (!isModulePath(name)) return scenarioByName(name);
  const file = resolve(name);
  if (!existsSync(file)) {
    throw new SimError('SIM_FILE', `there is no scenario module '${name}'`, { hint: 'give its path' });
  }
  let module: { readonly default?: unknown; readonly scenario?: unknown };
  try {
    module = (await trappedLoading(name, () => import(pathToFileURL(file).href))) as typeof module;
  } catch (cause) {
    if (cause instanceof SimError) throw cause;
    if (/\.[cm]?ts$/.test(file) && (cause as NodeJS.ErrnoException).code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      throw new SimError('SIM_SCENARIO', `Node ${process.versions.node} loads no TypeScript: '${name}'`, {
        hint: 'compile it and give the .js file, or use Node 22.18 or later',
      });
    }
    throw new SimError('SIM_SCENARIO', `the scenario module '${name}' cannot be loaded`, { cause });
  }
  return checked(name, module.default ?? module.scenario);
}

function checked(file: string, value: unknown): Scenario {
  const refuse = (what: string): never => {
    throw new SimError('SIM_SCENARIO', `'${file}' exports no scenario: ${what}`, {
      hint: 'export default { name, title, machine, setUp(world) {…}, participants(world) {…} }',
    });
  };
  if (typeof value !== 'object' || value === null) return refuse('neither as default nor as `scenario`');
  const { name, title, machine, setUp, participants } = value as Partial<Scenario>;
  if (typeof name !== 'string' || !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))
    refuse('its name is lower case, digits and hyphens');
  if (typeof title !== 'string') refuse('it has no title');
  if (typeof machine !== 'object' || machine === null) refuse('it has no machine');
  if (typeof setUp !== 'function') refuse('it has no setUp(world)');
  if (typeof participants !== 'function') refuse('it has no participants(world)');
  return value as Scenario;
}
