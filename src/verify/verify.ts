import type { JobEventBody } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import type { Difference, Verification } from '../contract/report.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { PauseGate } from '../gate.ts';
import type { Pace } from '../pace.ts';
import { dumpArchive } from '../postgres/archive.ts';
import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { largeObjectsMatch, tableMatches } from '../postgres/filters.ts';
import { grantAsDumped, mapArchiveRoles, mapsRoles, sortPolicyRoles } from '../postgres/map-roles.ts';
import { isExcludedRelation, keptColumns, readExcluded } from '../postgres/excluded.ts';
import type { Excluded } from '../postgres/excluded.ts';
import { withoutLending } from '../postgres/lend-create.ts';
import { isOwnObject } from '../postgres/own-objects.ts';
import { pruneArchive } from '../postgres/prune.ts';
import { sessionName } from '../postgres/session.ts';
import { SourceSnapshot } from '../postgres/snapshot.ts';
import type { PgTools } from '../postgres/tools.ts';
import { listUnstablePartitions } from '../postgres/unstable-partitions.ts';
import { readServerVersion } from '../postgres/version.ts';
import type { ServerVersion } from '../postgres/version.ts';
import type { PendingConstraint } from './catalogue.ts';
import {
  awaitsValidation,
  compareArchives,
  entryName,
  extraDifference,
  missingDifference,
  pairDifference,
} from './catalogue.ts';
import { ENCODING_PROBE, HASH_PROBE, HASH_SINCE } from './checksum.ts';
import type { ChecksumMethod } from './checksum.ts';
import { Findings } from './findings.ts';
import { compareLargeObjects } from './large-objects.ts';
import { withoutSameGrants } from './mapped-grants.ts';
import { noteUnwritten } from './notes.ts';
import { pausable } from './pausable.ts';
import { compareRelations } from './relations.ts';
import { compareSequences } from './sequences.ts';
import type { CopiedSequence } from './sequences.ts';
import { settle, settleTogether } from './settle.ts';
import { TargetSessions, askBoth, both } from './sides.ts';
import type { Sides } from './sides.ts';
import { chooseRelations, listRelations, readableName, relationKey } from './tables.ts';
import type { RelationFacts } from './tables.ts';

/** A restored entry that the target refused without harm, for instance an extension's comment. */
export interface AcceptedRefusal {
  /** pg_dump's word and name of the entry. */
  readonly kind: string;
  readonly name: string;
  readonly reason: string;
}

export interface VerifyInput {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  /** The moment of the source to compare with; null takes a snapshot of its own and ends it. */
  readonly snapshot: SourceSnapshot | null;
  /** Connections in all that each side allows, the snapshot's own included; at least 1. */
  readonly connections: { readonly source: number; readonly target: number };
  readonly options: JobOptions;
  readonly mode: 'counts' | 'full';
  readonly tools: PgTools;
  /** The source's schema under the same snapshot, as the target was given it: roles mapped; null dumps it here. */
  readonly sourceArchive: Archive | null;
  /** Directory of the agent for archives; what is put there is removed again. */
  readonly workDir: string;
  readonly signal: AbortSignal;
  /** Of a gentle job: the source is read in pieces, each paid for; absent: as fast as it answers. */
  readonly pace?: Pace;
  /** Closed while the job is paused; absent: it is not paused here. */
  readonly gate?: PauseGate;
  emit(event: JobEventBody): void;
  /** Differences of these entries are named with their reason instead of counting. */
  readonly accepted?: readonly AcceptedRefusal[];
  /** The sequences' values as the copy read them; null or absent: they are read from the source now. */
  readonly copiedSequences?: readonly CopiedSequence[] | null;
  /** The moment of the target to compare, with the connections it was opened with; null or absent compares the present. */
  readonly targetSnapshot?: SourceSnapshot | null;
  /** The target's sequences as they were at its moment, since they obey no snapshot; null or absent: they are read now. */
  readonly targetSequences?: readonly CopiedSequence[] | null;
  /** Foreign keys that are NOT VALID on the target only because their validation is still to come. */
  readonly pendingConstraints?: readonly PendingConstraint[];
}

interface Versions {
  readonly sourceVersion: ServerVersion;
  readonly targetVersion: ServerVersion;
}

export const OUTSIDE =
  'Settings and comment of the database itself, roles, tablespaces and planner statistics are not part of a clone and were not compared.';

/**
 * Compares two databases and changes nothing on either: rows and contents of every table, sequences, large objects, and with
 * one pg_dump for both sides every object of the catalogue. Emits log lines and metrics.
 * @throws PgsluiceError for what ends the comparison as a whole: the cancellation, a server that cannot be reached, the loss
 * of the snapshot. What concerns one object becomes a difference, or a sentence in `notChecked`.
 */
