import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CopyFrameWalker } from '../src/clone/frame-walker.ts';
import { clean } from '../src/cli/text.ts';
import { parseManifest } from '../src/clone/import-archive-check.ts';
import { PgsluiceError } from '../src/errors.ts';
import type { TablePlan } from '../src/live/apply-plan.ts';
import { ColumnLiterals, RawRows, lastOfEachKey, rawCopyText } from '../src/live/raw-rows.ts';
import { SpoolRoom } from '../src/live/spool.ts';
import { Assembler, type CommittedTransaction } from '../src/live/transactions.ts';
import { parseArchiveSql, withoutAttver } from '../src/postgres/archive.ts';
import { TocEndError, parseToc, parseTocHeader } from '../src/postgres/archive-toc.ts';
import { Messages } from '../src/postgres/copy-both.ts';
import { asListed } from '../src/postgres/listed.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { settingsUrl } from '../src/postgres/settings-url.ts';
import { tokenizeSql } from '../src/postgres/sql-lexer.ts';
import { WireBreach, WireGuard } from '../src/postgres/wire-guard.ts';
import { ClientWatch, ServerWatch } from '../src/postgres/wire-watch.ts';
import { escapeHtml } from '../src/verify/report.ts';
import { buildEndpointUrl, parseEndpointUrl } from '../web/src/endpoint.ts';
import { type Chance, type FuzzResult, cutUp, damaged, damagedText, fuzz } from './support/fuzz.ts';
import {
  columns,
  jsonWords,
  manifest,
  sql,
  sqlWords,
  toc,
  transaction,
  urlWords,
  urls,
} from './support/fuzz-inputs.ts';
import { message } from './support/lying-server.ts';
import * as sent from './support/pgoutput-messages.ts';

/** `npm run test:fuzz` tries a million of each; PGSLUICE_FUZZ_SEED repeats a run. */
const inputs = Number(process.env['PGSLUICE_FUZZ_INPUTS'] ?? 10_000);
const seed = Number(process.env['PGSLUICE_FUZZ_SEED'] ?? Math.floor(Math.random() * 1e9));

let dir: string;
let spools: SpoolRoom;

beforeAll(async () => {
  process.stdout.write(`fuzz: ${inputs} inputs each, seed ${seed}\n`);
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-fuzz-'));
  spools = await SpoolRoom.open({
    dir,
    slot: 's',
    onWritten: () => undefined,
    onFailure: () => undefined,
    log: () => undefined,
  });
});
afterAll(async () => {
  await spools.close();
  rmSync(dir, { recursive: true, force: true });
});

const coded =
  (...codes: readonly string[]) =>
  (error: unknown): boolean =>
    error instanceof PgsluiceError && codes.includes(error.code);
const isRange = (error: unknown): boolean => error instanceof RangeError && /length/.test(error.message);
const never = (): boolean => false;

/** What of the bounds that hold for every input does not; some are refused and some not, or half of the code went untried. */
function problems(result: FuzzResult, refusedAtLeast: number): string[] {
  const { refused, slowest, grownMb } = result;
  const found = `${refused} of ${result.inputs} refused, slowest ${slowest.toFixed(1)} ms, ${grownMb.toFixed(0)} MB`;
  process.stdout.write(`  ${String(expect.getState().currentTestName)}: ${found}\n`);
  const good = [
    result.inputs === inputs,
    refused >= Math.floor(inputs * refusedAtLeast),
    refusedAtLeast === 0 ? refused === 0 : refused < inputs,
    slowest < 1000,
    grownMb < 200,
  ];
  return good.every(Boolean) ? [] : [found];
}

const backend = (chance: Chance): Buffer =>
  Buffer.concat(
    Array.from({ length: 1 + chance.below(12) }, () =>
      message(
        chance.pick(['d', 'd', 'd', 'D', 'N', 'S', 'Z', 'C', 'c', 'E', 'R', 'T', 'X', 'Q']),
        chance.bytes(chance.below(60)),
      ),
    ),
  );
const wire = (chance: Chance): Buffer => (chance.below(3) === 0 ? backend(chance) : damaged(chance, backend(chance)));

test('the frame walker: the same whatever the cuts, every byte once', async () => {
  const found = problems(
    await fuzz(
      inputs,
      seed,
      (chance) => {
        const bytes = wire(chance);
        const walk = (pieces: readonly Buffer[]): string => {
          const walker = new CopyFrameWalker();
          const passed: Buffer[] = [];
          for (const [at, piece] of pieces.entries()) {
            const { forward, rest } = walker.walk(piece);
            passed.push(...forward.map((one) => Buffer.from(one)));
            if (rest === null) continue;
            passed.push(Buffer.from('|'), Buffer.from(rest), ...pieces.slice(at + 1));
            break;
          }
          return `${walker.frames} ${walker.bytes} ${Buffer.concat(passed).toString('hex')}`;
        };
        const whole = walk([bytes]);
        const cut = walk(cutUp(chance, bytes));
        if (whole !== cut) throw new Error(`${whole} is not ${cut}`);
      },
      isRange,
    ),
    0.001,
  );
  expect(found).toEqual([]);
});

