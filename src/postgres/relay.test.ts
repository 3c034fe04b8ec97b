import { expect, test } from 'vitest';
import { socketRoot } from './relay.ts';

test("a socket stands in the agent's directory where its path is short enough, else in the system's", () => {
  expect(socketRoot('/var/lib/pgsluice/work/pgsluice-abc')).toBe('/var/lib/pgsluice/work/pgsluice-abc/relay-');
  expect(socketRoot(`/var/${'long/'.repeat(20)}`)).toMatch(/pgsluice-relay-$/);
  expect(socketRoot(`/${'é'.repeat(50)}`)).toMatch(/pgsluice-relay-$/);
});
