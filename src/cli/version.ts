/** Which version this is. */
import { readFileSync } from 'node:fs';

/** As package.json says; the package finds itself by its own name, built or not. */
export function version(): string {
  const manifest = new URL(import.meta.resolve('faultline/package.json'));
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}
