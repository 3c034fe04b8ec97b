import type { Manifest } from '../contract/manifest.ts';
import { shellWord } from '../contract/words.ts';
import type { JobOptions } from '../contract/options.ts';
import { verdictOfNewDatabase } from '../checks/absent-target.ts';
import { failed, informed, passed, skipped, warned } from '../checks/check.ts';
import type { Scope, Verdict } from '../checks/check.ts';
import { judgeRoom } from '../checks/empty.ts';
import {
  databaseWideKinds,
  judgeCreate,
  judgeWrite,
  readCreateRights,
  readRightsToFill,
} from '../checks/privilege-target.ts';
import type { Database } from '../checks/database.ts';
import type { ArchiveCheck } from '../checks/validate-one.ts';
import { judgeMajors } from '../checks/version.ts';
import {
  archiveBytes,
  checkFiles,
  checkListing,
  readManifest,
  readThrough,
  readToc,
} from '../clone/import-archive-check.ts';
import type { CheckedArchive, MeasuredData } from '../clone/import-archive.ts';
import { archiveEncoding, archiveTables, chooseEntries, isLargeObject } from '../clone/import-archive-entries.ts';
import { recogniseArchive } from '../clone/import-archive-kind.ts';
import type { ArchivePlace } from '../clone/import-archive-kind.ts';
import { PgsluiceError } from '../errors.ts';
import { printArchive } from '../postgres/archive.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { majorOfVersion } from '../postgres/archive-toc.ts';
import type { Toc } from '../postgres/archive-toc.ts';
import type { DatabaseFacts } from '../postgres/database-facts.ts';
import { objectKey } from '../postgres/left-out.ts';
import { qualified } from '../postgres/quote.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { findPgTools } from '../postgres/tools.ts';
import type { PgTools } from '../postgres/tools.ts';
import { parseServerVersion } from '../postgres/version.ts';
import type { ServerVersion } from '../postgres/version.ts';
import {
  type ArchiveForTarget,
  examineDatabase,
  examineDisk,
  examineExtensions,
  examineRights,
  examineRoles,
  judgeExcludedEntries,
} from './import-checks-target.ts';

export interface ArchiveExamInput {
  readonly path: string;
  readonly target: ConnectionSettings;
  readonly options: JobOptions;
  readonly pgBinDir: string | null;
  readonly workDir: string;
  readonly signal: AbortSignal;
  /** Progress in plain words, at most one every two seconds. */
  readonly say: (message: string) => void;
}

const dataTypes: ReadonlySet<string> = new Set(['TABLE DATA', 'SEQUENCE SET', 'BLOBS']);
const SAY_EVERY_MS = 2000;
const NAMED = 10;

function listed(names: readonly string[]): string {
  return `${names.slice(0, NAMED).join(', ')}${names.length > NAMED ? ', …' : ''}`;
}

const size = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });
const megabytes = (bytes: number): string => `${size.format(bytes / 1024 / 1024)} MB`;

/**
 * Looks at an archive from its kind to its last byte, in checks that build on each other: one whose ground another has taken away
 * is skipped. What was found out is in `archive` and `tools` afterwards.
 */
export class ArchiveExam {
  readonly #input: ArchiveExamInput;
  #place: ArchivePlace | null = null;
  #manifest: Manifest | null = null;
  #toc: Toc | null = null;
  #tools: PgTools | null = null;
  #measured: ReadonlyMap<number, MeasuredData> = new Map();
  #bytes = 0;
  #whole = false;
  #saidAt = 0;
  #wanted: DatabaseFacts | null = null;
  #leftOut: ReadonlySet<string> = new Set();
  #named: ReturnType<typeof examineRoles> | null = null;

  constructor(input: ArchiveExamInput) {
    this.#input = input;
  }