export async function verifyDatabases(input: VerifyInput): Promise<Verification> {
  const started = Date.now();
  throwIfAborted(input.signal);
  const findings = new Findings();
  let { sourceArchive } = input;
  // With a single connection pg_dump cannot run beside the snapshot, so it runs before.
  if (sourceArchive === null && input.snapshot === null && input.connections.source < 2) {
    sourceArchive = await dump(input, 'source', null);
  }
  const own =
    input.snapshot === null
      ? await SourceSnapshot.open(input.source, {
          connections: input.connections.source,
          signal: input.signal,
          log: (level, message) => input.emit({ type: 'log', level, message }),
        })
      : null;
  const snapshot = input.snapshot ?? own;
  if (snapshot === null) throw new Error('a snapshot was neither given nor opened');
  const moment = input.targetSnapshot ?? null;
  const target = new TargetSessions(input.target, input.connections.target, input.signal);
  const gate = input.gate ?? new PauseGate();
  const pauses = {
    gate,
    signal: input.signal,
    spare: (session: Session) => [snapshot, moment].some((one) => one?.holder === session),
  };
  const sides: Sides = {
    source: pausable((work) => snapshot.withSession(work), pauses),
    target: pausable(moment === null ? target.withSession : (work) => moment.withSession(work), pauses),
    twins: moment === null ? target.withSession : (work) => moment.withPlainSession(work),
    targetMovesOn: moment !== null,
    pace: input.pace ?? null,
    gate,
    signal: input.signal,
  };
  try {
    // The target's dump goes before any session of ours there: it may allow a single connection.
    const archives = await both(
      sourceArchive === null
        ? snapshot.withFreeConnection(() => dump(input, 'source', snapshot.id))
        : Promise.resolve(sourceArchive),
      moment === null ? dump(input, 'target', null) : dumpMoment(input, moment, findings),
    );
    const excluded = await sides.source((session) => readExcluded(session, input.options.excludeExtension));
    const here = asMapped(withoutOwn(pruneArchive(archives[0], excluded)), input.options, input.sourceArchive === null);
    const there = archives[1] === null ? null : asCompared(withoutOwn(archives[1]), input.options);
    const [sourceVersion, targetVersion] = await askBoth(sides, readServerVersion);
    const versions = { sourceVersion, targetVersion };
    const objectsCompared = there === null ? 0 : await compareCatalogues(input, sides, versions, here, there, findings);
    const readers = moment?.workers ?? input.connections.target;
    const jobs = Math.min(snapshot.workers, readers, input.options.tableJobs);
    await compareContents(input, sides, versions, Math.max(1, jobs), excluded, findings);
    const withData = !input.options.schemaOnly;
    const sequencesCompared = withData
      ? await compareSequences(
          sides,
          here,
          findings,
          input.copiedSequences ?? null,
          input.targetSequences ?? null,
          excluded,
        )
      : 0;
    const largeObjectsCompared = await verifyLargeObjects(input, sides, findings);
    noteExcluded(excluded, findings);
    await noteUnwritten(sides, findings);
    addAbsent(findings);
    findings.note(OUTSIDE);
    const { differences } = findings;
    return {
      mode: input.mode,
      verified: differences.length === 0 && !findings.incomplete,
      tables: findings.tables.toSorted((a, b) => compareNames(a.schema, b.schema) || compareNames(a.name, b.name)),
      sequencesCompared,
      largeObjectsCompared,
      objectsCompared,
      differences,
      notChecked: findings.notChecked,
      seconds: (Date.now() - started) / 1000,
    };
  } finally {
    await Promise.all([target.close(), own?.close()]);
  }
}

/** What a job made for itself on either server is no part of the comparison. */
export function withoutOwn(archive: Archive): Archive {
  return { entries: archive.entries.filter((entry) => !isOwnObject(entry)) };
}

/** Roles of the two sides have other names, or an owner is granted what it has: grants are compared by what they come to. */
export function comparesGrants({ mapRole, noOwner, noAcl }: JobOptions): boolean {
  return mapsRoles(mapRole) || (noOwner && !noAcl);
}

/** The source's schema as the target has to have it; one that was given has its roles mapped already. */
export function asMapped(archive: Archive, options: JobOptions, dumpedHere: boolean): Archive {
  const dumped = { entries: archive.entries.map(grantAsDumped).map(withoutLending) };
  const mapped = comparesGrants(options) ? mapArchiveRoles(dumped, dumpedHere ? options.mapRole : {}) : dumped;
  return { entries: mapped.entries.map(sortPolicyRoles) };
}

