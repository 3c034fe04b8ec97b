import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { type RelationPlan, SchemaDriftError, misfits, planRelation, samePlan, sameShape } from './apply-plan.ts';
import { type TargetTable, readTargetTable } from './target-table.ts';
import type { Relation, TableGate } from './types.ts';

/** Plans for relations, read from the target's catalogue once and kept until told to forget. */
export class Shapes {
  readonly #session: Session;
  #plans = new WeakMap<Relation, RelationPlan>();
  #latest = new Map<number, RelationPlan>();
  #tables = new Map<string, TargetTable>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** A plan that is known already. */
  known(relation: Relation): RelationPlan | undefined {
    return this.#plans.get(relation);
  }

  forget(): void {
    this.#plans = new WeakMap();
    this.#latest = new Map();
    this.#tables = new Map();
  }

  /** @throws SchemaDriftError when the target has no such table, or its columns do not fit. */
  async plan(relation: Relation, gate: TableGate): Promise<RelationPlan> {
    const latest = this.#latest.get(relation.oid);
    if (latest !== undefined && sameShape(latest.relation, relation)) {
      this.#plans.set(relation, latest);
      return latest;
    }
    const place = gate.via ?? gate;
    const id = JSON.stringify([place.schema, place.name]);
    const table = this.#tables.get(id) ?? (await readTargetTable(this.#session, place.schema, place.name));
    if (table === null) {
      throw new SchemaDriftError(
        relation,
        gate,
        `Table ${place.schema}.${place.name} is not on the target, while the source sends changes of it.`,
        'Create it on the target with the columns of the source, then resume the job; it goes on where it stopped.',
      );
    }
    this.#tables.set(id, table);
    const wrong = misfits(relation, table);
    if (wrong.length > 0) throw await this.#drift(relation, gate, table, wrong);
    const fresh = planRelation(relation, table);
    // Partitions routed anew share one plan, so that a row which moves from one to another stays one row.
    const shared = [...this.#latest.values()].find((other) => samePlan(other.plan, fresh.plan));
    const planned = shared === undefined ? fresh : { ...fresh, plan: shared.plan };
    this.#latest.set(relation.oid, planned);
    this.#plans.set(relation, planned);
    return planned;
  }

  /** Names of the deferrable constraints of tables on the target, quoted. */
  async deferrable(tables: readonly { readonly schema: string; readonly name: string }[]): Promise<string[]> {
    const rows = await this.#session.query<{ schema: string; name: string }>(
      `SELECT cn.nspname AS schema, k.conname AS name FROM unnest($1::text[], $2::text[]) AS w (schema, name)
       JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
       JOIN pg_constraint k ON k.conrelid = c.oid AND k.condeferrable JOIN pg_namespace cn ON cn.oid = k.connamespace`,
      [tables.map((table) => table.schema), tables.map((table) => table.name)],
    );
    return rows.map((row) => qualified(row.schema, row.name));
  }

  async #drift(
    relation: Relation,
    gate: TableGate,
    table: TargetTable,
    wrong: readonly string[],
  ): Promise<SchemaDriftError> {
    const source = await this.#describe(relation);
    const target = table.columns.map((column) => `${column.name} ${column.typeName}`).join(', ');
    return new SchemaDriftError(
      relation,
      gate,
      `Table ${relation.schema}.${relation.name} of the source no longer fits ${table.schema}.${table.name} of the target: ` +
        `${wrong.join('; ')}. The source sends (${source}); the target has (${target}).`,
      'Give the target the columns of the source with ALTER TABLE, then resume the job; it goes on where it stopped.',
    );
  }

  /** Types that are not PostgreSQL's own go by an oid that only the source knows. */
  async #describe(relation: Relation): Promise<string> {
    const rows = await this.#session.query<{ type: string }>(
      `SELECT CASE WHEN c.oid < 10000 THEN format_type(c.oid::oid, c.modifier) ELSE 'a type of its own' END AS type
       FROM unnest($1::int8[], $2::int4[]) WITH ORDINALITY AS c (oid, modifier, at) ORDER BY c.at`,
      [relation.columns.map((column) => column.typeOid), relation.columns.map((column) => column.typeModifier)],
    );
    return relation.columns.map((column, at) => `${column.name} ${rows[at]?.type ?? '?'}`).join(', ');
  }
}