test('messages of the replication stream: the same whatever the cuts', async () => {
  const found = problems(
    await fuzz(
      inputs,
      seed,
      (chance) => {
        const bytes = wire(chance);
        const read = (pieces: readonly Buffer[]): string => {
          const told: string[] = [];
          const messages = new Messages(
            (all, start, end) => told.push(`d ${all.toString('hex', start, end)}`),
            (other) => told.push(other.toString('hex')),
          );
          for (const piece of pieces) messages.read(piece);
          return told.join('\n');
        };
        if (read([bytes]) !== read(cutUp(chance, bytes))) throw new Error('the cuts made a difference');
      },
      isRange,
    ),
    0.02,
  );
  expect(found).toEqual([]);
});

test('what is watched on the way to a server and back: the same whatever the cuts', async () => {
  const found = problems(
    await fuzz(
      inputs,
      seed,
      (chance) => {
        const bytes = wire(chance);
        const guard = (pieces: readonly Buffer[]): string => {
          const one = new WireGuard({ mayCleartext: chance.below(2) === 0, answerBytes: 2000 });
          if (chance.below(2) === 0) one.open();
          for (const piece of pieces) one.feed(piece);
          return 'passed';
        };
        const server = (pieces: readonly Buffer[]): string => {
          const counts = [0, 0];
          const watch = new ServerWatch();
          watch.expect({ advance: (a, b) => counts.splice(0, 2, a, b), done: (a, b) => counts.splice(0, 2, a, b) });
          for (const piece of pieces) watch.feed(piece);
          return counts.join(' ');
        };
        const client = (pieces: readonly Buffer[]): string => {
          const watch = new ClientWatch();
          const queries: string[] = [];
          for (const piece of pieces) {
            const { queries: more, over } = watch.feed(piece);
            queries.push(...more);
            if (over) break;
          }
          return queries.join('\n');
        };
        // An error ends the counting; whether the rows right before it were told of is a matter of the cuts.
        server(cutUp(chance, bytes));
        if (client([bytes]) !== client(cutUp(chance, bytes))) throw new Error('the cuts made a difference');
        guard(cutUp(chance, bytes));
      },
      (error) => isRange(error) || error instanceof WireBreach,
    ),
    0.05,
  );
  expect(found).toEqual([]);
});

const plan = {
  id: 'public.t',
  columns: columns.map(({ name }) => ({ name, plain: name === 'id', delimiter: ',' })),
} as unknown as TablePlan;

test('the stream of changes: read whole or refused, never half', async () => {
  const unreadable = coded('STREAM_UNREADABLE');
  const result = await fuzz(
    inputs,
    seed,
    (chance) => {
      const told: CommittedTransaction[] = [];
      const assembler = new Assembler({
        spools,
        spoolAboveBytes: 1 << 20,
        onTransaction: (one) => told.push(one),
        onPosition: () => undefined,
      });
      assembler.accept(sent.relation(1, 't', columns));
      assembler.accept(sent.relation(2, 'u', columns));
      let wrong: unknown = null;
      const all = Array.from({ length: 1 + chance.below(3) }, () => transaction(chance)).flat();
      const worse = chance.below(4);
      for (const one of all) {
        const bytes = chance.below(6) < worse ? damaged(chance, one) : one;
        try {
          assembler.accept(Buffer.from(bytes));
        } catch (error) {
          wrong = error;
          break;
        }
      }
      for (const change of told.flatMap((one) => [...one.held()].flat())) {
        if (change.kind !== 'insert' && change.kind !== 'update') continue;
        if (change.row.length !== change.relation.columns.length) throw new Error(`a row of ${change.row.length}`);
        const raw = change.raw ?? null;
        if (raw === null || change.relation.columns.length !== columns.length) continue;
        const rows = new RawRows();
        rows.add(raw);
        for (const piece of rawCopyText(plan, null, rows)) if (piece.length === 0) throw new Error('an empty piece');
        lastOfEachKey(plan, null, [0], rows);
        new ColumnLiterals(plan, null, [0, 1, 2]).make(rows, 0, 1000, 1 << 20);
      }
      if (wrong !== null) throw wrong;
    },
    unreadable,
  );
  expect(problems(result, 0.05)).toEqual([]);
});

test('URLs: understood or refused, and understood again when written anew', async () => {
  const found = problems(
    await fuzz(
      inputs,
      seed,
      (chance) => {
        const url = damagedText(chance, chance.pick(urls) ?? '', urlWords);
        const settings = parseEndpoint({ url }, 'source');
        if (settings.host.includes('\0') || settings.port < 1 || settings.port > 65_535)
          throw new Error(JSON.stringify(settings));
        // What half a pair of surrogates means cannot be written in a URL.
        if (
          /\p{Surrogate}/u.test(JSON.stringify(Object.values(settings).join(''))) ||
          /\\ud[89a-f]/i.test(JSON.stringify(settings))
        )
          return;
        const again = parseEndpoint({ url: settingsUrl(settings, true) }, 'source');
        for (const field of ['host', 'port', 'user', 'password', 'database', 'sslmode'] as const) {
          if (again[field] !== settings[field])
            throw new Error(`${field}: ${String(settings[field])} became ${String(again[field])}`);
        }
      },
      coded('INVALID_URL'),
    ),
    0.1,
  );
  expect(found).toEqual([]);
});