/** Both sides write all roles in quotes then. */
export function asCompared(archive: Archive, options: JobOptions): Archive {
  const entries = archive.entries.map(sortPolicyRoles);
  return comparesGrants(options) ? mapArchiveRoles({ entries }, {}) : { entries };
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function dump(input: VerifyInput, side: 'source' | 'target', snapshotId: string | null): Promise<Archive> {
  return dumpArchive({
    tools: input.tools,
    settings: { ...input[side], applicationName: sessionName(input[side], 'dump') },
    snapshotId,
    filter: input.options,
    noOwner: input.options.noOwner,
    noAcl: input.options.noAcl,
    workDir: input.workDir,
    signal: input.signal,
  });
}

/** pg_dump locks what the snapshot shows, and a target in use may have dropped or renamed some of it: null, and the reason noted. */
async function dumpMoment(input: VerifyInput, moment: SourceSnapshot, findings: Findings): Promise<Archive | null> {
  try {
    return await moment.withFreeConnection(() => dump(input, 'target', moment.id));
  } catch (error) {
    if (!(error instanceof PgsluiceError) || error.code !== 'PG_TOOL_FAILED' || input.signal.aborted) throw error;
    findings.fail(`Objects could not be compared as of the target's moment: ${error.message}`);
    return null;
  }
}

/** Names every object that is missing, extra or different; answers how many of the source's were compared. */
async function compareCatalogues(
  input: VerifyInput,
  sides: Sides,
  versions: Versions,
  source: Archive,
  target: Archive,
  findings: Findings,
): Promise<number> {
  if (input.options.dataOnly) {
    findings.note('Objects were not compared: the job moves data only.');
    return 0;
  }
  const entries = new Map(source.entries.map((entry) => [entry.dumpId, entry]));
  const entryOf = (dumpId: number): ArchiveEntry | undefined => entries.get(dumpId);
  const compared = compareArchives(source, target);
  const everybodys = input.options.noOwner ? input.target.user : null;
  const comparison = !comparesGrants(input.options)
    ? compared
    : withoutSameGrants(compared, {
        targetMajor: versions.targetVersion.major,
        ownerOf: (entry) =>
          everybodys ?? entry.dependencies.map((id) => entryOf(id)?.owner).find((owner) => owner != null) ?? null,
      });
  const report = (entry: ArchiveEntry, difference: Difference): void => {
    const refusal = input.accepted?.find((one) => one.kind === entry.type && one.name === entry.name);
    if (refusal === undefined) findings.differ(difference);
    else findings.note(`${entry.type} ${difference.name} is not as on the source: ${refusal.reason}`);
  };
  for (const entry of comparison.missing) report(entry, missingDifference(entry));
  for (const entry of comparison.extra) report(entry, extraDifference(entry));
  const context = { sides, ...versions, entryOf };
  let settled = 0;
  const undecided = new Map<string, string[]>();
  const open = comparison.different.filter((pair) => !awaitsValidation(pair, input.pendingConstraints ?? []));
  const known = await settleTogether(context, open);
  for (const pair of open) {
    throwIfAborted(input.signal);
    const settlement = known.get(pair) ?? (await settle(context, pair));
    if (settlement.verdict === 'different') report(pair.source, pairDifference(pair));
    else if (settlement.verdict === 'same') {
      settled += 1;
      if (settlement.note !== undefined) findings.note(settlement.note);
    } else {
      const names = undecided.get(settlement.reason) ?? [];
      undecided.set(settlement.reason, [...names, `${pair.source.type} ${entryName(pair.source)}`]);
    }
  }
  for (const [reason, names] of undecided) {
    findings.fail(
      `Printed differently by the two servers, and whether it means the same could not be decided on the target (${reason}): ${names.join(', ')}.`,
    );
  }
  const left = [...undecided.values()].flat().length;
  const differing = findings.differences.length;
  input.emit({
    type: 'log',
    level: differing > 0 ? 'error' : left > 0 ? 'warn' : 'info',
    message:
      `compared ${comparison.compared.toLocaleString('en-US')} objects: ` +
      (differing === 0 ? 'none missing, extra or different' : `${differing} missing, extra or different`) +
      (settled === 0 ? '' : `; ${settled} are only printed differently by the two servers`) +
      (left === 0 ? '' : `; ${left} could not be decided`),
  });
  return comparison.compared;
}

/** What the job was told to leave out is no difference; it is named instead. */
function noteExcluded(excluded: Excluded, findings: Findings): void {
  if (excluded.extensions.length === 0) return;
  const left = excluded.names.length === 0 ? 'Nothing depends on them' : `With them: ${excluded.names.join(', ')}`;
  findings.note(`Extensions left out on purpose and not compared: ${excluded.extensions.join(', ')}. ${left}.`);
}

/** The relation without the columns that are left out with an extension. */
function withoutColumns(relation: RelationFacts, excluded: Excluded): RelationFacts {
  const columns = keptColumns(excluded, relation.oid, relation.columns);
  const whole = relation.key.every((name) => columns.some((column) => column.name === name));
  return { ...relation, columns, key: whole ? relation.key : [] };
}

async function compareContents(
  input: VerifyInput,
  sides: Sides,
  versions: Versions,
  jobs: number,
  excluded: Excluded,
  findings: Findings,
): Promise<void> {
  const [here, there] = await askBoth(sides, listRelations);
  const unstable = await sides.source((session) => listUnstablePartitions(session, versions.sourceVersion.major));
  const inScope = here
    .filter(
      (relation) =>
        tableMatches(input.options, relation.schema, relation.name) &&
        !isOwnObject({ type: 'TABLE', ...relation }) &&
        !isExcludedRelation(excluded, relation.oid),
    )
    .map((relation) => withoutColumns(relation, excluded));
  const theirs = new Map(there.map((relation) => [relationKey(relation), relation]));
  compareStorage(input.options, inScope, theirs, findings);
  const scope = chooseRelations({
    inScope,
    filter: input.options,
    schemaOnly: input.options.schemaOnly,
    unstable,
  });
  for (const sentence of scope.left) findings.note(sentence);
  for (const sentence of scope.unable) findings.fail(sentence);
  // A view that holds nothing on the target is named already, and reading it is an error.
  const relations = scope.compared.filter((relation) => theirs.get(relationKey(relation))?.populated !== false);
  const method = input.mode === 'full' ? await chooseMethod(sides, versions) : null;
  if (method === null && relations.length > 0) findings.note('Contents were not compared: rows were only counted.');
  await compareRelations({ sides, relations, method, jobs, findings, emit: (event) => input.emit(event) });
}

/** What pg_dump writes of a table's storage depends on neighbouring entries, so it is read from the catalogues. */
function compareStorage(
  options: JobOptions,
  source: readonly RelationFacts[],
  theirs: ReadonlyMap<string, RelationFacts>,
  findings: Findings,
): void {
  for (const relation of source) {
    const other = theirs.get(relationKey(relation));
    if (other === undefined || other.relkind !== relation.relkind) continue;
    const kind = relation.relkind === 'm' ? 'MATERIALIZED VIEW' : 'TABLE';
    const name = readableName(relation.schema, relation.name);
    if (!options.dataOnly && other.accessMethod !== relation.accessMethod) {
      const [before, after] = [relation.accessMethod, other.accessMethod].map((method) => `access method ${method}`);
      findings.differ({ kind, name, change: 'different', source: before ?? null, target: after ?? null });
    }
    if (!options.schemaOnly && other.populated !== relation.populated) {
      const [before, after] = relation.populated ? ['populated', 'not populated'] : ['not populated', 'populated'];
      findings.differ({
        kind: 'MATERIALIZED VIEW CONTENT',
        name,
        change: 'different',
        source: before ?? null,
        target: after ?? null,
      });
    }
  }
}

/** `hash` where both servers hash alike, else `md5`; text that is stored in different encodings is brought into one first. */
async function chooseMethod(sides: Sides, { sourceVersion, targetVersion }: Versions): Promise<ChecksumMethod> {
  const [here, there] = await askBoth(sides, (session) => session.query<{ encoding: string }>(ENCODING_PROBE));
  if (here[0]?.encoding !== there[0]?.encoding) return 'md5 utf8';
  // The probe's sample text exists in UTF8 only.
  if (here[0]?.encoding !== 'UTF8' || Math.min(sourceVersion.num, targetVersion.num) < HASH_SINCE) return 'md5';
  const [source, target] = await askBoth(sides, (session) => session.query<{ probe: string }>(HASH_PROBE));
  const probe = source[0]?.probe;
  return probe !== undefined && probe === target[0]?.probe ? 'hash' : 'md5';
}

async function verifyLargeObjects(input: VerifyInput, sides: Sides, findings: Findings): Promise<number> {
  const { options } = input;
  if (options.schemaOnly) return 0;
  if (!largeObjectsMatch(options)) {
    findings.note(
      'Large objects belong to no schema and were not compared: the job moves chosen schemas or tables only.',
    );
    return 0;
  }
  return compareLargeObjects(
    sides,
    { contents: input.mode === 'full', noOwner: options.noOwner, noAcl: options.noAcl, mapRole: options.mapRole },
    findings,
  );
}

/** Relations and sequences that could not be read on the target, unless the catalogues have named them. */
export function addAbsent(findings: Findings): void {
  const named = new Set(findings.differences.map((difference) => `${difference.kind} ${difference.name}`));
  for (const difference of findings.absent) {
    if (!named.has(`${difference.kind} ${difference.name}`)) findings.differ(difference);
  }
}
