import type { TestServer } from '../test/support/servers.ts';

/** Sessions that fill a database at once. */
const fillers = 2;

/** Runs the statements in order of the list, `fillers` at once. */
export async function together(server: TestServer, database: string, statements: readonly string[]): Promise<void> {
  const queue = statements.values();
  const filler = async (): Promise<void> => {
    for (const statement of queue) await server.run(statement, database);
  };
  await Promise.all(Array.from({ length: fillers }, filler));
}

/** One statement for every `chunk` of the numbers from 1 to `total`. */
export function chunked(total: number, chunk: number, statement: (from: number, to: number) => string): string[] {
  const statements: string[] = [];
  for (let from = 1; from <= total; from += chunk) statements.push(statement(from, Math.min(total, from + chunk - 1)));
  return statements;
}

/** At least one. */
export const times = (count: number, scale: number): number => Math.max(1, Math.round(count * scale));