  /** null unless all of it was found whole. */
  get archive(): CheckedArchive | null {
    if (this.#place === null || this.#toc === null || !this.#whole) return null;
    return {
      place: this.#place,
      toc: this.#toc,
      manifest: this.#manifest,
      measured: this.#measured,
      bytes: this.#bytes,
    };
  }

  /** Those that read the archive and dump the target; null when there are none that do both. */
  get tools(): PgTools | null {
    return this.#tools;
  }

  /** What the target's database is to be like; null when the job makes none. */
  get database(): DatabaseFacts | null {
    return this.#wanted;
  }

  /** What the target's role cannot carry, by keys of postgres/left-out.ts. */
  get leftOut(): ReadonlySet<string> {
    return this.#leftOut;
  }

  /** Of the server that was dumped, as far as the archive says it; null before it was read. */
  get sourceVersion(): ServerVersion | null {
    if (this.#toc === null) return null;
    const text = this.#manifest?.source.version.text ?? this.#toc.serverVersion;
    const num = this.#manifest?.source.version.num ?? majorOfVersion(text) * 10_000;
    return parseServerVersion(String(num), text, text);
  }

  get checks(): readonly ArchiveCheck[] {
    const check = (
      id: ArchiveCheck['id'],
      title: string,
      run: (target: Database | null, scope: Scope) => Promise<Verdict> | Verdict,
    ): ArchiveCheck => ({
      id,
      severity: 'blocks',
      title,
      run: async (target, scope) => explained(() => run(target, scope)),
    });
    return [
      check('archive.found', 'The path holds an archive that can be imported.', () => this.#found()),
      check('archive.files', 'Every file of the archive is there and as it was written.', () => this.#files()),
      check('archive.tools', 'pg_restore is new enough for the archive and the target.', (target) =>
        this.#restore(target),
      ),
      check('archive.readable', 'pg_restore reads the archive.', () => this.#readable()),
      check('archive.whole', 'The archive can be read to its end.', () => this.#readToEnd()),
      check('archive.contents', 'The archive holds what is to be imported, in a form that can be loaded.', () =>
        this.#contents(),
      ),
      check('archive.version', 'The target is not older than the server that was dumped.', (target) =>
        this.#version(target),
      ),
      check('archive.target-database', "The target's database exists, or can be made as the archive says.", (target) =>
        this.#database(target),
      ),
      check(
        'archive.extensions',
        'The target offers the extensions that the archive makes, and lets them be made.',
        (target, scope) => this.#withTarget(target, (both) => examineExtensions(both, scope)),
      ),
      check('archive.excluded-extensions', 'What stays behind with the extensions that are left out.', () =>
        this.#toc === null
          ? skipped('No whole archive was found.')
          : judgeExcludedEntries(this.#toc, this.#input.options),
      ),
      check('archive.target-disk', "The target's disk has room for what the archive holds.", (target) =>
        this.#withTarget(target, (both) => examineDisk(both, this.#measured)),
      ),
      check('archive.target-empty', 'The target is empty, or may be replaced.', (target, scope) =>
        this.#room(target, scope),
      ),
      check('archive.superuser-objects', 'The target role may create what only superusers can.', (target) =>
        this.#withTarget(target, async (both) => {
          const { verdict, leftOut } = await examineRights(both);
          this.#leftOut = leftOut;
          return verdict;
        }),
      ),
      check('archive.target-create', 'The target role may create (with data only: fill) what is imported.', (target) =>
        this.#rights(target),
      ),
      check('archive.roles', 'The roles that the archive names are on the target.', (target) =>
        this.#roles(target, 'roles'),
      ),
      check('archive.set-owner', 'The target role may give objects to their owners.', (target) =>
        this.#roles(target, 'setOwner'),
      ),
      check('archive.role-attributes', 'The roles that are made get all that they had.', (target) =>
        this.#roles(target, 'attributes'),
      ),
    ];
  }

  #say(message: string): void {
    if (Date.now() - this.#saidAt < SAY_EVERY_MS) return;
    this.#saidAt = Date.now();
    this.#input.say(message);
  }

  async #found(): Promise<Verdict> {
    // The checks may be made anew: nothing of an earlier examination is taken for this one's.
    this.#whole = false;
    this.#named = null;
    this.#measured = new Map();
    const place = await recogniseArchive(this.#input.path, this.#input.target);
    this.#place = place;
    this.#manifest = await readManifest(place);
    const form = place.kind === 'directory' ? 'directory' : 'custom-format file';
    if (this.#manifest !== null) {
      const { tool, pgDump, source, snapshotAt } = this.#manifest;
      return informed(
        `A ${form} made by pgsluice ${tool.version} with pg_dump ${pgDump.version} of the database ${source.database}, PostgreSQL ${source.version.text}, as of ${snapshotAt}.`,
      );
    }
    this.#toc = await readToc(place);
    const { serverVersion, dumpVersion, database, createdAt } = this.#toc;
    return informed(
      `A ${form} made by pg_dump ${dumpVersion} of the database ${database}, PostgreSQL ${serverVersion}, on ${createdAt}.`,
    );
  }

  async #files(): Promise<Verdict> {
    if (this.#place === null) return skipped('No archive was found.');
    if (this.#manifest === null) {
      if (this.#toc === null) return skipped('No whole archive was found.');
      this.#bytes = await archiveBytes(this.#place);
      return skipped('The archive has no manifest of pgsluice: it is read to its end instead.');
    }
    this.#saidAt = Date.now();
    this.#bytes = await checkFiles(this.#place, this.#manifest, this.#input.signal, (done, all) =>
      this.#say(`Checking the archive's files: ${megabytes(done)} of ${megabytes(all)}.`),
    );
    // Not before it is known to be as it was written.
    this.#toc = await readToc(this.#place);
    this.#whole = true;
    return passed(
      `${this.#manifest.files.length} files, ${megabytes(this.#bytes)}: sizes and SHA-256 are as in the manifest.`,
    );
  }

  async #restore(target: Database | null): Promise<Verdict> {
    if (this.#toc === null) return skipped('No whole archive was found.');
    const needed = majorOfVersion(this.#toc.dumpVersion);
    const minMajor = Math.max(needed, target?.version.major ?? 0);
    try {
      this.#tools = await findPgTools({ binDir: this.#input.pgBinDir, minMajor });
    } catch (error) {
      if (!(error instanceof PgsluiceError)) throw error;
      if (needed < minMajor) throw error;
      return failed(
        'ARCHIVE_TOO_NEW',
        `The archive was made by pg_dump ${this.#toc.dumpVersion}, so that it takes pg_restore ${needed} or newer. ${error.message}`,
        error.hint,
      );
    }
    return passed(`pg_restore ${this.#tools.version} in ${this.#tools.dir}.`);
  }

  async #readable(): Promise<Verdict> {
    if (this.#place === null || this.#toc === null || this.#tools === null)
      return skipped('There is nothing to read it with.');
    await checkListing(this.#tools, this.#place, this.#toc, this.#input.signal);
    return passed(`${this.#toc.entries.length} entries.`);
  }

  async #readToEnd(): Promise<Verdict> {
    if (this.#place === null || this.#toc === null || this.#tools === null)
      return skipped('There is nothing to read it with.');
    if (this.#manifest !== null) return passed('Its files are those that were written.');
    this.#saidAt = Date.now();
    this.#measured = await readThrough(this.#tools, this.#place, this.#toc, this.#input.signal, (done, all) =>
      this.#say(`Reading the archive to its end: ${done} of ${all} tables.`),
    );
    this.#whole = true;
    const rows = [...this.#measured.values()].reduce((sum, table) => sum + table.rows, 0);
    return passed(
      `${this.#measured.size} tables with ${rows.toLocaleString('en-US')} rows. Whether their contents are what the source had, it does not say.`,
    );
  }

  #contents(): Verdict {
    const { options, path } = this.#input;
    const toc = this.#toc;
    if (toc === null) return skipped('No whole archive was found.');
    const chosen = chooseEntries(toc, options);
    const tables = archiveTables(toc, chosen);
    const inserts = tables.filter(({ entry }) => entry.hasData && entry.copyStatement === '');
    if (inserts.length > 0 && !options.schemaOnly) {
      const names = inserts.map(({ schema, name }) => `${schema}.${name}`);
      return failed(
        'ARCHIVE_HAS_INSERTS',
        `The archive was made with --inserts: the rows of ${inserts.length} table(s) are commands, not data (${listed(names)}).`,
        `Make it again without --inserts, or load it with: ${this.#restoreCommand(path)}`,
      );
    }
    const literals = toc.entries.find(({ type }) => type === 'STDSTRINGS')?.definition ?? '';
    if (/= '?off/.test(literals)) {
      return failed(
        'ARCHIVE_UNREADABLE',
        'The archive was made of a database with standard_conforming_strings off: its literals are written in the old way.',
        `Make it again with PGOPTIONS='-c standard_conforming_strings=on' pg_dump …, or load it with: ${this.#restoreCommand(path)}`,
      );
    }
    const definitions = toc.entries.some(({ type }) => type === 'TABLE' || type === 'FUNCTION' || type === 'VIEW');
    if (!definitions && tables.length > 0 && !options.dataOnly) {
      return failed(
        'ARCHIVE_WITHOUT_SCHEMA',
        'The archive holds rows and no definitions of their tables.',
        'Bring the schema first (--schema-only from another archive), then import this one with --data-only.',
      );
    }
    const anyData = toc.entries.some(
      ({ type }) => type === 'TABLE DATA' || type === 'BLOBS' || type === 'SEQUENCE SET',
    );
    if (!anyData && options.dataOnly) {
      return failed(
        'ARCHIVE_WITHOUT_DATA',
        'The archive holds no rows.',
        'Leave --data-only out, or take another archive.',
      );
    }
    const objects = toc.entries.filter((entry) => entry.type === 'BLOBS' || isLargeObject(entry)).length;
    const found = `${tables.length} tables with rows, ${chosen.size} of ${toc.entries.length} entries${objects > 0 ? ', large objects' : ''}.`;
    return tables.length === 0 && !options.schemaOnly
      ? warned(found, 'See whether the options leave out too much.')
      : passed(found);
  }

  #restoreCommand(path: string): string {
    const { host, port, user, database } = this.#input.target;
    return `pg_restore -h ${shellWord(host)} -p ${port} -U ${shellWord(user)} -d ${shellWord(database)} --exit-on-error --single-transaction ${shellWord(path)}`;
  }

  #version(target: Database | null): Verdict {
    const source = this.sourceVersion;
    if (source === null || target === null) return skipped('One of both was not reached.');
    return judgeMajors(source, target.version, this.#input.options.allowDowngrade);
  }

  /** What is asked of archive and target together. */
  async #withTarget(target: Database | null, ask: (both: ArchiveForTarget) => Promise<Verdict>): Promise<Verdict> {
    if (this.#toc === null || target === null) return skipped('One of both was not reached.');
    return ask({ toc: this.#toc, manifest: this.#manifest, options: this.#input.options, target });
  }

  async #database(target: Database | null): Promise<Verdict> {
    if (!this.#input.options.createDatabase) return skipped('The target database is not to be made.');
    return this.#withTarget(target, async (both) => {
      const { verdict, facts } = await examineDatabase(both);
      this.#wanted = facts;
      return verdict;
    });
  }

  async #room(target: Database | null, scope: Scope): Promise<Verdict> {
    const toc = this.#toc;
    if (toc === null || target === null) return skipped('One of both was not reached.');
    const fresh = target.absent ? verdictOfNewDatabase('capacity.target-empty', this.#input.options.dataOnly) : null;
    if (fresh !== null) return fresh;
    const chosen = chooseEntries(toc, this.#input.options);
    const entries = toc.entries.filter((entry) => entry.type === 'EXTENSION' && chosen.has(entry.dumpId));
    const tables = archiveTables(toc, chosen).map(({ schema, name }) => qualified(schema, name));
    return judgeRoom(target, scope, () =>
      Promise.resolve({ tables, extensions: new Set(entries.map(({ name }) => name)) }),
    );
  }

  async #rights(target: Database | null): Promise<Verdict> {
    const { options } = this.#input;
    const toc = this.#toc;
    if (toc === null || target === null) return skipped('One of both was not reached.');
    const fresh = target.absent ? verdictOfNewDatabase('privilege.target-create', options.dataOnly) : null;
    if (fresh !== null) return fresh;
    const chosen = chooseEntries(toc, options);
    if (options.dataOnly) {
      const filled = toc.entries.filter(
        ({ type, dumpId }) => (type === 'TABLE DATA' || type === 'SEQUENCE SET') && chosen.has(dumpId),
      );
      const names = new Set(filled.map(({ schema, name }) => qualified(schema ?? '', name)));
      return judgeWrite(target.identity.role, await readRightsToFill(target, names));
    }
    const made = toc.entries.filter(
      ({ type, dumpId, classOid, oid }) =>
        chosen.has(dumpId) && !dataTypes.has(type) && !this.#leftOut.has(objectKey(classOid, oid)),
    );
    const schemas = [...new Set(made.flatMap(({ type, schema, name }) => schema ?? (type === 'SCHEMA' ? name : [])))];
    // What an extension puts into pg_catalog is granted there, not made.
    const own = schemas.filter((schema) => schema !== 'pg_catalog');
    const databaseWide = made
      .filter(({ type }) => databaseWideKinds.has(type))
      .map(({ type, name }) => `${type} ${name}`);
    return judgeCreate(await readCreateRights(target, own), { schemas: own, databaseWide });
  }

  async #roles(target: Database | null, which: 'roles' | 'setOwner' | 'attributes'): Promise<Verdict> {
    const tools = this.#tools;
    if (tools === null) return skipped('There is nothing to read it with.');
    if (this.#input.options.dataOnly) return skipped('The job moves data only.');
    return this.#withTarget(target, async (both) => {
      this.#named ??= examineRoles(both, await this.#printed(tools, both.toc), this.#leftOut);
      return (await this.#named)[which];
    });
  }

  async #printed(tools: PgTools, toc: Toc): Promise<readonly ArchiveEntry[]> {
    const { path, workDir, signal, options } = this.#input;
    const { noOwner, noAcl } = options;
    const printed = await printArchive({
      tools,
      path,
      encoding: archiveEncoding(toc),
      noOwner,
      noAcl,
      workDir,
      signal,
    });
    const chosen = chooseEntries(toc, options);
    return printed.entries.filter(({ dumpId }) => chosen.has(dumpId));
  }
}

/** What a step throws on purpose is its verdict. */
async function explained(run: () => Promise<Verdict> | Verdict): Promise<Verdict> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof PgsluiceError) || error.code === 'CANCELLED') throw error;
    return { ...failed(error.code, error.message, error.hint), retryable: error.retryable };
  }
}