test('URLs of the form: read without a throw, and the same when written and read again', async () => {
  const result = await fuzz(
    inputs,
    seed,
    (chance) => {
      const form = parseEndpointUrl(damagedText(chance, chance.pick(urls) ?? '', urlWords), '');
      if (form === null || /\\ud[89a-f]/i.test(JSON.stringify(form))) return;
      parseEndpointUrl(buildEndpointUrl(form, form.password), '');
    },
    never,
  );
  expect(problems(result, 0)).toEqual([]);
});

test('manifests: refused, or every file stays inside', async () => {
  let accepted = 0;
  const result = await fuzz(
    inputs,
    seed,
    (chance) => {
      const files = ['..', '/', '../', '\\\\', './', 'x', '%2e'];
      const text =
        chance.below(2) === 0
          ? damagedText(chance, manifest, jsonWords)
          : manifest.replace('toc.dat', damagedText(chance, 'data/1.gz', files));
      const parsed = parseManifest(text);
      accepted += 1;
      for (const { path } of parsed.files) {
        const whole = normalize(join('/archive', path));
        if (whole !== '/archive' && !whole.startsWith('/archive/')) throw new Error(`${path} leaves the archive`);
      }
    },
    coded('ARCHIVE_TORN', 'ARCHIVE_ALTERED', 'ARCHIVE_TOO_NEW'),
  );
  expect(accepted).toBeGreaterThan(inputs / 100);
  expect(problems(result, 0.2)).toEqual([]);
});

const isToc = (error: unknown): boolean =>
  error instanceof TocEndError || coded('ARCHIVE_UNREADABLE', 'ARCHIVE_TOO_NEW')(error);

test('tables of contents of archives: read whole or refused', async () => {
  expect(parseToc(toc, (bytes) => bytes.toString('utf8')).entries).toHaveLength(2);
  const found = problems(
    await fuzz(
      inputs,
      seed,
      (chance) => {
        const bytes = damaged(chance, toc);
        parseTocHeader(bytes);
        for (const entry of parseToc(bytes, (raw) => raw.toString('utf8')).entries) {
          if (!Number.isInteger(entry.dumpId) || entry.dumpId <= 0) throw new Error(`entry ${entry.dumpId}`);
        }
      },
      isToc,
    ),
    0.2,
  );
  expect(found).toEqual([]);
});

test('SQL of archives: every statement is a piece of the text, in order; only what is listed is taken', async () => {
  const [listed] = parseToc(toc, (bytes) => bytes.toString('utf8')).entries;
  if (listed === undefined) throw new Error('the table of contents is empty');
  const made = [
    `CREATE TABLE s.t1 (a int DEFAULT 'x;''y', "b;" text);`,
    'CREATE FUNCTION s.f() RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;',
  ];
  const entries = made.map((definition, at) => ({
    ...listed,
    dumpId: at + 1,
    type: at === 0 ? 'TABLE' : 'FUNCTION',
    definition,
  }));
  const found = problems(
    await fuzz(
      inputs,
      seed,
      (chance) => {
        const text = damagedText(chance, sql, sqlWords);
        let at = 0;
        for (const token of tokenizeSql(text, chance.below(2) === 0)) {
          const place = text.indexOf(token.text, at);
          if (place < 0) throw new Error(`${token.text} is not there`);
          at = place + token.text.length;
        }
        const taken = asListed(parseArchiveSql(text, 'pre-data'), entries, false, withoutAttver);
        for (const statement of taken.flatMap((entry) => entry.statements)) {
          if (!made.includes(statement) && !/^ALTER .* OWNER TO app;$/s.test(statement)) throw new Error(statement);
        }
      },
      coded('SQL_UNREADABLE', 'ARCHIVE_NOT_AS_LISTED'),
    ),
    0.05,
  );
  expect(found).toEqual([]);
});

test('what is shown: no control character is left, and no tag', async () => {
  const words = [
    '\u001b[',
    '\u001b]0;',
    '\u0007',
    '\u009b',
    '\u202e',
    '<script>',
    '&',
    '"',
    '\u001b\\',
    '\u001bP',
    '\r\n',
    '\u2028',
    'm',
  ];
  const result = await fuzz(
    inputs,
    seed,
    (chance) => {
      const text = damagedText(chance, 'a name of a table', words);
      // oxlint-disable-next-line no-control-regex -- these are what must not be there
      if (/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/.test(clean(text)))
        throw new Error(JSON.stringify(text));
      // oxlint-disable-next-line no-control-regex -- these too
      if (/[<>"'\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/.test(escapeHtml(text)))
        throw new Error(JSON.stringify(text));
    },
    never,
  );
  expect(problems(result, 0)).toEqual([]);
});
